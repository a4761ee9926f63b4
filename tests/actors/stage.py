"""The stage of the actor tests: a store that counts its queries, and an actor that adds up and can be told to fail."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct

from actors.clock import FakeClock
from actors.directory import Directory
from actors.kinds import Activation, ActorKind
from actors.mailbox import Envelope, StopReason
from actors.shapes.errors import KithError
from actors.shapes.times import Seconds
from actors.supervisor import DEFAULT_POLICY, RestartPolicy
from actors.system import ActorSystem, SystemOptions


class Tally(Struct):
    """The state of one actor; every load makes a new object."""

    id: str
    total: int


class Add(Struct, frozen=True):
    amount: int


class Crash(Struct, frozen=True):
    """Deciding it raises."""


class AnswerThenCrash(Struct, frozen=True):
    """It is answered; what comes behind the answer raises."""


class Hold(Struct, frozen=True):
    """Keeps the actor busy until the event."""

    until: trio.Event


class Pin(Struct, frozen=True):
    pinned: bool


class End(Struct, frozen=True):
    """Answered, then the actor returns this."""

    reason: Any


Command = Add | Crash | AnswerThenCrash | Hold | Pin | End


class BrokenActorError(Exception):
    """What the actors of these tests raise when they are told to."""


class Store:
    """The rows, and what was asked of them."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.queries: list[list[str]] = []
        self.before: Callable[[Sequence[str]], None] = lambda ids: None  # raises what a query raises
        self.gate: trio.Event | None = None  # a query waits here
        self.seconds = 0.0

    async def load(self, ids: Sequence[str]) -> dict[str, Tally]:
        self.queries.append(list(ids))
        if self.gate is not None:
            await self.gate.wait()
        await trio.sleep(self.seconds)
        self.before(ids)
        return {id: Tally(id, self.rows[id]) for id in ids if id in self.rows}


class TallyActor:
    """Decides a batch, writes, then answers: the order that every actor of Kith keeps."""

    def __init__(self, stage: "Stage", activation: Activation[str, Tally, Command], state: Tally | None) -> None:
        self.activation = activation
        self.state = state if state is not None else Tally(activation.id, 0)
        self.stage = stage
        stage.lives.append(self)

    async def run(self) -> StopReason:
        mailbox = self.activation.mailbox
        while batch := await mailbox.drain():
            self.stage.batches.append([envelope.command for envelope in batch])
            for envelope in batch:
                ended = await self.handle(envelope)
                if ended is not None:
                    return ended  # type: ignore[no-any-return] # the tests also hand out what is no reason
        assert mailbox.stop_reason is not None
        return mailbox.stop_reason

    async def handle(self, envelope: Envelope[Command]) -> Any:
        command = envelope.command
        if isinstance(command, Add):
            self.state.total += command.amount
            self.stage.decided.append(command)
            self.stage.store.rows[self.state.id] = self.state.total
            envelope.answer(self.state.total)
        elif isinstance(command, Crash):
            self.state.total = 666  # half done: nobody may see this
            raise BrokenActorError
        elif isinstance(command, AnswerThenCrash):
            envelope.answer("answered")
            raise BrokenActorError
        elif isinstance(command, Hold):
            await command.until.wait()
            envelope.answer("released")
        elif isinstance(command, Pin):
            self.activation.mailbox.pinned = command.pinned
            envelope.answer(None)
        else:
            envelope.answer("ending")
            return command.reason
        return None


class Stage:
    """One system with one kind of actor, and a record of what happened on it."""

    def __init__(
        self, idle: float = 120.0, capacity: int = 1_000, policy: RestartPolicy = DEFAULT_POLICY, sweep: float = 1.0
    ) -> None:
        self.clock = FakeClock()
        self.store = Store()
        self.lives: list[TallyActor] = []
        self.batches: list[list[Command]] = []
        self.decided: list[Add] = []
        self.system = ActorSystem(self.clock, SystemOptions(sweep_every=Seconds(sweep)))
        kind: ActorKind[str, Tally, Command] = ActorKind(
            "tally",
            self.store.load,
            lambda activation, state: TallyActor(self, activation, state),
            Seconds(idle),
            capacity,
            policy,
        )
        self.tallies: Directory[str, Tally, Command] = self.system.register(kind)

    def another(self, name: str, actor: type[TallyActor]) -> Directory[str, Tally, Command]:
        """One more kind, on top of those that are there."""
        kind: ActorKind[str, Tally, Command] = ActorKind(
            name, self.store.load, lambda activation, state: actor(self, activation, state), Seconds(60)
        )
        return self.system.register(kind)

    async def ask(self, id: str, command: Command, timeout: float = 1_000.0) -> Any:  # noqa: ASYNC109 - as Directory.ask
        return await self.tallies.ask(id, command, Seconds(timeout))


class Heard:
    """An asker that writes down what it is told."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.errors: list[KithError] = []

    def answer(self, value: object) -> None:
        self.answers.append(value)

    def refuse(self, error: KithError) -> None:
        self.errors.append(error)

    @property
    def codes(self) -> list[str]:
        return [str(error.code) for error in self.errors]


class Deaf:
    """An asker with a bug."""

    def answer(self, value: object) -> None:
        raise BrokenActorError(f"cannot bear {value}")

    def refuse(self, error: KithError) -> None:
        raise BrokenActorError("cannot bear a refusal") from error


@asynccontextmanager
async def running(system: ActorSystem) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(system.run)
        yield
        nursery.cancel_scope.cancel()
