"""All actors of one kind by their address: wakes them, supervises them, lets them sleep."""

import logging
from typing import Any, Generic, TypeVar

import trio

from actors.asking import Question
from actors.kinds import Activation, ActorKind, Census
from actors.loading import Loader
from actors.mailbox import NOBODY, Envelope, Mailbox, MailboxFullError, StopReason
from actors.ports import Asker, Clock
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds
from actors.supervisor import RestartBudget

Id = TypeVar("Id", bound=str)
State = TypeVar("State")
Command = TypeVar("Command")

log = logging.getLogger("kith.actors")


class Cell(Generic[Command]):
    """One address: its mailbox, which outlives a crash, and how the idle sweep sees it."""

    __slots__ = ("budget", "idle_for", "mailbox", "seen_drains", "stuck_for")

    def __init__(self, capacity: int) -> None:
        self.mailbox: Mailbox[Command] = Mailbox(capacity)
        self.budget: RestartBudget | None = None  # made at the first crash: nearly no actor ever needs one
        self.idle_for = 0.0
        self.stuck_for = 0.0
        self.seen_drains = 0


class Directory(Generic[Id, State, Command]):
    """Nobody creates or destroys an actor: it is addressed, and awake as long as it is needed.

    An address has at most one activation: the cell is entered into the table before anything can wait, so callers who
    come at the same time find the same mailbox.
    """

    def __init__(self, kind: ActorKind[Id, State, Command], clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._cells: dict[Id, Cell[Command]] = {}
        self._cooling: dict[Id, Seconds] = {}  # addresses that crashed too often, and until when nobody wakes them
        self._loader: Loader[Id, State] = Loader(kind.load)
        self._nursery: trio.Nursery | None = None
        self._stopping: StopReason | None = None
        self._empty = trio.Event()
        self.activations = self.passivations = self.crashes = self.gave_up = self.refused = 0

    # -- addressing -------------------------------------------------------------------------------------------------

    def tell(self, id: Id, command: Command, asker: Asker = NOBODY) -> None:
        """Queue a command. Raises KithError OVERLOADED (its mailbox is full) or UNAVAILABLE (it crashed too often, or the
        node stops); never blocks, never drops silently."""
        cell = self._cells.get(id)
        if cell is None:
            cell = self._wake(id)
        try:
            cell.mailbox.put(Envelope(command, asker))
        except MailboxFullError:
            self.refused += 1
            raise KithError(ErrorCode.OVERLOADED, retry_after=1.0) from None

    async def ask(self, id: Id, command: Command, timeout: Seconds) -> Any:
        """Queue a command and wait for its answer; a refusal is raised as KithError."""
        question = Question(f"{self._kind.name} ({type(command).__name__})")
        self.tell(id, command, question)
        return await question.wait(timeout)

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
        """Queue a command for an actor that is awake, whatever else waits there; to one that sleeps it means nothing."""
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
        self._nursery = nursery
        nursery.start_soon(self._loader.run)

    def _wake(self, id: Id) -> Cell[Command]:
        if self._stopping is not None or self._nursery is None:
            raise KithError(ErrorCode.UNAVAILABLE, "The node is stopping", retry_after=1.0)
        if self._cooling:
            self._check_cool_off(id)
        cell: Cell[Command] = Cell(self._kind.capacity)
        self._cells[id] = cell
        self.activations += 1
        self._nursery.start_soon(self._live, id, cell)
        return cell

    def _check_cool_off(self, id: Id) -> None:
        until = self._cooling.get(id)
        if until is None:
            return
        left = until - self._clock.monotonic()
        if left > 0:
            self.refused += 1
            raise KithError(ErrorCode.UNAVAILABLE, retry_after=round(left, 1), outcome="none")
        del self._cooling[id]

    async def _live(self, id: Id, cell: Cell[Command]) -> None:
        """The task of one actor: load, run, and again after a crash or a message that came while it fell asleep."""
        mailbox = cell.mailbox
        try:
            while True:
                activation = Activation(self._kind.name, id, mailbox, self._loader.load)
                try:
                    state = await self._loader.load(id)
                except Exception as error:
                    self._fail_load(activation.actor, mailbox, error)
                    return
                try:
                    reason = await self._kind.build(activation, state).run()
                except Exception:
                    if not await self._crashed(activation, cell):
                        return
                    continue
                finally:
                    activation.valid = False
                if len(mailbox) == 0:
                    if reason is StopReason.IDLE:
                        self.passivations += 1
                    return
                mailbox.reopen()  # a message came while it fell asleep: it is answered by a new awakening
                if self._stopping is not None:
                    mailbox.stop(self._stopping)
        finally:
            # No checkpoint between the last look at the mailbox and this: nothing can be put into a mailbox nobody drains.
            mailbox.refuse_all(KithError(ErrorCode.UNAVAILABLE, "The node is stopping", outcome="unknown"))
            del self._cells[id]
            if not self._cells:
                self._empty.set()

    def _fail_load(self, actor: str, mailbox: Mailbox[Command], error: Exception) -> None:
        log.warning("actor not loaded", extra={"actor": actor, "error": type(error).__name__})
        refusal = error if isinstance(error, KithError) else KithError(ErrorCode.UNAVAILABLE, outcome="none")
        mailbox.refuse_all(refusal)

    async def _crashed(self, activation: Activation[Id, State, Command], cell: Cell[Command]) -> bool:
        """Refuse the guilty command once it is known, wait, and say whether the actor gets another life."""
        self.crashes += 1
        log.exception("actor crashed", extra={"actor": activation.actor})
        mailbox = cell.mailbox
        lost = mailbox.take_back()
        if len(lost) == 1:  # it was alone in hand: it is the one that kills
            lost.pop().refuse(KithError(ErrorCode.INTERNAL_ERROR, outcome="none"))
        mailbox.again(lost)
        if cell.budget is None:
            cell.budget = RestartBudget(self._kind.policy)
        pause = cell.budget.spend(self._clock.monotonic())
        if pause is not None:
            await trio.sleep(pause)
            return True
        self.gave_up += 1
        log.error("actor gave up", extra={"actor": activation.actor, "reason": StopReason.GAVE_UP})
        cool_off = self._kind.policy.cool_off
        self._cooling[activation.id] = Seconds(self._clock.monotonic() + cool_off)
        mailbox.refuse_all(KithError(ErrorCode.UNAVAILABLE, retry_after=cool_off, outcome="none"))
        return False

    # -- sleep and end ------------------------------------------------------------------------------------------------

    def sweep(self, elapsed: Seconds) -> None:
        """Send to sleep whoever had nothing to do for the kind's idle time; note how long full mailboxes have waited."""
        if self._cooling:
            now = self._clock.monotonic()
            self._cooling = {id: until for id, until in self._cooling.items() if until > now}
        idle = self._kind.idle
        for cell in self._cells.values():
            mailbox = cell.mailbox
            if mailbox.touched or mailbox.pinned or not mailbox.parked:
                mailbox.touched = False
                cell.idle_for = 0.0
                stuck = len(mailbox) > 0 and mailbox.drains == cell.seen_drains
                cell.stuck_for = cell.stuck_for + elapsed if stuck else 0.0
                cell.seen_drains = mailbox.drains
                continue
            cell.stuck_for = 0.0
            cell.idle_for += elapsed
            if cell.idle_for >= idle:
                mailbox.stop(StopReason.IDLE)

    async def stop(self, reason: StopReason) -> None:
        """Take nothing new, let every actor finish its mailbox, return when the last one has ended."""
        self._stopping = reason
        if not self._cells:
            return
        self._empty = trio.Event()
        for cell in self._cells.values():
            cell.mailbox.stop(reason)
        await self._empty.wait()

    def census(self) -> Census:
        cells = self._cells.values()
        return Census(
            kind=self._kind.name,
            awake=len(cells),
            waiting=sum(len(cell.mailbox) for cell in cells),
            deepest=max((len(cell.mailbox) for cell in cells), default=0),
            oldest=Seconds(max((cell.stuck_for for cell in cells), default=0.0)),
            activations=self.activations,
            passivations=self.passivations,
            crashes=self.crashes,
            gave_up=self.gave_up,
            refused=self.refused,
        )
