"""One request on its way to a handler: who calls, what was sent, and who pays."""

from typing import TypeVar

import msgspec
from quart.wrappers import Request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from actors.limiter import Limit, Verdict, address_key
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime
from actors.shapes.users import Limits
from actors.tokens import Claims
from webapi.bodies import check_content_type, decode
from webapi.paging import Query
from webapi.routing import Route
from webapi.services import Services

Body = TypeVar("Body", bound=msgspec.Struct)


class Call:
    """Handed to the handler instead of anything global."""

    __slots__ = (
        "address", "claims", "limits", "now", "params", "request", "request_id", "route", "services", "verdict",
    )  # fmt: skip

    def __init__(self, services: Services, request: Request, request_id: str, address: str) -> None:
        self.services = services
        self.request = request
        self.request_id = request_id
        self.address = address
        self.now: WallTime = services.clock.now()
        self.route: Route | None = None  # None until it is found
        self.params: dict[str, str] = {}
        self.claims: Claims | None = None  # None until the caller is known
        # A load machine's requests take the same way through the limiter and never meet its end.
        self.limits: Limits = "load" if services.limiter.is_exempt(address) else "normal"
        self.verdict: Verdict | None = None  # of the bucket that paid last

    @property
    def caller(self) -> Claims:
        assert self.claims is not None, "a route for users only"
        return self.claims

    @property
    def me(self) -> UserId:
        return self.caller.user_id

    @property
    def query(self) -> Query:
        return self.request.args

    def user(self) -> UserId:
        """The user named in the path; `me` is the caller."""
        named = self.params["user_id"]
        return self.me if named == "me" else UserId(named)

    def conversation(self) -> ConversationId:
        return ConversationId(self.params["conversation_id"])

    def pay_by_address(self, limit: Limit) -> None:
        self._pay(limit, address_key(self.address))

    def pay_by_user(self, limit: Limit) -> None:
        self._pay(limit, self.me)

    def _pay(self, limit: Limit, key: str) -> None:
        self.verdict = self.services.limiter.take(limit, key, self.limits)
        self.verdict.check()

    async def data(self) -> bytes:
        """The whole body. Raises PAYLOAD_TOO_LARGE, also when its length was not announced."""
        try:
            data = await self.request.get_data(cache=True, as_text=False)
        except RequestEntityTooLarge:
            raise KithError(ErrorCode.PAYLOAD_TOO_LARGE) from None
        except RequestTimeout:
            raise KithError(ErrorCode.TIMEOUT, "The body did not arrive in time", outcome="none") from None
        assert isinstance(data, bytes)
        return data

    async def body(self, kind: type[Body]) -> Body:
        # Looked at first: what is too large is refused as such, whatever it claims to be.
        data = await self.data()
        headers = self.request.headers
        check_content_type(headers.get("Content-Type"), headers.get("Content-Encoding"))
        # Else the document would promise what is not read.
        assert self.route is None or kind is self.route.takes, f"{self.route.path} takes {self.route.takes}, not {kind}"
        return decode(data, kind)

    async def optional_body(self, kind: type[Body]) -> Body:
        """The same for routes that need no body: none is the same as an empty object."""
        return await self.body(kind) if await self.data() else kind()
