"""All actors of one kind by their address: wakes them, supervises them, lets them sleep."""

import contextvars
import logging
from collections import Counter
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import trio

from actors.asking import Question
from actors.kinds import Activation, ActorKind, Census
from actors.loading import Loader, LoadError
from actors.mailbox import NOBODY, Envelope, Mailbox, MailboxFullError, StopReason
from actors.ports import Asker, Clock
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds
from actors.supervisor import Supervisor

Id = TypeVar("Id", bound=str)
State = TypeVar("State")
Command = TypeVar("Command")

log = logging.getLogger("kith.actors")

# The sweep looks at this many actors, then lets the others run. Looking at 100,000 in one go takes 16 ms, and sending
# as many to sleep at once 1 s, in which no message moves; 500 cost 0.1 ms to look at and 5 ms to end.
SWEEP_SLICE: Final = 500
# A dictionary keeps the room of its fullest hour: 10 MB for 200,000 addresses that are asleep again.
TABLE_KEPT: Final = 4_096


class LostMailError(Exception):
    """An actor ended and left commands behind that it had not even looked at; it would do so again and again."""


class Cell(Generic[Command]):
    """One address: its mailbox, which outlives a crash, and how the idle sweep sees it."""

    __slots__ = ("idle_for", "mailbox", "seen_drains", "stuck_for")

    def __init__(self, capacity: int) -> None:
        self.mailbox: Mailbox[Command] = Mailbox(capacity)
        self.idle_for = 0.0
        self.stuck_for = 0.0
        self.seen_drains = 0


class Seen:
    """What the last sweep found in the mailboxes."""

    __slots__ = ("deepest", "oldest", "waiting")

    def __init__(self) -> None:
        self.waiting = self.deepest = 0
        self.oldest = 0.0


