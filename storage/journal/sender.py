"""Sends one flush until its fate is known, however often the connection is lost on the way."""

import logging
from typing import Final, TypeVar

import trio
from msgspec import Struct

from actors.ports import Clock
from actors.shapes.times import Seconds
from storage.database_errors import DatabaseAwayError, RowRefusedError, StatementFailedError
from storage.journal.counters import JournalCounters
from storage.journal.statement import RECEIPT, Flush, Lost
from storage.postgres import Dedicated

T = TypeVar("T")
_log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 2.0
ROW_PASSED_OVER: Final = "KJ001"
_RECEIPT_CONSTRAINT: Final = "flushes_pkey"
REPEATS_BEFORE_BLAME: Final = 5
SAY_AGAIN: Final = Seconds(60.0)


class RowPassedOverError(Exception):
    """The flush stored fewer rows than it carried, and was taken back: one of its client ids is stored already."""


class _Suspicion:
    """How often in a row a flush met the same error that is not the world's."""

    def __init__(self, suspected: str | None) -> None:
        self._sqlstate = suspected
        self._repeats = REPEATS_BEFORE_BLAME if suspected else 0

    def hardens(self, error: StatementFailedError) -> bool:
        """Whether it has been repeated in vain often enough."""
        if error.of_the_world:
            self._sqlstate = None
            return False
        self._repeats = self._repeats + 1 if error.sqlstate == self._sqlstate else 0
        self._sqlstate = error.sqlstate
        return self._repeats >= REPEATS_BEFORE_BLAME


class Head(Struct, frozen=True):
    kind: str
    id: str


class Written(Struct, frozen=True):
    """The fate of a flush: what it lost, or, when only its receipt is left to ask, what it won."""

    lost: list[Lost] | None
    won: list[Head] | None = None


class Sender:
    """Owns the journal's connection."""

    def __init__(self, line: Dedicated, counters: JournalCounters, clock: Clock) -> None:
        self._line = line
        self._counters = counters
        self._clock = clock
        self._said = Seconds(0.0)
        self.troubled = False  # the last attempt failed by the world's fault

    async def send(self, flush: Flush, suspected: str | None = None) -> Written:
        """Repeat the same content under the same number until there is an answer.

        Raises RowRefusedError and RowPassedOverError, after which nothing of the flush is stored. With the SQLSTATE
        `suspected`, which ended the flush that this is a part of, it is not tried again and again.
        """
        suspicion = _Suspicion(suspected)
        answer_lost = False
        pause = FIRST_PAUSE
        while True:
            await self._connect()
            try:
                lost = await self._line.flush(Lost, flush.sql, flush.values)
                self.troubled = False
                return Written(lost)
            except RowRefusedError as error:
                self.troubled = False
                if error.constraint != _RECEIPT_CONSTRAINT:
                    raise
                # An earlier attempt, whose answer was lost, did commit. Its row says what it won.
                self._counters.proved += 1
                return Written(None, await self.ask(Head, RECEIPT, flush.values[:3]))
            except StatementFailedError as error:
                if error.sqlstate == ROW_PASSED_OVER:
                    self.troubled = False
                    raise RowPassedOverError from None
                if suspicion.hardens(error):
                    return await self._blame(flush, error, answer_lost)
                if not error.of_the_world:
                    self._line.terminate()  # a plan that a change of the schema made void is prepared anew
                self._note(error)
            except DatabaseAwayError as error:
                answer_lost = True
                self._line.terminate()  # whatever is left of it is not to be trusted
                self._note(error)
            # The world's fault. Nobody is told anything; the unique flush row makes the repetition harmless.
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _blame(self, flush: Flush, error: StatementFailedError, answer_lost: bool) -> Written:
        """Take the flush for one that cannot be stored, unless an attempt whose answer was lost did store it."""
        won = await self.ask(Head, RECEIPT, flush.values[:3]) if answer_lost else []
        self.troubled = False
        if won:
            self._counters.proved += 1
            return Written(None, won)
        _log.error("the journal gives up a flush of which the server makes nothing but an error: %s", error)
        raise RowRefusedError(error.sqlstate)

    async def _connect(self) -> None:
        """Until it succeeds: that nobody is let in is no flush's fault, whatever the server says."""
        pause = FIRST_PAUSE
        while not self._line.connected:
            try:
                await self._line.connect()
            except (DatabaseAwayError, StatementFailedError) as error:
                self._line.terminate()
                self._note(error)
                await trio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def ask(self, make: type[T], sql: str, values: tuple[object, ...]) -> list[T]:
        """A read that belongs to the fate of a flush; repeated until it is answered."""
        pause = FIRST_PAUSE
        while True:
            await self._connect()
            try:
                return await self._line.fetch(make, sql, values)
            except (DatabaseAwayError, StatementFailedError) as error:
                self._line.terminate()
                self._note(error)
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _note(self, error: Exception) -> None:
        self._counters.retries += 1
        now = self._clock.monotonic()
        if not self.troubled or now - self._said >= SAY_AGAIN:
            _log.warning("the journal cannot write and will repeat its flush: %s", error)
            self._said = now
        self.troubled = True
