"""The door for WebSockets: looks at the credential of an upgrade, and seats a session behind it."""

from collections.abc import Callable

import orjson

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import iso
from actors.tokens import Claims
from realtime.gate import Gate
from realtime.link import Admitted, Link, Refused, UpgradeRequest
from realtime.session import Session

SUBPROTOCOL = "kith.v1"


class FrontDoor:
    """A bad token is refused in plain HTTP; no token at all is a matter of the first frame."""

    def __init__(self, gate: Gate, new_request_id: Callable[[], str]) -> None:
        self._gate = gate
        self._new_request_id = new_request_id

    def upgrade(self, request: UpgradeRequest) -> Admitted | Refused:
        claims: Claims | None = None
        header = request.headers.get(b"authorization")
        if header is not None:
            try:
                claims = self._claims(header)
            except KithError as error:
                return self._refused(error)
        gate = self._gate

        def seat(link: Link) -> Session:
            return Session(gate, link, claims)

        subprotocol = SUBPROTOCOL if SUBPROTOCOL in request.subprotocols else None
        return Admitted(seat, subprotocol, authenticated=claims is not None)

    def _claims(self, header: bytes) -> Claims:
        scheme, _, token = header.decode("latin-1").strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise KithError(ErrorCode.INVALID_TOKEN)
        claims = self._gate.tokens.verify(token.strip(), self._gate.clock.now())
        if claims.login_id in self._gate.revocations:
            raise KithError(ErrorCode.INVALID_TOKEN)
        return claims

    def _refused(self, error: KithError) -> Refused:
        request_id = self._new_request_id()
        body = {
            "error": {"code": error.code, "message": error.message, "details": error.details},
            "request_id": request_id,
            "timestamp": iso(self._gate.clock.now()),
        }
        headers = (
            ("www-authenticate", "Bearer"),
            ("x-request-id", request_id),
        )
        return Refused(error.status, orjson.dumps(body), headers)
