"""SANS-IO: one connection from its hello to its end; which command is legal when. Knows neither sockets nor tasks.

A session is in one of four states. `hello` is a frame of that type, `command` any other well-formed one.

    state      hello                         command                       lost
    ---------  ----------------------------  ----------------------------  ---------------
    WAITING    token good: JOINING           signed in by its upgrade:     ENDED
               bad: close 4500               as if hello came first
               expired: close 4401           else: close 4500
    JOINING    kept for READY                kept for READY                ENDED, leaves
    READY      `connected` again, if the     done                          ENDED, leaves
               token is of the same user
    ENDED      -                             -                             -

JOINING ends when the user's actor has registered the connection: from then on it receives events. Frames that come
meanwhile are kept in order, so many at most. A frame that is not well formed is answered with INVALID_PAYLOAD in every
state but WAITING, and twenty of them in a minute close with 4508.
"""

import enum
from typing import Final

import msgspec

from actors.envelopes import Ref, error_frame, event_frame, ok_frame
from actors.limiter import Limit
from actors.rules.bucket import TokenBucket
from actors.rules.payloads import fault
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.frames import Frame
from actors.shapes.ids import ConversationId, LoginId, SocketId, UserId
from actors.shapes.payloads import HelloPayload
from actors.shapes.times import iso
from actors.shapes.users import Connect, Connected, Disconnect, Ending, Limits, TicketStub
from actors.tokens import Claims
from realtime.gate import Gate
from realtime.inbound import COMMANDS, MALFORMED, absent, decode_head, decode_loosely, meant
from realtime.link import Link, LostReason
from realtime.wire.close import CloseCode

EARLY_FRAMES: Final = 100  # kept while the user's actor registers the connection, and no more bytes than:
EARLY_BYTES: Final = 1024 * 1024
BAD_PAYLOADS: Final = 20
BAD_PAYLOAD_WINDOW: Final = 60.0

ENDINGS: Final = {
    Ending.REPLACED: CloseCode.REPLACED,
    Ending.TOO_MANY: CloseCode.TOO_MANY_CONNECTIONS,
    Ending.REVOKED: CloseCode.REVOKED,
    Ending.RESYNC: CloseCode.RESYNC,
    Ending.RESTART: CloseCode.RESTART,
    Ending.TICKET: CloseCode.NO_HELLO,  # as with a token that expired: get a new one, then come back
}


class State(enum.Enum):
    WAITING = "waiting"
    JOINING = "joining"
    READY = "ready"
    ENDED = "ended"


class ConnectedPayload(msgspec.Struct):
    user_id: UserId
    session_id: LoginId
    server_time: str
    epoch: str
    unread_notifications: int
    heartbeat_seconds: float | int
    resumed: bool
    cursor: str | None = None


class CaughtUpPayload(msgspec.Struct):
    cursor: str | None
    epoch: str
    heads: dict[ConversationId, int]
    user_rev: int
    reload: tuple[str, ...]


class ConnectedFrame(msgspec.Struct, omit_defaults=True):
    type: str
    payload: ConnectedPayload
    ref: Ref = None


