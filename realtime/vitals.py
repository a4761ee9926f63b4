"""How the parts of a node are, for `/healthz`."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.ports import Clock
from actors.shapes.errors import KithError


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


class UnconfiguredVital:
    """A part that this node does without."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def check(self) -> tuple[str, float, bool]:
        return "not configured", 0.0, True
