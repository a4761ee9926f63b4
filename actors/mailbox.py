"""The bounded queue in front of one actor: put never blocks, drain takes everything that waits."""

import enum
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from actors.ports import Asker
from actors.shapes.errors import KithError

C = TypeVar("C")

# A drain beyond this would make one commit, and every asker in it, wait for a batch that nobody bounded.
BATCH_LIMIT: Final = 256


class StopReason(enum.StrEnum):
    """Why an actor ended; every one of them ends with one of these."""

    IDLE = "idle"  # nothing came for its idle time; the next message wakes it again
    SHUTDOWN = "shutdown"  # the node stops; its mailbox was finished first
    EXPIRED = "expired"  # the thing it stands for is over
    NEVER_BORN = "never_born"  # it was addressed, but there is nothing behind the address
    LOAD_FAILED = "load_failed"  # the database did not answer the activation
    GAVE_UP = "gave_up"  # it crashed more often than its restart budget allows


class MailboxFullError(Exception):
    """The sender's fault to bear: the actor has more to do than it may keep."""


class Nobody:
    """The asker of a command that nobody waits for."""

    __slots__ = ()

    def answer(self, value: object) -> None:
        pass

    def refuse(self, error: KithError) -> None:
        pass


NOBODY: Final = Nobody()

# Shared by all mailboxes that have nothing in hand, never appended to: two empty lists less per parked actor (112 bytes).
_NOTHING: Final[list[Any]] = []


class Envelope(msgspec.Struct, Generic[C]):
    """A command and who waits for its outcome; `settled` once the outcome was told."""

    command: C
    asker: Asker
    settled: bool = False

    def answer(self, value: object) -> None:
        if not self.settled:
            self.settled = True
            self.asker.answer(value)

    def refuse(self, error: KithError) -> None:
        if not self.settled:
            self.settled = True
            self.asker.refuse(error)


class Mailbox(Generic[C]):
    """One actor's mailbox. One task drains it; anybody may put.

    A drain marks the batch before it as done. What is in hand when the actor crashes is what the supervisor has to
    decide again, one command at a time.
    """

    __slots__ = ("_again", "_capacity", "_stop", "_task", "_waiting", "drains", "in_hand", "overflowed", "pinned", "touched")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: list[Envelope[C]] = []
        self._again: list[Envelope[C]] = _NOTHING
        self._task: Task | None = None
        self._stop: StopReason | None = None
        self.in_hand: list[Envelope[C]] = _NOTHING
        self.drains = 0
        self.touched = True  # something was put since the idle sweep looked
        self.overflowed = False  # somebody was sent away since the actor last looked
        self.pinned = False  # the actor must stay awake (a user with connections)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    @property
    def parked(self) -> bool:
        return self._task is not None

    @property
    def stop_reason(self) -> StopReason | None:
        return self._stop

    def put(self, envelope: Envelope[C]) -> None:
        """Queue it, or raise MailboxFullError. Never blocks."""
        waiting = self._waiting
        if len(waiting) >= self._capacity:
            self.overflowed = True
            raise MailboxFullError
        self.put_beyond(envelope)

    def put_beyond(self, envelope: Envelope[C]) -> None:
        """Queue it even if the mailbox is full: for what is bounded elsewhere and must not be lost, like a farewell."""
        self._waiting.append(envelope)
        self.touched = True
        task = self._task
        if task is not None:
            self._task = None
            reschedule(task)

    async def drain(self) -> list[Envelope[C]]:
        """Wait until something is here and take it all (at most BATCH_LIMIT); empty means: stop, for `stop_reason`.

        Only the waiting is a checkpoint: a cancellation or a deadline around a drain never loses a command.
        """
        self.in_hand = _NOTHING
        self.drains += 1
        if self._again:  # after a crash: one by one, so that the guilty command is found
            self.in_hand = [self._again.pop(0)]
            return self.in_hand
        if not self._waiting:
            if self._stop is not None:
                return []
            self._task = current_task()
            await wait_task_rescheduled(self._abort)
        batch = self._waiting
        if len(batch) > BATCH_LIMIT:
            self._waiting = batch[BATCH_LIMIT:]
            batch = batch[:BATCH_LIMIT]
        else:
            self._waiting = []
        self.in_hand = batch
        return batch

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def stop(self, reason: StopReason) -> None:
        """Let the actor finish what is here, then find its mailbox empty and end."""
        self._stop = reason
        task = self._task
        if task is not None:
            self._task = None
            reschedule(task)

    def reopen(self) -> None:
        """Take the stop back: a message came while the actor was going to sleep."""
        self._stop = None

    def take_back(self) -> list[Envelope[C]]:
        """After a crash: what was in hand and has no outcome yet."""
        lost = [envelope for envelope in self.in_hand if not envelope.settled]
        self.in_hand = _NOTHING
        return lost

    def again(self, envelopes: list[Envelope[C]]) -> None:
        """Have these decided once more, one at a time, before everything else."""
        self._again = envelopes + self._again

    def refuse_all(self, error: KithError) -> None:
        """Answer every question that waits here; no asker hangs."""
        unanswered: list[Envelope[Any]] = [*self.in_hand, *self._again, *self._waiting]
        self.in_hand, self._again, self._waiting = _NOTHING, _NOTHING, []
        for envelope in unanswered:
            envelope.refuse(error)
