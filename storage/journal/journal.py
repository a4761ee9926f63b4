"""The journal on PostgreSQL: it gathers what actors append, flushes it, and tells each one what became of its rows."""

from collections.abc import Sequence
from time import perf_counter
from typing import Final

import trio

from actors.ports import (
    BirthUnit,
    Clock,
    Committed,
    ConversationUnit,
    Fenced,
    Poisoned,
    Receipt,
    Repeats,
    Taken,
    Unit,
    WriteToken,
)
from actors.shapes.times import Seconds
from storage.database_errors import RowRefusedError
from storage.journal.counters import FlushObserver, JournalCounters, observe_nothing
from storage.journal.repeats import REPEATS, Repeated, repeats_by_conversation, sent_keys
from storage.journal.sender import RowPassedOverError, Sender, Written
from storage.journal.statement import PARTS, flush_of
from storage.journal.taken import TAKEN, TakenBy, pairs
from storage.journal.waiting import BOUNDS, JournalBounds, Waiter, Waiting, closed_error, full_error, stay
from storage.node import NodeIdentity
from storage.postgres import Dedicated

_COMMITTED: Final = Committed()
_FENCED: Final = Fenced()
_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


class StaleTokenError(RuntimeError):
    """Somebody wrote who is no actor, or no longer: a bug, told to whoever made it."""