class Directory(Generic[Id, State, Command]):
    """Nobody creates or destroys an actor: it is addressed, and awake as long as it is needed.

    An address has at most one activation: the cell is entered into the table before anything can wait, so callers who
    come at the same time find the same mailbox.
    """

    def __init__(self, kind: ActorKind[Id, State, Command], clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._cells: dict[Id, Cell[Command]] = {}
        self._most_cells = 0
        self._supervisor: Supervisor[Id] = Supervisor(kind.policy, clock)
        self._loader: Loader[Id, State] = Loader(kind.load)
        self._nursery: trio.Nursery | None = None
        self._context = contextvars.Context()
        self._stopping: StopReason | None = None
        self._stop_called = trio.Event()
        self._empty = trio.Event()  # set once: stopping, and the last actor has ended
        self._seen = self._seeing = Seen()
        self.stops: Counter[StopReason] = Counter()
        self.activations = self.crashes = self.refused = 0

    @property
    def name(self) -> str:
        return self._kind.name

    # -- addressing -------------------------------------------------------------------------------------------------

    def tell(self, id: Id, command: Command, asker: Asker = NOBODY) -> None:
        """Queue a command. Raises KithError OVERLOADED (its mailbox is full) or UNAVAILABLE (it crashed too often, or
        the node stops); never blocks, never drops silently."""
        cell = self._cells.get(id)
        if cell is None:
            cell = self._wake(id)
        try:
            cell.mailbox.put(Envelope(command, asker))
        except MailboxFullError:
            self.refused += 1
            raise KithError(ErrorCode.OVERLOADED, retry_after=1.0) from None

    async def ask(self, id: Id, command: Command, timeout: Seconds) -> Any:  # noqa: ASYNC109 - see Question.wait
        """Queue a command and wait for its answer; a refusal is raised as KithError."""
        question = Question(f"{self._kind.name} ({type(command).__name__})")
        self.tell(id, command, question)
        return await question.wait(timeout)

    def pass_on(self, id: Id, command: Command) -> None:
        """As `tell`, for what the actor only passes on: done on the spot if its mailbox says it may."""
        cell = self._cells.get(id)
        if cell is None or not cell.mailbox.on_the_spot(command):
            self.tell(id, command)

    def tell_awake(self, id: Id, command: Command) -> bool:
        """Queue a command only if the actor is awake; False if it sleeps or has no room."""
        cell = self._cells.get(id)
        if cell is None:
            return False
        try:
            cell.mailbox.put(Envelope(command, NOBODY))
        except MailboxFullError:
            self.refused += 1
            return False
        return True

    def must_tell(self, id: Id, command: Command) -> None:
        """Queue a command for an actor that is awake, however much waits there; to one that sleeps it means nothing."""
        cell = self._cells.get(id)
        if cell is not None:
            cell.mailbox.put_beyond(Envelope(command, NOBODY))

    def is_pinned(self, id: Id) -> bool:
        """Whether the actor is awake and has a reason to stay so (a user: an open connection)."""
        cell = self._cells.get(id)
        return cell is not None and cell.mailbox.pinned

    def is_awake(self, id: Id) -> bool:
        return id in self._cells

    def __len__(self) -> int:
        return len(self._cells)

    # -- life of one actor --------------------------------------------------------------------------------------------

    def open(self, nursery: trio.Nursery) -> None:
        # An actor lives in the context of the system, not in that of the request that happened to wake it: it would
        # keep the request alive as long as itself, and log under its id.
        self._context = contextvars.copy_context()
        self._nursery = nursery
        nursery.start_soon(self._loader.run)

    def _wake(self, id: Id) -> Cell[Command]:
        if self._stopping is not None or self._nursery is None:
            raise _not_serving()
        left = self._supervisor.cools_for(id)
        if left > 0:
            self.refused += 1
            raise KithError(ErrorCode.UNAVAILABLE, retry_after=left, outcome="none")
        cell: Cell[Command] = Cell(self._kind.capacity)
        nursery, name = self._nursery, self._kind.name
        try:
            self._context.run(lambda: nursery.start_soon(self._live, id, cell, name=name))
        except RuntimeError:  # the nursery has ended
            raise _not_serving() from None
        self._cells[id] = cell
        self.activations += 1
        return cell

    async def _live(self, id: Id, cell: Cell[Command]) -> None:
        """The task of one actor: load, run, and again after a crash or a message that came while it fell asleep."""
        mailbox = cell.mailbox
        reason = StopReason.CUT_OFF
        try:
            while True:
                activation = Activation(self._kind.name, id, mailbox, self._loader.load)
                drains = mailbox.drains
                mailbox.pinned, mailbox.reflex = False, None  # what the life before had set was its own
                try:
                    # The state gets no name here: this frame would keep the first one alive as long as the actor lives.
                    ended = await self._kind.build(activation, await self._loader.load(id)).run()
                    self._check_end(activation, ended, drains)
                except LoadError as error:  # the world's fault, here or in a reload, and no crash
                    reason = StopReason.LOAD_FAILED
                    self._end(id, cell, error)
                    return
                except Exception as error:
                    pause = self._crashed(activation, error)
                except BaseExceptionGroup as group:
                    raise self._cut_off(activation, group) from None
                else:
                    if not len(mailbox):
                        reason = ended
                        return
                    mailbox.reopen()  # a message came while it fell asleep: it is answered by a new awakening
                    if self._stopping is not None:
                        mailbox.stop(self._stopping)
                    continue
                finally:
                    activation.valid = False
                if pause is None:
                    reason = StopReason.GAVE_UP
                    cool_off = self._kind.policy.cool_off
                    self._end(id, cell, KithError(ErrorCode.UNAVAILABLE, retry_after=cool_off, outcome="none"))
                    return
                with trio.move_on_after(pause):  # a stop does not wait for it
                    await self._stop_called.wait()
        finally:
            # No checkpoint between the last look at the mailbox and this: nothing is put where nobody drains.
            self.stops[reason] += 1
            self._end(id, cell, None)

    def _end(self, id: Id, cell: Cell[Command], error: KithError | None) -> None:
        """Leave the table first: an asker that is refused may ask again at once, and must not find a dead mailbox."""
        if self._cells.get(id) is cell:
            del self._cells[id]
            if self._stopping is not None and not self._cells:
                self._empty.set()
        if cell.mailbox.owes:
            cell.mailbox.refuse_all(error or _not_serving())

    def _check_end(self, activation: Activation[Id, State, Command], ended: object, drains: int) -> None:
        """An actor that ends by itself says why, has answered what it took, and did not leave its mail unread."""
        mailbox = activation.mailbox
        if not isinstance(ended, StopReason):
            raise TypeError(f"{activation.actor} ended with {ended!r} and not with a StopReason")
        if len(mailbox) and mailbox.drains == drains:
            raise LostMailError(f"{activation.actor} ended ({ended}) with {len(mailbox)} commands it never drained")
        left = [envelope for envelope in mailbox.take_back() if not envelope.settled and envelope.asker is not NOBODY]
        if left:
            log.error("actor left questions unanswered", extra={"actor": activation.actor, "questions": len(left)})
            for envelope in left:
                envelope.refuse(KithError(ErrorCode.INTERNAL_ERROR, outcome="unknown"))

    def _crashed(self, activation: Activation[Id, State, Command], error: Exception) -> Seconds | None:
        """Refuse the guilty command once it is known; the pause before the next life, None when it gets no more."""
        self.crashes += 1
        log.error("actor crashed", extra={"actor": activation.actor}, exc_info=error)
        mailbox = activation.mailbox
        in_hand = mailbox.take_back()
        lost = [envelope for envelope in in_hand if not envelope.settled]
        if len(in_hand) == 1 and lost:  # it was alone from the start: it is the one that kills
            # "unknown", because a crash behind the commit looks the same from here: its repeat is answered as one.
            lost.pop().refuse(KithError(ErrorCode.INTERNAL_ERROR, outcome="unknown"))
        mailbox.again(lost)
        pause = self._supervisor.spend(activation.id)
        if pause is None:
            log.error("actor gave up", extra={"actor": activation.actor, "reason": StopReason.GAVE_UP})
        return pause

    def _cut_off(
        self, activation: Activation[Id, State, Command], group: BaseExceptionGroup[BaseException]
    ) -> BaseException:
        """The node cancels, and in the same moment a task of the actor crashed: that is logged and ends nobody else."""
        crash, rest = group.split(Exception)
        if crash is not None:
            self.crashes += 1
            log.error("actor crashed", extra={"actor": activation.actor}, exc_info=crash)
        return rest or group

    # -- sleep and end ------------------------------------------------------------------------------------------------

    async def sweep(self, elapsed: Seconds) -> None:
        """Send to sleep whoever had nothing to do for the kind's idle time; note how long work has been lying about."""
        self._supervisor.forget_old()
        self._most_cells = max(self._most_cells, len(self._cells))
        if self._most_cells > max(TABLE_KEPT, 8 * len(self._cells)):
            self._cells = dict(self._cells)
            self._most_cells = len(self._cells)
        self._seeing = Seen()
        cells = iter(list(self._cells.values()))
        while part := list(islice(cells, SWEEP_SLICE)):
            self._look_at(part, elapsed)
            await trio.lowlevel.checkpoint()
        self._seen = self._seeing

    def _look_at(self, cells: list[Cell[Command]], elapsed: Seconds) -> None:
        idle, seen = self._kind.idle, self._seeing
        for cell in cells:
            mailbox = cell.mailbox
            if not mailbox.parked:
                waiting = len(mailbox)
                seen.waiting += waiting
                seen.deepest = max(seen.deepest, waiting)
                if mailbox.drains == cell.seen_drains and mailbox.owes:
                    cell.stuck_for += elapsed
                    seen.oldest = max(seen.oldest, cell.stuck_for)
                else:
                    cell.stuck_for = 0.0
                    cell.seen_drains = mailbox.drains
                cell.idle_for = 0.0
            elif mailbox.touched or mailbox.pinned:
                mailbox.touched = False
                cell.idle_for = 0.0
            else:
                cell.idle_for += elapsed
                if cell.idle_for >= idle:
                    mailbox.stop(StopReason.IDLE)

    async def stop(self, reason: StopReason) -> None:
        """Wake nobody new, let every actor finish its mailbox, return when the last one has ended."""
        self._stopping = reason
        self._stop_called.set()
        if not self._cells:
            self._empty.set()
        for cell in self._cells.values():
            cell.mailbox.stop(reason)
        await self._empty.wait()

    def addresses(self, most: int) -> list[Id]:
        """Some of those that are awake; for a log line or an operator."""
        return list(islice(self._cells, most))

    def census(self) -> Census:
        """Takes no time, however many are awake: a scrape asks for it a dozen times."""
        return Census(
            kind=self._kind.name,
            awake=len(self._cells),
            waiting=self._seen.waiting,
            deepest=self._seen.deepest,
            oldest=Seconds(self._seen.oldest),
            activations=self.activations,
            passivations=self.stops[StopReason.IDLE],
            crashes=self.crashes,
            gave_up=self.stops[StopReason.GAVE_UP],
            refused=self.refused,
            stops=dict(self.stops),
        )


def _not_serving() -> KithError:
    return KithError(ErrorCode.UNAVAILABLE, "The node is not serving", retry_after=1.0, outcome="none")
