"""The door for WebSockets: looks at the credential of an upgrade, and seats a session behind it."""

import math
from collections.abc import Callable
from urllib.parse import parse_qsl

import orjson

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import iso
from actors.tickets import Ticket
from actors.tokens import Claims
from realtime.dialects import OTHERS, agreed
from realtime.gate import Gate
from realtime.interpreter import InterpretedLink, InterpretedPeer, Words
from realtime.link import Admitted, Link, Peer, Refused, UpgradeRequest
from realtime.session import Session


class FrontDoor:
    """A bad token or ticket is refused in plain HTTP; neither at all is a matter of the first frame.

    Nothing else of a query is looked at: an access token in a URL would stand in every log on its way.
    """

    def __init__(self, gate: Gate, new_request_id: Callable[[], str]) -> None:
        self._gate = gate
        self._new_request_id = new_request_id
        self._words = {dialect.name: Words(dialect, gate.translations.of(dialect.name)) for dialect in OTHERS}

    def upgrade(self, request: UpgradeRequest) -> Admitted | Refused:
        claims: Claims | None = None
        ticket: Ticket | None = None
        try:
            header = request.headers.get(b"authorization")
            if header is not None:
                claims = self._claims(header)
            elif (ticket := self._ticket(request.query)) is not None:
                claims = ticket.claims
        except KithError as error:
            return self._refused(self._paid(error, request.remote))
        gate = self._gate

        dialect, subprotocol = agreed(request.path, request.subprotocols)
        words = None if dialect is None else self._words[dialect.name]

        def seat(link: Link) -> Peer:
            stub = None if ticket is None else ticket.stub
            if words is None:
                return Session(gate, link, claims, stub)
            return InterpretedPeer(Session(gate, InterpretedLink(link, words), claims, stub), words.dialect)

        return Admitted(seat, subprotocol, authenticated=claims is not None, words=words)

    def _claims(self, header: bytes) -> Claims:
        scheme, _, token = header.decode("latin-1").strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise KithError(ErrorCode.INVALID_TOKEN)
        claims = self._gate.tokens.verify(token.strip(), self._gate.clock.now())
        if claims.login_id in self._gate.revocations:
            raise KithError(ErrorCode.INVALID_TOKEN)
        return claims

    def _ticket(self, query: str) -> Ticket | None:
        """Good as far as can be told here; whether it was spent is known to the user's actor, and asked at hello."""
        texts = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "ticket"]
        if not texts:
            return None
        if len(texts) > 1:  # whoever sends two wants each of two readers to see another
            raise KithError(ErrorCode.INVALID_TOKEN)
        ticket = self._gate.tickets.open(texts[0], self._gate.clock.now())
        if ticket.claims.login_id in self._gate.revocations:
            raise KithError(ErrorCode.INVALID_TOKEN)
        return ticket

    def _paid(self, bad: KithError, address: str) -> KithError:
        try:
            self._gate.pay_for_bad_token(address)
        except KithError as limited:
            return limited
        return bad

    def _refused(self, error: KithError) -> Refused:
        request_id = self._new_request_id()
        body = {
            "error": {"code": error.code, "message": error.message, "details": error.details},
            "request_id": request_id,
            "timestamp": iso(self._gate.clock.now()),
        }
        if error.retry_after is not None:
            advice = ("retry-after", str(max(1, math.ceil(error.retry_after))))
        else:
            advice = ("www-authenticate", "Bearer")
        return Refused(error.status, orjson.dumps(body), (advice, ("x-request-id", request_id)))