class Session:
    """Both ends of one connection: the transport's peer, and the socket that the user's actor delivers to."""

    __slots__ = ("_bad", "_early", "_hello_ref", "_ticket", "bucket", "claims", "gate", "id", "limits", "link", "state")

    def __init__(self, gate: Gate, link: Link, claims: Claims | None, ticket: TicketStub | None = None) -> None:
        self.gate = gate
        self.link = link
        self.claims = claims
        self.id = SocketId(next(gate.socket_ids))
        self.state = State.WAITING
        self.bucket: TokenBucket | None = None  # of messages; the user's, shared by all his connections on this node
        self.limits: Limits = "normal"
        self._early: list[bytes] | None = None
        self._bad: list[float] | None = None
        self._hello_ref: Ref = None
        self._ticket = ticket  # the upgrade's credential, still to be spent

    @property
    def user_id(self) -> UserId:
        assert self.claims is not None
        return self.claims.user_id

    @property
    def login_id(self) -> LoginId:
        assert self.claims is not None
        return self.claims.login_id

    # -- what the transport tells -----------------------------------------------------------------------------------

    def text(self, payload: bytes) -> None:
        if self.state is State.READY:
            self._command(payload)
        elif self.state is State.WAITING:
            self._first(payload)
        elif self.state is State.JOINING:
            self._keep(payload)

    def lost(self, reason: LostReason) -> None:  # noqa: ARG002 - every end is the same to a session
        self._end()

    def idle_hello(self) -> None:
        if self.state is State.WAITING and self.claims is not None:
            self._join(HelloPayload(), None)

    def drained(self) -> None:
        """Nothing is pulled in pages yet."""

    # -- what the user's actor tells ----------------------------------------------------------------------------------

    def deliver(self, frame: Frame) -> None:
        self.link.send(frame)

    def end(self, ending: Ending) -> None:
        if self.state is not State.ENDED:
            # The actor has let go of this connection already: nothing is left to take leave of.
            self.state = State.ENDED
            self._early = None
            self.link.close(ENDINGS[ending], ending.value)

    def answer(self, value: object) -> None:
        """Registered: say so, then do what was asked meanwhile."""
        assert isinstance(value, Connected)
        if self.state is not State.JOINING:
            return
        self.state = State.READY
        gate = self.gate
        self.limits = value.user.limits
        self.bucket = gate.limiter.bucket(Limit.MESSAGES, self.user_id, self.limits)
        self._say_connected(self._hello_ref, value.unread_notifications)
        caught_up = CaughtUpPayload(None, gate.epoch, value.heads, value.user.rev, ())
        self.link.send(event_frame("caught_up", caught_up))
        early, self._early = self._early, None
        for payload in early or ():
            self.text(payload)

    def refuse(self, error: KithError) -> None:
        """Not registered, for a reason of the world: the client comes back later."""
        if self.state is State.JOINING:
            self.state = State.ENDED
            self._early = None
            self.link.close(CloseCode.OVERLOADED, error.code, error_frame(self._hello_ref, error))

    # -- hello -----------------------------------------------------------------------------------------------------

    def _first(self, payload: bytes) -> None:
        try:
            head = decode_head(payload)
            hello = COMMANDS["hello"].decode(head.payload) if head.type == "hello" else None
        except MALFORMED as problem:
            if self.claims is not None:  # signed in by its upgrade: answered like any other bad frame, once registered
                self._join(HelloPayload(), None)
                self.text(payload)
            else:
                self._turn_away(CloseCode.INVALID_TOKEN, ref_of(payload), wrong(problem))
            return
        if isinstance(hello, HelloPayload):
            if hello.token is not None or self.claims is None:
                claims = self._check_token(hello.token, head.ref)
                if claims is None:
                    return
                self.claims = claims
            self._join(hello, head.ref)
        elif self.claims is not None:
            self._join(HelloPayload(), None)
            self.text(payload)
        else:
            error = KithError(ErrorCode.MISSING_AUTH_HEADER, "Say `hello` with a token first")
            self._turn_away(CloseCode.INVALID_TOKEN, head.ref, error)

    def _check_token(self, token: str | None, ref: Ref) -> Claims | None:
        close = CloseCode.INVALID_TOKEN
        try:
            if token is None:
                raise KithError(ErrorCode.INVALID_TOKEN, "`hello` needs a token")
            claims = self.gate.tokens.verify(token, self.gate.clock.now())
            if self.claims is not None and claims.user_id != self.claims.user_id:
                raise KithError(ErrorCode.INVALID_TOKEN)
            if claims.login_id in self.gate.revocations:
                close = CloseCode.REVOKED
                raise KithError(ErrorCode.INVALID_TOKEN)
            return claims
        except KithError as error:
            if error.code is ErrorCode.TOKEN_EXPIRED:
                close = CloseCode.NO_HELLO
            bad = error
        try:
            self.gate.pay_for_bad_token(self.link.remote)
        except KithError as limited:
            close, bad = CloseCode.OVERLOADED, limited
        self._turn_away(close, ref, bad)
        return None

    def _turn_away(self, code: CloseCode, ref: Ref, error: KithError) -> None:
        self._end()
        self.link.close(code, error.code, error_frame(ref, error))

    def _join(self, hello: HelloPayload, ref: Ref) -> None:
        self.state = State.JOINING
        self._hello_ref = ref
        self.link.authenticated()
        try:
            self.gate.users.tell(self.user_id, Connect(self, hello.device_id, hello.attempt, self._ticket), self)
        except KithError as error:
            self.refuse(error)

    def _keep(self, payload: bytes) -> None:
        early = self._early = self._early or []
        if len(early) >= EARLY_FRAMES or sum(map(len, early)) + len(payload) > EARLY_BYTES:
            self._turn_away(CloseCode.OVERLOADED, None, KithError(ErrorCode.OVERLOADED))
            return
        early.append(payload)

    def _say_connected(self, ref: Ref, unread: int) -> None:
        gate = self.gate
        payload = ConnectedPayload(
            self.user_id, self.login_id, iso(gate.clock.now()), gate.epoch, unread, gate.shown_heartbeat, resumed=False
        )
        self.link.send(Frame(msgspec.json.encode(ConnectedFrame("connected", payload, ref))))

    def hello_again(self, hello: HelloPayload, ref: Ref) -> None:
        """A new token for an open connection; answered, but nothing is replayed."""
        claims = self._check_token(hello.token, ref)
        if claims is not None:
            self.claims = claims
            self._say_connected(ref, 0)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _command(self, payload: bytes) -> None:
        try:
            head = decode_head(payload)
        except MALFORMED as problem:
            self.reply_error(ref_of(payload), wrong(problem))
            return
        try:
            command = COMMANDS.get(head.type) or COMMANDS.get(meant(head))
            if command is None:
                # Refusing costs as much as a read, so it is paid like one: nobody keeps a core busy with nonsense.
                self.gate.limiter.take(Limit.REQUESTS, self.user_id, self.limits).check()
                raise absent(meant(head))
            command.run(self, head)
        except MALFORMED as problem:
            self.reply_error(head.ref, wrong(problem, "payload"))
        except KithError as error:
            self.reply_error(head.ref, error)

    def reply_ok(self, ref: Ref, value: object) -> None:
        if ref is not None:
            self.link.send(ok_frame(ref, value))

    def reply_error(self, ref: Ref, error: KithError) -> None:
        self.gate.errors.of(error.code).value += 1
        self.link.send(error_frame(ref, error))
        if error.code is ErrorCode.INVALID_PAYLOAD and self.state is State.READY:
            self._count_bad()

    def _count_bad(self) -> None:
        now = self.gate.clock.monotonic()
        self._bad = [at for at in self._bad or () if now - at < BAD_PAYLOAD_WINDOW]
        self._bad.append(now)
        if len(self._bad) >= BAD_PAYLOADS:
            self._end()
            self.link.close(CloseCode.VIOLATIONS, "too many invalid payloads")

    def _end(self) -> None:
        """Leave the user's actor, if it knows of us."""
        state, self.state = self.state, State.ENDED
        self._early = None
        if state in (State.JOINING, State.READY):
            self.gate.users.must_tell(self.user_id, Disconnect(self.id))


def wrong(problem: Exception, whole: str = "") -> KithError:
    return fault("Nested too deeply" if isinstance(problem, RecursionError) else str(problem), whole)


def ref_of(payload: bytes) -> Ref:
    """The ref of a frame that is not well formed, if it can be found at all."""
    try:
        return decode_loosely(payload).ref
    except MALFORMED:
        return None
