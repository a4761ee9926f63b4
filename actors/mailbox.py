"""The bounded queue in front of one actor: put never blocks, drain takes everything that waits."""

import enum
import logging
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, checkpoint, current_task, reschedule, wait_task_rescheduled

from actors.ports import Asker
from actors.shapes.errors import KithError

C = TypeVar("C")

log = logging.getLogger("kith.actors")

# A drain beyond this would make one commit, and every asker in it, wait for a batch that nobody bounded.
BATCH_LIMIT: Final = 256
# A drain that finds something does not wait, so an actor that tells itself something each time would hold the whole
# node. Every so many drains it lets the others run: 5 us divided by 64 cannot be measured.
YIELD_EVERY: Final = 64


class StopReason(enum.StrEnum):
    """Why an actor ended; every one of them ends with one of these."""

    IDLE = "idle"  # nothing came for its idle time; the next message wakes it again
    SHUTDOWN = "shutdown"  # the node stops; its mailbox was finished first
    EXPIRED = "expired"  # the thing it stands for is over
    NEVER_BORN = "never_born"  # it was addressed, but there is nothing behind the address
    LOAD_FAILED = "load_failed"  # the database did not answer the activation
    GAVE_UP = "gave_up"  # it crashed more often than its restart budget allows
    CUT_OFF = "cut_off"  # its nursery was cancelled before it had finished


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

# Shared by all mailboxes with nothing in hand, never appended to: three empty lists less per parked actor (168 bytes).
_NOTHING: Final[list[Any]] = []


class Envelope(msgspec.Struct, Generic[C]):
    """A command and who waits for its outcome; `settled` once the outcome was told."""

    command: C
    asker: Asker
    settled: bool = False

    def answer(self, value: object) -> None:
        if not self.settled:
            self.settled = True
            try:
                self.asker.answer(value)
            except Exception:  # an asker's bug must not end the actor, nor harm the next one in the batch
                log.exception("asker failed", extra={"asker": type(self.asker).__name__})

    def refuse(self, error: KithError) -> None:
        if not self.settled:
            self.settled = True
            try:
                self.asker.refuse(error)
            except Exception:
                log.exception("asker failed", extra={"asker": type(self.asker).__name__})

    def hand_over(self) -> "Envelope[C]":
        """Somebody beside the actor will answer: to him goes the new envelope, this one is done. A crash of the actor
        does not decide it again, and the actor's end does not refuse it."""
        taken = Envelope(self.command, self.asker, self.settled)
        self.settled = True
        return taken


