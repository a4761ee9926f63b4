"""Asking an actor and waiting for its answer; the deadline ends the asker's wait, never the actor's work."""

import math
from typing import Any, Final

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds

FOREVER: Final = Seconds(math.inf)


class Question:
    """One question; an answer that comes after the deadline is dropped."""

    __slots__ = ("_answer", "_asked", "_refusal", "_settled", "_task")

    def __init__(self, asked: str) -> None:
        self._asked = asked  # whom, and for what: a time-out says it
        self._task: Task | None = None
        self._settled = False
        self._answer: object = None
        self._refusal: KithError | None = None

    def answer(self, value: object) -> None:
        if not self._settled:
            self._settled = True
            self._answer = value
            self._resume()

    def refuse(self, error: KithError) -> None:
        if not self._settled:
            self._settled = True
            self._refusal = error
            self._resume()

    def _resume(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    async def wait(self, timeout: Seconds = FOREVER) -> Any:  # noqa: ASYNC109 - its end is an answer, not a cancellation
        """The answer, or the refusal raised, or KithError(TIMEOUT) with outcome unknown.

        A timeout of zero or less takes what is there already: a caller whose time is used up need not check that first.
        """
        if not self._settled:
            with trio.move_on_after(max(timeout, 0.0)):
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
        if not self._settled:
            raise KithError(ErrorCode.TIMEOUT, f"{self._asked} did not answer within {timeout:g} s", outcome="unknown")
        if self._refusal is not None:
            raise _one_of_its_own(self._refusal)
        return self._answer

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


def _one_of_its_own(error: KithError) -> KithError:
    """An actor refuses a whole batch with one error; raised in many tasks it would gather all their tracebacks."""
    own = type(error).__new__(type(error), *error.args)
    own.__dict__.update(error.__dict__)  # of its kind, too: whoever asked may wait for that one
    return own
