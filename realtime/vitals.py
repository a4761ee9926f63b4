"""How the parts of a node are, for `/healthz`."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from actors.ports import Clock
from actors.shapes.errors import KithError
from actors.shapes.times import Seconds


class DatabaseVital:
    """Whether PostgreSQL answers. Without it the node holds its connections and serves nothing durable."""

    name = "database"

    def __init__(self, ask: Callable[[], Awaitable[object]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock

    async def check(self) -> tuple[str, float, bool]:
        begun = self._clock.monotonic()
        try:
            await self._ask()
        except KithError:
            return "away", self._clock.monotonic() - begun, False
        return "ok", self._clock.monotonic() - begun, True


class JournalNumbers(Protocol):
    @property
    def troubled(self) -> bool: ...
    @property
    def queue_age(self) -> float: ...


class JournalVital:
    """Whether what is decided gets to the disk; its latency is the age of the oldest undecided batch."""

    name = "journal"

    def __init__(self, journal: JournalNumbers) -> None:
        self._journal = journal

    async def check(self) -> tuple[str, float, bool]:
        if self._journal.troubled:
            return "waiting for the database", self._journal.queue_age, False
        return "ok", self._journal.queue_age, True


class StorageVital:
    """How the object store is. Only media need it, so the node serves without it.

    Asked at most once in `REMEMBERED`: anybody may ask for our health, and the store must not pay for each who does.
    """

    name = "storage"
    REMEMBERED: Final = Seconds(5.0)

    def __init__(self, ask: Callable[[], Awaitable[str]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._asked_at = float("-inf")
        self._found = ("ok", 0.0, True)
        self._asking: trio.Event | None = None

    async def check(self) -> tuple[str, float, bool]:
        if self._asking is not None:
            await self._asking.wait()
        elif self._clock.monotonic() - self._asked_at > self.REMEMBERED:
            await self._look()
        return self._found

    async def _look(self) -> None:
        self._asking = trio.Event()
        begun = self._clock.monotonic()
        try:
            state = await self._ask()
            self._asked_at = self._clock.monotonic()
            self._found = (state, self._asked_at - begun, True)
        finally:
            self._asking.set()
            self._asking = None


class Bus(Protocol):
    async def state(self) -> tuple[str, float]: ...


class RedisVital:
    """Whether other nodes are woken by what this one commits. They look once a second in any case."""

    name = "redis"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def check(self) -> tuple[str, float, bool]:
        state, latency = await self._bus.state()
        return state, latency, True


class UnconfiguredVital:
    """A part that this node does without."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def check(self) -> tuple[str, float, bool]:
        return "not configured", 0.0, True
