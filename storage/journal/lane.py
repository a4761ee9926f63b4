"""One lane of the journal: a connection and the task that flushes on it; it tells each unit what became of its rows."""

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
    KeysUsed,
    Poisoned,
    Receipt,
    Repeats,
    Taken,
)
from actors.shapes.idempotency import KeyName
from storage.database_errors import RowRefusedError
from storage.journal.counters import FlushObserver, JournalCounters
from storage.journal.key_rider import USED, UsedKey, keys_of, names_of
from storage.journal.repeats import REPEATS, Repeated, repeats_by_conversation, sent_keys
from storage.journal.sender import RowPassedOverError, Sender, Written
from storage.journal.statement import PARTS, flush_of
from storage.journal.taken import TAKEN, TakenBy, pairs
from storage.journal.waiting import Waiter, Waiting
from storage.node import NodeIdentity
from storage.postgres import Dedicated

_COMMITTED: Final = Committed()
_FENCED: Final = Fenced()
_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


class Lane:
    """Owned by the journal, which hands it what waits and the numbers it counts in."""

    def __init__(
        self,
        line: Dedicated,
        identity: NodeIdentity,
        clock: Clock,
        waiting: Waiting,
        watched: tuple[JournalCounters, FlushObserver],
    ) -> None:
        self._line = line
        self._identity = identity
        self._clock = clock
        self._waiting = waiting
        self.counters, self._observe = watched
        self._sender = Sender(line, self.counters, clock)
        self.in_flight: Sequence[Waiter] = ()

    @property
    def troubled(self) -> bool:
        """Whether the last attempt failed by the world's fault."""
        return self._sender.troubled

    async def connect(self) -> None:
        await self._line.connect()

    def terminate(self) -> None:
        self._line.terminate()

    async def run(self) -> None:
        """Flush until the journal closes and nothing waits."""
        while True:
            while not self._waiting:
                if self._waiting.closing:
                    return
                await self._waiting.arrival()
            batch = self._waiting.take()
            self.in_flight = batch
            await self._settle(batch)
            self.in_flight = ()
            if not any(waiter.decided for waiter in batch):
                await self._pause(max(waiter.rounds for waiter in batch))

    async def _pause(self, rounds: int) -> None:
        """Other flushes hold every row of ours: let them finish, unless something else comes."""
        with trio.move_on_after(min(_SHORTEST_PAUSE * 2 ** min(rounds, 10), _LONGEST_PAUSE)):
            await self._waiting.arrival()

    async def _settle(self, batch: Sequence[Waiter], suspected: str | None = None) -> None:
        """Flush these; afterwards each is decided or waits again."""
        began = perf_counter()
        waited = self._clock.monotonic() - batch[0].since
        try:
            flush = flush_of(self._identity, [waiter.unit for waiter in batch])
            written = await self._sender.send(flush, suspected)
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
            # Each unit is asked for once: looking it up among the winners took longer with the square of a flush.
            proved = [(waiter, (PARTS[type(waiter.unit)].kind, waiter.address) in won) for waiter in batch]
            winners = [waiter for waiter, did_win in proved if did_win]
            # What the proven attempt did not write was held by others or fenced; the next flush finds out which.
            self._waiting.put_back(waiter for waiter, did_win in proved if not did_win)
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
                messages += len(waiter.unit.messages)
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
        """Name what is stored already, client ids and keys; everything else of the flush goes into the next one."""
        keys = sent_keys(waiter.unit for waiter in batch)
        found = repeats_by_conversation(await self._sender.ask(Repeated, REPEATS, keys))
        used = await self._used_keys(batch)
        again = []
        for waiter in batch:
            repeated = found.get(waiter.address)
            in_use = used & names_of(waiter.unit) if used else used
            if repeated is not None:
                self.counters.repeated += len(repeated)
                self._waiting.decide(waiter, Repeats(repeated))
            elif in_use:
                self.counters.repeated += len(in_use)
                self._waiting.decide(waiter, KeysUsed(in_use))
            else:
                again.append(waiter)
        if len(again) == len(batch):
            # Twice within one unit, or a message id that is in use: not a repeat but a unit that cannot be stored. And
            # whatever else was passed over: the same flush again would be passed over again, for ever.
            await self._find_guilty(batch, RowRefusedError("23505"))
            return
        self._waiting.put_back(again)

    async def _used_keys(self, batch: Sequence[Waiter]) -> frozenset[KeyName]:
        keys = keys_of(waiter.unit for waiter in batch)
        if not keys[0]:
            return frozenset()
        return frozenset((used.owner, used.key) for used in await self._sender.ask(UsedKey, USED, keys))

    async def _find_guilty(self, batch: Sequence[Waiter], error: RowRefusedError) -> None:
        """Halve by units until the one that cannot be stored stands alone; the others are written on the way."""
        if len(batch) > 1:
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                # Nobody waits for repeats on the way down; a unit that stands alone has them all before it is blamed.
                await self._settle(half, error.sqlstate if len(half) > 1 else None)
            return
        if error.constraint == "users_username_key":
            self.counters.taken += 1
            self._waiting.decide(batch[0], Taken(None))
            return
        self.counters.poisoned += 1
        self._waiting.decide(batch[0], Poisoned(error.sqlstate))
