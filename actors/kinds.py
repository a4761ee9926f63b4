"""What the actor system must know of a kind of actor, and what an actor is given when it wakes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from actors.mailbox import Mailbox, StopReason
from actors.shapes.times import Seconds
from actors.supervisor import DEFAULT_POLICY, RestartPolicy

Id = TypeVar("Id", bound=str)
State = TypeVar("State")
Command = TypeVar("Command")


class Activation(Generic[Id, State, Command]):
    """What one awakening of an actor owns: its address, its mailbox, and the proof that it may write."""

    __slots__ = ("_reload", "actor_kind", "id", "mailbox", "valid")

    def __init__(
        self, kind: str, id: Id, mailbox: Mailbox[Command], reload: Callable[[Id], Awaitable[State | None]]
    ) -> None:
        self.actor_kind = kind
        self.id = id
        self.mailbox = mailbox
        self.valid = True  # until the actor system takes it back: a task that outlives its actor cannot write any more
        self._reload = reload

    @property
    def actor(self) -> str:
        return f"{self.actor_kind}/{self.id}"

    async def reload(self) -> State | None:
        """The state as the database has it now; for an actor that was fenced. Raises LoadError."""
        return await self._reload(self.id)


class Actor(Protocol):
    async def run(self) -> StopReason:
        """Live: wait for the mailbox, decide, persist, publish, again."""
        ...


class ActorKind(Struct, Generic[Id, State, Command], frozen=True):
    """`load` reads the states of many ids at once (a missing id has no past); `build` makes an actor of one."""

    name: str
    load: Callable[[Sequence[Id]], Awaitable[dict[Id, State]]]
    build: Callable[[Activation[Id, State, Command], State | None], Actor]
    idle: Seconds
    capacity: int = 1_000
    policy: RestartPolicy = DEFAULT_POLICY

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.idle < 0:
            raise ValueError(f"{self.name}: a mailbox holds at least one command, and idle time is not negative")


class Census(Struct, frozen=True):
    """One kind of actor in figures. The mailboxes are as the last sweep saw them, the rest as it is now."""

    kind: str
    awake: int
    waiting: int
    deepest: int
    oldest: Seconds  # how long the longest-lying work has lain, queued or in hand
    activations: int
    passivations: int
    crashes: int
    gave_up: int
    refused: int
    stops: dict[StopReason, int] = {}  # every end by its reason: activations == awake + all of these