class PostgresJournal:
    """Implements actors.ports.Journal; `run` is its one task, and the owner of everything here."""

    def __init__(
        self,
        line: Dedicated,
        identity: NodeIdentity,
        clock: Clock,
        bounds: JournalBounds = BOUNDS,
        observe: FlushObserver = observe_nothing,
    ) -> None:
        self.counters = JournalCounters()
        self._sender = Sender(line, self.counters)
        self._line = line
        self._identity = identity
        self._clock = clock
        self._observe = observe
        self._waiting = Waiting(bounds)
        self._in_flight: Sequence[Waiter] = ()
        self._closing = False
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    # -- for actors -------------------------------------------------------------------------------------------------

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        """Park until the unit is decided; see the port for what is raised at once."""
        if not token.valid:
            raise StaleTokenError(f"{token.actor} has ended and may not write")
        if self._closing:
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
        """Whether the last attempt failed by the world's fault."""
        return self._sender.troubled

    @property
    def waiting_rows(self) -> int:
        return self._waiting.rows

    @property
    def waiting_bytes(self) -> int:
        return self._waiting.bytes

    @property
    def queue_age(self) -> Seconds:
        """How long the oldest undecided unit has been here."""
        oldest = self._in_flight[0].since if self._in_flight else self._waiting.oldest
        return Seconds(0.0 if oldest is None else self._clock.monotonic() - oldest)

    # -- the flusher ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush until closed. However it ends, nobody is left parked."""
        try:
            with self._scope:
                await self._line.connect()
                task_status.started()
                await self._flush_all()
        finally:
            self._closing = True
            self.counters.unanswered += self._waiting.abandon(self._in_flight)
            self._line.terminate()
            self._ended.set()

    async def aclose(self, grace: Seconds) -> None:
        """Take nothing new, flush what waits, and after `grace` give up on the rest."""
        self._closing = True
        self._waiting.nudge()
        with trio.move_on_after(grace):
            await self._ended.wait()
            return
        # The connection goes first: a cancelled statement would be cancelled on the server, too, and what is on its
        # way to the disk shall get there.
        self._line.terminate()
        self._scope.cancel()

    async def _flush_all(self) -> None:
        while True:
            while not self._waiting:
                if self._closing:
                    return
                await self._waiting.arrival()
            batch = self._waiting.take()
            self._in_flight = batch
            await self._settle(batch)
            self._in_flight = ()
            if not any(waiter.decided for waiter in batch):
                await self._pause(max(waiter.rounds for waiter in batch))

    async def _pause(self, rounds: int) -> None:
        """Other flushes hold every row of ours: let them finish, unless something else comes."""
        with trio.move_on_after(min(_SHORTEST_PAUSE * 2 ** min(rounds, 10), _LONGEST_PAUSE)):
            await self._waiting.arrival()

    async def _settle(self, batch: Sequence[Waiter]) -> None:
        """Flush these; afterwards each is decided or waits again."""
        began = perf_counter()
        waited = self._clock.monotonic() - batch[0].since
        try:
            flush = flush_of(self._identity, [waiter.unit for waiter in batch])
            written = await self._sender.send(flush)
        except RowPassedOverError:
            await self._answer_repeats(batch)
        except RowRefusedError as error:
            await self._find_guilty(batch, error)
        except UnicodeEncodeError:
            await self._find_guilty(batch, RowRefusedError("22021"))
        else:
            rows = await self._conclude(batch, written)
            self.counters.flushes += 1
            self._observe(perf_counter() - began, rows, waited)

    # -- what became of each unit -----------------------------------------------------------------------------------

    async def _conclude(self, batch: Sequence[Waiter], written: Written) -> int:
        """Tell the winners, sort the losers; return the rows written."""
        winners = batch
        if written.won is not None:
            won = {(head.kind, head.id) for head in written.won}
            winners = [waiter for waiter in batch if (PARTS[type(waiter.unit)].kind, waiter.address) in won]
            # What the proven attempt did not write was held by others or fenced; the next flush finds out which.
            self._waiting.put_back(waiter for waiter in batch if waiter not in winners)
        elif written.lost:
            verdicts = {(lost.letter, lost.id): lost.verdict for lost in written.lost}
            found = [verdicts.get((PARTS[type(waiter.unit)].letter, waiter.address)) for waiter in batch]
            winners = [waiter for waiter, verdict in zip(batch, found, strict=True) if verdict is None]
            await self._tell_losers(
                [(waiter, verdict) for waiter, verdict in zip(batch, found, strict=True) if verdict is not None]
            )
        rows = 0
        messages = 0
        for waiter in winners:
            rows += waiter.rows
            if type(waiter.unit) is ConversationUnit:
                messages += waiter.rows - 1
            self._waiting.decide(waiter, _COMMITTED)
        self.counters.units += len(winners)
        self.counters.rows += rows
        self.counters.messages += messages
        return rows

    async def _tell_losers(self, losers: Sequence[tuple[Waiter, str]]) -> None:
        contended = [waiter for waiter, verdict in losers if verdict == "contended"]
        for waiter in contended:
            waiter.rounds += 1
        self._waiting.put_back(contended)
        self.counters.contended += len(contended)
        for waiter, verdict in losers:
            if verdict == "fenced":
                self.counters.fenced += 1
                self._waiting.decide(waiter, _FENCED)
        await self._tell_taken([waiter for waiter, verdict in losers if verdict == "taken"])

    async def _tell_taken(self, losers: Sequence[Waiter]) -> None:
        """A name is taken by somebody; a pair's conversation has an id, which its second creator wants to know."""
        births = [waiter.unit for waiter in losers if isinstance(waiter.unit, BirthUnit)]
        by: dict[str, TakenBy] = {}
        if births:
            by = {found.id: found for found in await self._sender.ask(TakenBy, TAKEN, (pairs(births),))}
        for waiter in losers:
            if isinstance(waiter.unit, BirthUnit):
                found = by.get(waiter.address)
                # Not the pair but the id itself is in use: whoever wanted to bear it decides anew.
                receipt: Receipt = Taken(found.by) if found is not None else _FENCED
            else:
                receipt = Taken(None)
            self.counters.taken += 1
            self._waiting.decide(waiter, receipt)

    async def _answer_repeats(self, batch: Sequence[Waiter]) -> None:
        """Name the client ids that are stored already; everything else of the flush goes into the next one."""
        keys = sent_keys(waiter.unit for waiter in batch)
        found = repeats_by_conversation(await self._sender.ask(Repeated, REPEATS, keys))
        if not found:
            # Twice within one unit, or a message id that is in use: not a repeat but a unit that cannot be stored.
            await self._find_guilty(batch, RowRefusedError("23505"))
            return
        again = []
        for waiter in batch:
            repeated = found.get(waiter.address)
            if repeated is None:
                again.append(waiter)
                continue
            self.counters.repeated += len(repeated)
            self._waiting.decide(waiter, Repeats(repeated))
        self._waiting.put_back(again)

    async def _find_guilty(self, batch: Sequence[Waiter], error: RowRefusedError) -> None:
        """Halve by units until the one that cannot be stored stands alone; the others are written on the way."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        if error.constraint == "users_username_key":
            self.counters.taken += 1
            self._waiting.decide(batch[0], Taken(None))
            return
        self.counters.poisoned += 1
        self._waiting.decide(batch[0], Poisoned(error.sqlstate))
