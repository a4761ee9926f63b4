"""Loads the state of all actors that wake up in one tick with one query."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import outcome
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

Id = TypeVar("Id", bound=str)
State = TypeVar("State")

Load = Callable[[Sequence[Id]], Awaitable[dict[Id, State]]]

# Loading 7,500 conversations one by one took seconds and ruined p95; in batches it vanished. A batch beyond this size
# would make the first of them wait for the last.
LOAD_LIMIT = 2_000


class Loader(Generic[Id, State]):
    """While one batch is being loaded the next one gathers, so the batch size follows the load by itself."""

    def __init__(self, load: Load[Id, State]) -> None:
        self._load = load
        self._wanted: dict[Id, list[Task]] = {}
        self._task: Task | None = None
        self.queries = 0

    async def load(self, id: Id) -> State | None:
        """The state behind this id as the database has it now, None when there is nothing. Raises what the query raises."""
        task = current_task()
        self._wanted.setdefault(id, []).append(task)
        self._wake()

        def abort(_raise_cancel: Any) -> Abort:
            waiting = self._wanted.get(id)
            if waiting is None or task not in waiting:
                return Abort.FAILED  # its batch is on the way and will answer it
            waiting.remove(task)
            return Abort.SUCCEEDED

        state: State | None = await wait_task_rescheduled(abort)
        return state

    def _wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    async def run(self) -> None:
        while True:
            if not self._wanted:
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
                continue
            ids = list(self._wanted)[:LOAD_LIMIT]
            waiting = {id: self._wanted.pop(id) for id in ids}
            result: outcome.Outcome[dict[Id, State]]
            try:
                self.queries += 1
                with trio.CancelScope(shield=True), trio.fail_after(30):
                    result = outcome.Value(await self._load(ids))
            except Exception as error:  # whatever it is, it belongs to those who asked, not to this loop
                result = outcome.Error(error)
            for id, tasks in waiting.items():
                for task in tasks:
                    if isinstance(result, outcome.Value):
                        reschedule(task, outcome.Value(result.value.get(id)))
                    else:
                        reschedule(task, result)

    def _abort(self, _raise_cancel: Any) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
