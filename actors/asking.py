"""Asking an actor and waiting for its answer; the deadline ends the asker's wait, never the actor's work."""

import math
from typing import Any

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds


class Question:
    """One question; an answer that comes after the deadline is dropped."""

    __slots__ = ("_asked", "_result", "_task")

    def __init__(self, asked: str) -> None:
        self._asked = asked  # whom, and for what: a time-out says it
        self._task: Task | None = None
        self._result: outcome.Outcome[Any] | None = None

    def answer(self, value: object) -> None:
        self._settle(outcome.Value(value))

    def refuse(self, error: KithError) -> None:
        self._settle(outcome.Error(error))

    def _settle(self, result: outcome.Outcome[Any]) -> None:
        if self._result is None:
            self._result = result
            if self._task is not None:
                task, self._task = self._task, None
                reschedule(task)

    async def wait(self, timeout: Seconds = Seconds(math.inf)) -> Any:
        """The answer, or the refusal raised, or KithError(TIMEOUT) with outcome unknown."""
        with trio.move_on_after(timeout):
            if self._result is None:
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
        if self._result is None:
            raise KithError(ErrorCode.TIMEOUT, f"{self._asked} did not answer within {timeout:g} s", outcome="unknown")
        return self._result.unwrap()

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
