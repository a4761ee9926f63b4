"""The units that wait for a flush, within a bound, and the tasks that wait for them."""

from collections import deque
from collections.abc import Iterable
from typing import Final

import outcome
import trio
from msgspec import Struct

from actors.ports import Receipt, Unit
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds


class JournalBounds(Struct, frozen=True):
    """How much may wait, and how much one flush takes.

    500 rows a flush is where the cost per row stops falling; more only makes everybody in it wait longer.
    """

    waiting_rows: int = 20_000
    waiting_bytes: int = 64 << 20
    flush_rows: int = 1_000
    flush_bytes: int = 4 << 20


BOUNDS: Final = JournalBounds()
RELEASED_PER_TURN: Final = 32

Result = outcome.Value[Receipt] | outcome.Error


class Waiter:
    """One unit and the task that is parked until it is decided."""

    __slots__ = ("address", "decided", "rounds", "rows", "since", "size", "task", "unit")

    def __init__(self, unit: Unit, weight: tuple[str, int, int], since: Seconds) -> None:
        self.unit = unit
        self.address, self.rows, self.size = weight
        self.since = since
        self.task = trio.lowlevel.current_task()
        self.decided = False
        self.rounds = 0  # how often another flush held its row


def stay(_: object) -> trio.lowlevel.Abort:
    # A unit handed in is a unit decided: cancelling its actor must not hide from it what became of its rows.
    return trio.lowlevel.Abort.FAILED


class Waiting:
    """First come, first served; a unit that could not be decided goes back to the front."""

    def __init__(self, bounds: JournalBounds) -> None:
        self._bounds = bounds
        self._queue: deque[Waiter] = deque()
        self._flusher = trio.lowlevel.ParkingLot()
        self.rows = 0  # of everything undecided, in a flush or not
        self.bytes = 0
        self.undecided = 0
        self.closing = False
        # Decided, and on their way to be woken, a slice at a time.
        self._decided: deque[tuple[trio.lowlevel.Task, Result]] = deque()
        self._releaser = trio.lowlevel.ParkingLot()

    @property
    def full(self) -> bool:
        return self.rows >= self._bounds.waiting_rows or self.bytes >= self._bounds.waiting_bytes

    @property
    def oldest(self) -> Seconds | None:
        return self._queue[0].since if self._queue else None

    def add(self, waiter: Waiter) -> None:
        """Take in a unit whose task parks at once with `stay`."""
        self.rows += waiter.rows
        self.bytes += waiter.size
        self.undecided += 1
        self._queue.append(waiter)
        if self._flusher:
            self._flusher.unpark()

    async def arrival(self) -> None:
        """Return when something new comes, or the journal closes; only flushers call it."""
        await self._flusher.park()

    def close(self) -> None:
        """Take nothing new; the flushers look again and end when nothing waits."""
        self.closing = True
        self._flusher.unpark_all()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def take(self) -> list[Waiter]:
        """What the next flush carries: at most one unit of an address, because a flush moves a revision once."""
        batch: list[Waiter] = []
        addresses: set[str] = set()
        again: list[Waiter] = []
        rows = size = 0
        queue = self._queue
        while queue and rows < self._bounds.flush_rows and size < self._bounds.flush_bytes:
            waiter = queue.popleft()
            if waiter.address in addresses:
                again.append(waiter)
                continue
            addresses.add(waiter.address)
            batch.append(waiter)
            rows += waiter.rows
            size += waiter.size
        self.put_back(again)
        return batch

    def put_back(self, waiters: Iterable[Waiter]) -> None:
        """To the front, in their order."""
        self._queue.extendleft(reversed(list(waiters)))

    def decide(self, waiter: Waiter, receipt: Receipt) -> None:
        """Wake its task with the receipt."""
        self._release(waiter, outcome.Value(receipt))

    def _release(self, waiter: Waiter, result: Result) -> None:
        waiter.decided = True
        self.rows -= waiter.rows
        self.bytes -= waiter.size
        self.undecided -= 1
        self._decided.append((waiter.task, result))
        if self._releaser:
            self._releaser.unpark()

    async def release(self) -> None:
        """Wake the tasks of decided units, some of them in each turn of the loop.

        A flush decides hundreds. All in one turn they keep the loop for 10 ms, in which the next flush cannot even be
        sent, and PostgreSQL and this node take turns instead of working at the same time (9,250 against 13,300
        messages/s).
        """
        try:
            while True:
                while not self._decided:
                    await self._releaser.park()
                self._wake(RELEASED_PER_TURN)
                await trio.lowlevel.checkpoint()
        finally:
            self._wake(len(self._decided))

    def _wake(self, most: int) -> None:
        decided = self._decided
        for _ in range(min(most, len(decided))):
            task, result = decided.popleft()
            trio.lowlevel.reschedule(task, result)

    def abandon(self, in_flight: Iterable[Waiter]) -> int:
        """Tell everybody that no decision will come, each truly; say how many cannot know their outcome."""
        queue, self._queue = self._queue, deque()
        for waiter in queue:
            self._release(waiter, outcome.Error(closed_error()))
        sent = [waiter for waiter in in_flight if not waiter.decided]
        for waiter in sent:
            self._release(waiter, outcome.Error(closed_error(unknown=True)))
        self._wake(len(self._decided))
        return len(sent)


def closed_error(*, unknown: bool = False) -> KithError:
    """The node stops: either before anything was sent, or before the answer could be learned."""
    return KithError(
        ErrorCode.UNAVAILABLE, "The server is stopping", retry_after=1.0, outcome="unknown" if unknown else "none"
    )


def full_error() -> KithError:
    """PostgreSQL does not keep up or is away, and what may wait for it waits already."""
    return KithError(ErrorCode.UNAVAILABLE, "The database does not answer", retry_after=2.0)
