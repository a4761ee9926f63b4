"""The journal on PostgreSQL: it gathers what actors append, has its lanes flush it, and wakes whoever waited."""

from collections.abc import Sequence

import trio

from actors.ports import Clock, Receipt, Unit, WriteToken
from actors.shapes.times import Seconds
from storage.journal.counters import FlushObserver, JournalCounters, observe_nothing
from storage.journal.lane import Lane
from storage.journal.statement import PARTS
from storage.journal.waiting import BOUNDS, JournalBounds, Waiter, Waiting, closed_error, full_error, stay
from storage.node import NodeIdentity
from storage.postgres import Dedicated


class StaleTokenError(RuntimeError):
    """Somebody wrote who is no actor, or no longer: a bug, told to whoever made it."""


class PostgresJournal:
    """Implements actors.ports.Journal; `run` owns everything here.

    One lane per connection: with two, PostgreSQL works on the next flush while the answer of this one finds its way
    back to us. An actor has one unit at a time, so an address is never in both; if it were, the ordered locks and the
    compare-and-set would arbitrate between lanes as they do between nodes.
    """

    def __init__(
        self,
        lines: Sequence[Dedicated],
        identity: NodeIdentity,
        clock: Clock,
        bounds: JournalBounds = BOUNDS,
        observe: FlushObserver = observe_nothing,
    ) -> None:
        self.counters = JournalCounters()
        self._clock = clock
        self._waiting = Waiting(bounds)
        self._lanes: Sequence[Lane] = [
            Lane(line, identity, clock, self._waiting, (self.counters, observe)) for line in lines
        ]
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    # -- for actors -------------------------------------------------------------------------------------------------

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        """Park until the unit is decided; see the port for what is raised at once."""
        if not token.valid:
            raise StaleTokenError(f"{token.actor} has ended and may not write")
        if self._waiting.closing:
            self.counters.refused += 1
            raise closed_error()
        if self._waiting.full:
            self.counters.refused += 1
            raise full_error()
        self._waiting.add(Waiter(unit, PARTS[type(unit)].weigh(unit), self._clock.monotonic()))
        receipt: Receipt = await trio.lowlevel.wait_task_rescheduled(stay)
        return receipt

    # -- for metrics and health -------------------------------------------------------------------------------------

    @property
    def troubled(self) -> bool:
        """Whether the last attempt of any lane failed by the world's fault."""
        return any(lane.troubled for lane in self._lanes)

    @property
    def in_flight(self) -> int:
        """Units whose flush is under way."""
        return sum(len(lane.in_flight) for lane in self._lanes)

    @property
    def waiting_rows(self) -> int:
        return self._waiting.rows

    @property
    def waiting_bytes(self) -> int:
        return self._waiting.bytes

    @property
    def queue_age(self) -> Seconds:
        """How long the oldest undecided unit has been here."""
        since = [lane.in_flight[0].since for lane in self._lanes if lane.in_flight]
        if self._waiting.oldest is not None:
            since.append(self._waiting.oldest)
        return Seconds(self._clock.monotonic() - min(since) if since else 0.0)

    # -- life -------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush until closed. However it ends, nobody is left parked."""
        try:
            with self._scope:
                for lane in self._lanes:
                    await lane.connect()
                async with trio.open_nursery() as releasing:
                    releasing.start_soon(self._waiting.release)
                    task_status.started()
                    async with trio.open_nursery() as lanes:
                        for lane in self._lanes:
                            lanes.start_soon(lane.run)
                    releasing.cancel_scope.cancel()
        finally:
            self._waiting.closing = True
            for lane in self._lanes:
                self.counters.unanswered += self._waiting.abandon(lane.in_flight)
                lane.terminate()
            self._ended.set()

    async def aclose(self, grace: Seconds) -> None:
        """Take nothing new, flush what waits, and after `grace` give up on the rest."""
        self._waiting.close()
        with trio.move_on_after(grace):
            await self._ended.wait()
            return
        # The connections go first: a cancelled statement would be cancelled on the server, too, and what is on its way
        # to the disk shall get there.
        for lane in self._lanes:
            lane.terminate()
        self._scope.cancel()
