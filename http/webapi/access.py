"""Who calls: checks access tokens, knows whose limits are which, and lets the right bucket pay."""

from typing import Final

from actors.limiter import Limit
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.times import Seconds
from actors.shapes.users import Limits
from actors.tokens import Claims
from webapi.call import Call
from webapi.routing import Access, Route
from webapi.services import Services

REMEMBERED: Final = 10_000  # users
REMEMBER_FOR: Final = Seconds(60.0)


class Doorkeeper:
    """Lets a call through, or raises what the caller is told."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # Without this each request would read the caller's row just to learn that he is like everybody else.
        self._limits: dict[UserId, tuple[Limits, Seconds]] = {}

    async def admit(self, call: Call, route: Route) -> None:
        if route.access is Access.OPEN:
            return
        if route.access is Access.ANONYMOUS:
            call.pay_by_address(Limit.UNAUTHENTICATED)
            return
        try:
            call.claims = self.identify(call.request.headers.get("Authorization"))
        except KithError:
            call.pay_by_address(Limit.UNAUTHENTICATED)  # whoever guesses tokens is soon told to stop
            raise
        # Asked wherever the call comes from: an exempt address spares the limits, and not the look at the account.
        try:
            limits = await self._limits_of(call.me)
        except KithError as refused:
            if (
                refused.code is ErrorCode.INVALID_TOKEN
            ):  # of an account that is no more: each costs a look at the database
                call.pay_by_address(Limit.UNAUTHENTICATED)
            raise
        if call.limits == "normal":
            call.limits = limits
        call.pay_by_user(route.limit)
        # Asked of the database each time: a right that was revoked a moment ago must not live on in a memory.
        if route.access is Access.ADMIN and not await self._services.moderation.standing.is_admin(call.me):
            raise KithError(ErrorCode.FORBIDDEN)

    def identify(self, authorization: str | None) -> Claims:
        """The claims of a bearer token that is valid, in time and not revoked."""
        if not authorization:
            raise KithError(ErrorCode.MISSING_AUTH_HEADER)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise KithError(ErrorCode.MISSING_AUTH_HEADER, "Send `Authorization: Bearer <access token>`")
        claims = self._services.tokens.verify(token.strip(), self._services.clock.now())
        if claims.login_id in self._services.revocations:
            raise KithError(ErrorCode.INVALID_TOKEN)
        return claims

    async def _limits_of(self, user: UserId) -> Limits:
        now = self._services.clock.monotonic()
        known = self._limits.get(user)
        if known is not None and known[1] > now:
            return known[0]
        state = (await self._services.user_store.load([user])).get(user)
        if state is None or state.status != "active":
            raise KithError(ErrorCode.INVALID_TOKEN)
        if len(self._limits) >= REMEMBERED:  # begin anew rather than keep an order nobody needs
            self._limits.clear()
        self._limits[user] = (state.limits, Seconds(now + REMEMBER_FOR))
        return state.limits
