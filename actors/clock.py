"""The one place where wall time meets monotonic time; everything else is handed a clock."""

import time
from typing import Final

import trio

from actors.ports import Clock
from actors.shapes.times import Seconds, WallTime

BELIEVED: Final = Seconds(1.0)
FAKE_START: Final = WallTime(1_800_000_000_000)  # where a fake clock begins, so that its times look like times


class SystemClock:
    """Wall time as PostgreSQL tells it: this machine's clock plus a measured offset, so that a node whose clock is
    wrong decides the same as its peers."""

    def __init__(self) -> None:
        self._offset_ms = 0
        self._corrected = False

    def now(self) -> WallTime:
        return WallTime(time.time_ns() // 1_000_000 + self._offset_ms)

    def monotonic(self) -> Seconds:
        return Seconds(time.monotonic())

    @property
    def offset(self) -> Seconds:
        return Seconds(self._offset_ms / 1000)

    def correct(self, database_now: WallTime, asked_at: Seconds) -> None:
        """Take over the database's time; it was read somewhere between `asked_at` (monotonic) and now.

        An answer that was long on its way can be wrong by half of that: after the first one it is not worth believing.
        """
        round_trip = time.monotonic() - asked_at
        if self._corrected and round_trip > BELIEVED:
            return
        self._corrected = True
        self._offset_ms = database_now + round(round_trip * 500) - time.time_ns() // 1_000_000


class FakeClock:
    """Wall time that follows trio's clock, so that an autojump test moves both; `skew` simulates a wrong clock."""

    def __init__(self, start: WallTime = FAKE_START) -> None:
        self.start = start
        self.skew: Seconds = Seconds(0.0)

    def now(self) -> WallTime:
        return WallTime(self.start + round((trio.current_time() + self.skew) * 1000))

    def monotonic(self) -> Seconds:
        return Seconds(trio.current_time())


def trio_deadline(clock: Clock, at: WallTime) -> float:
    """The moment on trio's clock that this wall time falls on, as far as one knows now: for `trio.move_on_at` around a
    drain. The clock may be corrected meanwhile; the deadline only wakes the actor, the rule decides if it is time."""
    return trio.current_time() + (at - clock.now()) / 1000
