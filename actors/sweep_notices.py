"""What the sweep is told: that somebody committed something, what was not published here, and who has just come."""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio
from msgspec import Struct

from actors.ports import Clock
from actors.rules.swept import Range
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import Seconds

# Without the database nothing is told, and nothing is committed either: what is told out of order then is no matter.
PATIENCE: Final = Seconds(0.1)


class SweepCounters(Struct):
    rounds: int = 0
    failures: int = 0  # of rounds: the database was away
    heads: int = 0  # addresses that others changed
    events: int = 0  # handed to the actors of users
    resyncs: int = 0  # too much to hand out one by one
    unpublished: int = 0  # own changes whose actor failed between commit and publishing


def _observe_nothing(seconds: float) -> None:
    """For tests that want no metrics."""


class SweepNotices:
    """Implements the port `Sweeper`. Made before the actors, who leave their notices here; the sweep collects them."""

    def __init__(self, clock: Clock, observe_lag: Callable[[float], None] = _observe_nothing) -> None:
        self.counters = SweepCounters()
        self.observe_lag = observe_lag
        self.others = 0  # nodes beside this one, as PostgreSQL saw them last
        self._awaited: list[trio.Event] = []
        self._clock = clock
        self._woken = trio.Event()
        self._unpublished: list[tuple[ConversationId, Range]] = []
        self._arrivals: deque[tuple[Seconds, UserId]] = deque()

    def wake(self) -> None:
        self._woken.set()

    async def told(self) -> None:
        if self.others:
            over = trio.Event()
            self._awaited.append(over)
            self.wake()
            with trio.move_on_after(PATIENCE):
                await over.wait()

    def unpublished(self, id: ConversationId, old_rev: int, new_rev: int) -> None:
        self.counters.unpublished += 1
        self._unpublished.append((id, (old_rev, new_rev)))
        self.wake()

    def arrived(self, user: UserId) -> None:
        self._arrivals.append((self._clock.monotonic(), user))

    # -- for the sweep ------------------------------------------------------------------------------------------------

    async def woken(self) -> None:
        """Return when somebody has called since the last time."""
        await self._woken.wait()
        self._woken = trio.Event()

    def take_awaited(self) -> list[trio.Event]:
        """Whoever waits for the end of the round that begins now."""
        taken, self._awaited = self._awaited, []
        return taken

    def take_unpublished(self) -> list[tuple[ConversationId, Range]]:
        taken, self._unpublished = self._unpublished, []
        return taken

    def take_arrivals(self, before: Seconds) -> list[UserId]:
        """Who came before this moment."""
        taken = []
        while self._arrivals and self._arrivals[0][0] <= before:
            taken.append(self._arrivals.popleft()[1])
        return taken
