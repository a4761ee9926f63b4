"""A gate over a small node, and connections whose transport is a list."""

import itertools
import json
from collections.abc import Callable
from typing import Any

from actors.limiter import Limiter, LimiterOptions
from actors.metrics import Metrics
from actors.shapes.frames import Frame
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds
from actors.tickets import TicketAuthority
from actors.tokens import Claims, TokenAuthority
from realtime.gate import Gate
from realtime.link import LostReason
from realtime.session import Session
from tests.actors.small_node import SmallNode, settled

EPOCH = "epoch-1"


class FakeLink:
    """Implements realtime.link.Link; keeps the transport's promises: nothing is sent once closing."""

    def __init__(self, words: Callable[[Frame], Frame] | None = None) -> None:
        self.words = words  # as a transport is told by Admitted
        self.remote = "192.0.2.1"
        self.read_at = 1.0
        self.queued_bytes = 0
        self.frames: list[Frame] = []
        self.closed: list[tuple[int, str]] = []
        self.signed_in = 0

    def send(self, frame: Frame) -> None:
        if not self.closed:
            self.frames.append(frame)

    def close(self, code: int, reason: str = "", before: Frame | None = None) -> None:
        if not self.closed and before is not None:
            self.frames.append(before if self.words is None else self.words(before))
        self.closed.append((int(code), reason))

    def authenticated(self) -> None:
        self.signed_in += 1

    @property
    def code(self) -> int | None:
        """The close code; None while it is open."""
        assert len(self.closed) <= 1, self.closed
        return self.closed[0][0] if self.closed else None

    def take(self) -> list[Any]:
        """What was sent since the last look."""
        frames, self.frames = self.frames, []
        return [json.loads(frame.payload) for frame in frames]


class Client:
    """One connection, seen from its client."""

    def __init__(self, gate: Gate, claims: Claims | None = None) -> None:
        self.link = FakeLink()
        self.session = Session(gate, self.link, claims)
        self._refs = itertools.count(1)

    def say(self, frame: Any) -> None:
        self.session.text(frame if isinstance(frame, bytes) else json.dumps(frame).encode())

    async def ask(self, frame: Any) -> list[Any]:
        """Everything that is sent until nothing moves any more."""
        self.say(frame)
        await settled()
        return self.link.take()

    async def command(self, type: str, **payload: Any) -> Any:
        """The one reply."""
        (reply,) = await self.ask({"type": type, "ref": next(self._refs), "payload": payload})
        return reply

    def lose(self) -> None:
        self.session.lost(LostReason.RESET)


class SmallGate:
    def __init__(self, node: SmallNode, limits: LimiterOptions | None = None) -> None:
        self.node = node
        self.metrics = Metrics()
        self.tokens = TokenAuthority("secret")
        self.tickets = TicketAuthority("secret")
        self.gate = Gate(
            clock=node.clock,
            users=node.users,
            conversations=node.conversations,
            tokens=self.tokens,
            tickets=self.tickets,
            revocations=node.revocations,
            limiter=Limiter(node.clock, limits or LimiterOptions(), self.metrics),
            commands=self.metrics.counters("commands_total", "Commands", ("type",)),
            errors=self.metrics.counters("command_errors_total", "Errors", ("code",)),
            translations=self.metrics.counters("frames_translated_total", "Translations", ("dialect",)),
            epoch=EPOCH,
            heartbeat=Seconds(25.0),
        )

    def token(self, user: UserId, login: LoginId | None = None, lifetime: float = 900.0) -> str:
        id = login or LoginId(self.node.new_id())
        return self.tokens.issue(user, id, self.node.clock.now(), Seconds(lifetime))

    def claims(self, user: UserId, login: LoginId | None = None) -> Claims:
        return self.tokens.verify(self.token(user, login), self.node.clock.now())

    def stranger(self) -> Client:
        """A connection without a credential in its upgrade."""
        return Client(self.gate)

    def known(self, user: UserId) -> Client:
        """A connection whose upgrade carried a token; nothing was said yet."""
        return Client(self.gate, self.claims(user))

    async def ready(self, user: UserId) -> Client:
        """A connection that has said hello and heard `connected` and `caught_up`."""
        client = self.stranger()
        connected, caught_up = await client.ask({"type": "hello", "payload": {"token": self.token(user)}})
        assert (connected["type"], caught_up["type"]) == ("connected", "caught_up")
        return client