class Mailbox(Generic[C]):
    """One actor's mailbox. One task drains it; anybody may put.

    A drain marks the batch before it as done. What is in hand when the actor crashes is what the supervisor has to
    decide again, one command at a time.
    """

    __slots__ = (
        "_again", "_capacity", "_in_hand", "_lent", "_stop", "_task", "_waiting",
        "drains", "overflowed", "pinned", "reflex", "touched",
    )  # fmt: skip

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: list[Envelope[C]] = []
        self._again: list[Envelope[C]] = _NOTHING  # left over from a crash
        self._in_hand: list[Envelope[C]] = _NOTHING  # what the last drain gave out; the actor cannot change this list
        self._lent: list[Envelope[C]] = _NOTHING  # the list it gave out
        self._task: Task | None = None
        self._stop: StopReason | None = None
        self.drains = 0
        self.touched = True  # something was put since the idle sweep looked
        self.overflowed = False  # somebody was sent away since the actor last looked
        self.reflex: Callable[[C], None] | None = None  # what the actor does on the spot, see `on_the_spot`
        self.pinned = False  # the actor must stay awake (a user with connections); a new awakening begins without it

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    @property
    def parked(self) -> bool:
        return self._task is not None

    @property
    def stop_reason(self) -> StopReason | None:
        return self._stop

    @property
    def owes(self) -> bool:
        """Whether somebody waits for an outcome, or will: a command is queued, or in hand and not settled."""
        return len(self) > 0 or any(not envelope.settled for envelope in self._in_hand)

    def put(self, envelope: Envelope[C]) -> None:
        """Queue it, or raise MailboxFullError. Never blocks."""
        waiting = self._waiting
        if len(waiting) >= self._capacity:
            self.overflowed = True
            raise MailboxFullError
        waiting.append(envelope)
        self.touched = True
        task = self._task
        if task is not None:
            self._task = None
            reschedule(task)

    def put_beyond(self, envelope: Envelope[C]) -> None:
        """Queue it even if the mailbox is full: for what is bounded elsewhere and must not be lost, like a farewell."""
        self._waiting.append(envelope)
        self.touched = True
        self._resume()

    def on_the_spot(self, command: C) -> bool:
        """Have a parked actor do at once what takes no decision and no waiting: pass something on. False: queue it.

        Parked means that nothing waits and nothing is in hand, so this is the order and the state that the actor's own
        task would find one tick later; only the wake-up is saved. Measured: of 33 us per message in the actors 11 were
        the wake-ups of the two users who only handed it to their sockets. If the reflex raises, the command is queued
        and raises again in the actor's own task, where a crash belongs.
        """
        if self.reflex is None or self._task is None or self._stop is not None:
            return False
        try:
            self.reflex(command)
        except Exception:
            log.exception("passing on failed, the actor itself tries again")
            return False
        self.touched = True
        return True

    async def drain(self) -> list[Envelope[C]]:
        """Wait until something is here and take it all (at most BATCH_LIMIT); empty means: stop, for `stop_reason`.

        Only the waiting is a checkpoint: a cancellation or a deadline around a drain never loses a command. The list is
        lent until the next drain, which empties it: otherwise every parked actor would keep its last batch alive.
        """
        self._in_hand = _NOTHING
        if self._lent:
            self._lent.clear()
            self._lent = _NOTHING
        self.drains += 1
        if not self.drains % YIELD_EVERY:
            await checkpoint()
        if self._again:  # after a crash: one by one, so that the guilty command is found
            batch = [self._again.pop(0)]
        else:
            while not self._waiting:
                if self._stop is not None:
                    return []
                if self._task is not None:
                    raise trio.BusyResourceError("another task drains this mailbox")
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
            batch = self._waiting
            if len(batch) > BATCH_LIMIT:
                self._waiting = batch[BATCH_LIMIT:]
                batch = batch[:BATCH_LIMIT]
            else:
                self._waiting = []
        if self._stop is StopReason.IDLE:
            # The message overtook the sweep's hint to sleep. It may pin the actor, who must not end right behind it.
            self._stop = None
        self._in_hand = batch
        self._lent = batch.copy()
        return self._lent

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def _resume(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    def stop(self, reason: StopReason) -> None:
        """Let the actor finish what is here, then find its mailbox empty and end. The first reason stands; IDLE, which
        a message takes back, gives way to any other."""
        if self._stop is None or self._stop is StopReason.IDLE:
            self._stop = reason
        self._resume()

    def reopen(self) -> None:
        """Take the stop back: a message came while the actor was going to sleep."""
        self._stop = None

    def take_back(self) -> list[Envelope[C]]:
        """What was in hand when the actor ended; the settled ones too, so that one can tell who was alone."""
        lost, self._in_hand = self._in_hand, _NOTHING
        return lost

    def again(self, envelopes: list[Envelope[C]]) -> None:
        """Have these decided once more, one at a time, before everything else."""
        self._again = envelopes + self._again

    def refuse_all(self, error: KithError) -> None:
        """Answer every question that waits here; no asker hangs. What an actor had begun has an unknown outcome."""
        begun: list[Envelope[C]] = [*self._in_hand, *self._again]
        untouched = self._waiting
        self._in_hand, self._again, self._waiting = _NOTHING, _NOTHING, []
        for envelope in untouched:
            envelope.refuse(error)
        if begun:
            uncertain = KithError(
                error.code, error.message, details=error.details, retry_after=error.retry_after, outcome="unknown"
            )
            for envelope in begun:
                envelope.refuse(uncertain)
