"""Loads the state of all actors that wake up in one tick with one query."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from actors.shapes.errors import TABLE, ErrorCode, KithError
from actors.shapes.times import Seconds

Id = TypeVar("Id", bound=str)
State = TypeVar("State")

Load = Callable[[Sequence[Id]], Awaitable[dict[Id, State]]]

log = logging.getLogger("kith.actors")

# Loading 7,500 conversations one by one took seconds and ruined p95; in batches it vanished. A batch beyond this size
# would make the first of them wait for the last.
LOAD_LIMIT: Final = 2_000
LOAD_DEADLINE: Final = Seconds(30.0)
# Halving 2,000 down to one row that cannot be read takes 11 queries that fail and 11 that do not. Beyond that it is not
# one row, and the database is not asked a thousand times to say so.
FAILURES_MOST: Final = 24


class LoadError(KithError):
    """The state behind an address could not be read. The cause is in the log once, not once per address."""


class Loader(Generic[Id, State]):
    """While one batch is being loaded the next one gathers, so the batch size follows the load by itself.

    A batch that fails through the world's fault fails whole. Any other failure is a row's: the batch is halved until
    the row is alone, so that it harms its own address and no other.
    """

    def __init__(self, load: Load[Id, State], deadline: Seconds = LOAD_DEADLINE) -> None:
        self._load = load
        self._deadline = deadline
        self._wanted: dict[Id, list[Task]] = {}
        self._task: Task | None = None
        self._closed = False
        self.queries = 0

    async def load(self, id: Id) -> State | None:
        """The state behind this id as the database has it now, None when there is nothing. Raises LoadError."""
        if self._closed:
            raise _error_of(None)
        task = current_task()
        waiting = self._wanted.setdefault(id, [])
        waiting.append(task)
        if self._task is not None:
            runner, self._task = self._task, None
            reschedule(runner)

        def abort(_raise_cancel: RaiseCancelT) -> Abort:
            waiting.remove(task)  # also while its batch is on the way: the answer then finds nobody
            return Abort.SUCCEEDED

        state: State | None = await wait_task_rescheduled(abort)
        return state

    async def run(self) -> None:
        try:
            while True:
                if self._wanted:
                    # A function of its own: locals of this loop would keep the last batch alive until the next one.
                    await self._load_batch()
                else:
                    self._task = current_task()
                    await wait_task_rescheduled(self._abort)
        finally:
            self._closed = True
            _settle_error(self._wanted, list(self._wanted), None)

    async def _load_batch(self) -> None:
        batch: dict[Id, list[Task]] = {}
        for id in list(self._wanted)[:LOAD_LIMIT]:
            tasks = self._wanted.pop(id)
            if tasks:  # empty: whoever wanted it was cancelled
                batch[id] = tasks
        pieces = [list(batch)] if batch else []
        failures = 0
        try:
            while pieces:
                ids = pieces.pop()
                self.queries += 1
                try:
                    with trio.fail_after(self._deadline):
                        states = await self._load(ids)
                    values = [states.get(id) for id in ids]
                except Exception as error:  # whatever it is, it belongs to those who asked, not to this loop
                    failures += 1
                    if len(ids) > 1 and failures <= FAILURES_MOST and not _is_of_the_world(error):
                        pieces += [ids[len(ids) // 2 :], ids[: len(ids) // 2]]
                        continue
                    log.error("load failed", extra={"addresses": len(ids), "first": ids[0]}, exc_info=error)
                    _settle_error(batch, ids, error)
                else:
                    for id, state in zip(ids, values, strict=True):
                        for task in batch.pop(id):
                            reschedule(task, outcome.Value(state))
        finally:  # nothing is left here unless this task was cancelled
            _settle_error(batch, list(batch), None)

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


def _settle_error(waiting: dict[Id, list[Task]], ids: Sequence[Id], cause: Exception | None) -> None:
    for id in ids:
        for task in waiting.pop(id):
            # One error for each: raised in many tasks, a shared one would gather all their tracebacks.
            reschedule(task, outcome.Error(_error_of(cause)))


def _is_of_the_world(error: Exception) -> bool:
    if isinstance(error, KithError):
        return TABLE[error.code].retryable
    return isinstance(error, trio.TooSlowError | OSError)


def _error_of(cause: Exception | None) -> LoadError:
    if isinstance(cause, KithError):
        error = LoadError(
            cause.code, cause.message, details=cause.details, retry_after=cause.retry_after, outcome="none"
        )
    else:
        error = LoadError(ErrorCode.UNAVAILABLE, outcome="none")
    error.__cause__ = cause
    return error
