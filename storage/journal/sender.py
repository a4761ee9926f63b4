"""Sends one flush until its fate is known, however often the connection is lost on the way."""

import logging
from typing import Final, TypeVar

import trio
from msgspec import Struct

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


class RowPassedOverError(Exception):
    """The flush stored fewer rows than it carried, and was taken back: one of its client ids is stored already."""


class Head(Struct, frozen=True):
    kind: str
    id: str


class Written(Struct, frozen=True):
    """The fate of a flush: what it lost, or, when only its receipt is left to ask, what it won."""

    lost: list[Lost] | None
    won: list[Head] | None = None


class Sender:
    """Owns the journal's connection."""

    def __init__(self, line: Dedicated, counters: JournalCounters) -> None:
        self._line = line
        self._counters = counters
        self.troubled = False  # the last attempt failed by the world's fault

    async def send(self, flush: Flush) -> Written:
        """Repeat the same content under the same number until there is an answer.

        Raises RowRefusedError and RowPassedOverError, after which nothing of the flush is stored.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                if not self._line.connected:
                    await self._line.connect()
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
                self._note(error)
            except DatabaseAwayError as error:
                self._line.terminate()  # whatever is left of it is not to be trusted
                self._note(error)
            # The world's fault. Nobody is told anything; the unique flush row makes the repetition harmless.
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def ask(self, make: type[T], sql: str, values: tuple[object, ...]) -> list[T]:
        """A read that belongs to the fate of a flush; repeated until it is answered."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not self._line.connected:
                    await self._line.connect()
                return await self._line.fetch(make, sql, values)
            except (DatabaseAwayError, StatementFailedError) as error:
                self._line.terminate()
                self._note(error)
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _note(self, error: Exception) -> None:
        self._counters.retries += 1
        if not self.troubled:
            _log.warning("the journal cannot write and will repeat its flush: %s", error)
        self.troubled = True
