"""A user: knows his connections, gives each event to all of them, and keeps his account."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from msgspec import Struct

from actors.alone import Alone
from actors.attendance import Attendance
from actors.inbox import Inbox
from actors.kinds import Activation
from actors.loading import Loader
from actors.mailbox import Envelope, StopReason
from actors.newcomers import Newcomers
from actors.ports import Clock, Revocations, SoftNotes, Sweeper
from actors.shapes.errors import KithError
from actors.shapes.ids import ConversationId, LoginId, UserId
from actors.shapes.users import (
    Connect,
    Connected,
    CountUnread,
    Deliver,
    DeskCommand,
    Disconnect,
    Ending,
    EndLogins,
    Resync,
    SettleIn,
    UserChanged,
    UserCommand,
    UserState,
)
from actors.tickets import SpentTickets

Heads = tuple[int, dict[ConversationId, int]]


class AccountAnswer(Struct, frozen=True):
    """What came of a command for a desk: the state after it, the answer, and the logins that ended with it."""

    state: UserState | None
    answer: object
    ended: tuple[LoginId, ...] = ()
    renamed: bool = False
    stale: bool = False  # what was done is on disk, and the row could not be read since


class Desk(Protocol):
    async def handle(self, state: UserState | None, command: DeskCommand) -> AccountAnswer: ...


class UserWorld(Struct, frozen=True):
    """What every user of a node shares."""

    unread: Callable[[UserId, list[ConversationId]], Awaitable[dict[ConversationId, tuple[int, int]]]]
    heads: Loader[UserId, Heads]
    revocations: Revocations
    desk: Callable[[Activation[UserId, UserState, UserCommand]], Desk]
    renamed: Callable[[UserId, str], Awaitable[None]]
    connections_most: int
    clock: Clock
    notes: SoftNotes
    tickets: SpentTickets
    sweeper: Sweeper = Alone()


class UserActor:
    """Every event reaches a connection through here and nowhere else."""

    __slots__ = ("_activation", "_attendance", "_inbox", "_newcomers", "_stale", "_state", "_world")

    def __init__(
        self, world: UserWorld, activation: Activation[UserId, UserState, UserCommand], state: UserState | None
    ) -> None:
        self._world = world
        self._activation = activation
        self._state = state
        self._stale = False  # the row is known to be another one, and could not be read yet
        self._attendance = Attendance()
        self._inbox = Inbox()
        self._newcomers: Newcomers | None = None  # made when somebody comes, and dropped soon after
        activation.mailbox.pinned = False

    async def run(self) -> StopReason:
        mailbox = self._activation.mailbox
        # What is passed on is a Deliver and nothing else; asking each one costs more than the rest of the look.
        mailbox.reflex = cast(Callable[[UserCommand], None], self._deliver)
        try:
            while batch := await mailbox.drain():
                if mailbox.overflowed:  # events were refused: nobody can say what these connections missed
                    mailbox.overflowed = False
                    self._attendance.end_all(Ending.RESYNC)
                    self._inbox.forget()
                await self._work(batch)
                mailbox.pinned = len(self._attendance) > 0
        except Exception:
            # The next life of this actor does not know these connections; they come back and find it.
            self._attendance.end_all(Ending.RESTART)
            raise
        finally:
            mailbox.reflex = None  # it holds this actor: an ended one would wait for the collector of cycles
        assert mailbox.stop_reason is not None
        return mailbox.stop_reason

    async def _work(self, batch: list[Envelope[Any]]) -> None:
        """Apart from `run`, whose variables would keep the last event alive for as long as the actor is parked."""
        for envelope in batch:
            if type(envelope.command) is Deliver:
                self._deliver(envelope.command)
            else:
                await self._handle(envelope)

    def _deliver(self, event: Deliver) -> None:
        if event.seq:  # always, also when there is nothing to count: it is a named step of every message
            self._inbox.note(event.conversation_id, event.seq, own=event.sender == self._activation.id)
        if self._newcomers is not None:
            self._deliver_news(self._newcomers, event)
            return
        frame, origin = event.frame, event.origin
        for socket in self._attendance.sockets:
            if socket.id != origin:
                socket.deliver(frame)
            elif event.ok is not None:
                socket.deliver(event.ok)

    def _deliver_news(self, newcomers: Newcomers, event: Deliver) -> None:
        """As above, but not to whom it was told with the heads."""
        for socket in self._attendance.sockets:
            if socket.id == event.origin:
                if event.ok is not None:
                    socket.deliver(event.ok)
            elif not newcomers.knows(socket.id, event.conversation_id, event.rev):
                socket.deliver(event.frame)

    async def _handle(self, envelope: Envelope[Any]) -> None:
        try:
            await self._answer(envelope)
        except KithError as refusal:  # by a rule or by the world; a bug is neither, and ends this actor
            envelope.refuse(refusal)

    async def _answer(self, envelope: Envelope[Any]) -> None:
        command: UserCommand = envelope.command
        if isinstance(command, Connect):
            await self._connect(envelope, command)
        elif isinstance(command, Disconnect):
            self._attendance.leave(command.socket_id)
            if not self._attendance:
                self._world.notes.user_seen(self._activation.id, self._world.clock.now())
        elif isinstance(command, EndLogins):
            self._attendance.end_logins(command.logins)
        elif isinstance(command, UserChanged):
            await self._changed(envelope, command)
        elif isinstance(command, Resync):
            self._attendance.end_all(Ending.RESYNC)
            self._inbox.forget()
        elif isinstance(command, SettleIn):
            self._settle_in(command)
        elif isinstance(command, CountUnread):
            await self._count(envelope, command)
        else:
            assert not isinstance(command, Deliver)
            await self._account(envelope, command)

    async def _connect(self, envelope: Envelope[Any], command: Connect) -> None:
        """Register first, then read the heads: what is committed in between waits here as an event, and is given to
        this connection only if its heads do not cover it."""
        await self._settle()
        state, socket = self._state, command.socket
        if state is None or state.status != "active" or socket.login_id in self._world.revocations:
            socket.end(Ending.REVOKED)
            envelope.settled = True
            return
        if command.ticket is not None and not await self._world.tickets.spend(self._activation, command.ticket):
            socket.end(Ending.TICKET)
            envelope.settled = True
            return
        ending = self._attendance.join(socket, command.device_id, command.attempt, self._world.connections_most)
        if ending is not None:
            socket.end(ending)
            envelope.settled = True
            return
        try:
            heads = await self._world.heads.load(state.id)
        except Exception:
            # Refused by the world, or tried again in this actor's next life: either way it is not here now.
            self._attendance.leave(socket.id)
            raise
        unread, revs = heads if heads is not None else (0, {})
        self._newcomers = self._newcomers or Newcomers()
        self._newcomers.note(socket.id, revs, self._world.clock.monotonic())
        self._world.sweeper.arrived(state.id)
        envelope.answer(Connected(state, unread, revs))
        # Last, for whoever was answered is not decided again: a crash before that would enter a closed connection anew.
        self._world.notes.login_used(socket.login_id, self._world.clock.now())

    def _settle_in(self, command: SettleIn) -> None:
        if self._newcomers is not None:
            self._newcomers.forget(command.before)
            self._newcomers = self._newcomers or None

    async def _count(self, envelope: Envelope[Any], command: CountUnread) -> None:
        unknown = self._inbox.unknown(command.conversations)
        if unknown:
            self._inbox.learn(await self._world.unread(self._activation.id, unknown))
        envelope.answer(self._inbox.counts(command.conversations))

    async def _changed(self, envelope: Envelope[Any], command: UserChanged) -> None:
        state = self._state
        if not command.rev or state is None or state.rev < command.rev:
            self._stale = True
            await self._settle()
        envelope.answer(None)

    async def _settle(self) -> None:
        """Before a decision on his standing: read the row anew if it changed elsewhere. A suspension is never believed
        from memory, because a restored user must get in at once on every node; it is rare enough to cost nothing."""
        before = self._state
        if not self._stale and (before is None or before.status == "active"):
            return
        self._state = await self._activation.reload()
        self._stale = False
        self._close_if_fallen()
        if before is not None and self._state is not None and self._state.name != before.name:
            await self._world.renamed(self._state.id, self._state.name)

    def _close_if_fallen(self) -> None:
        if self._state is not None and self._state.status != "active":
            self._attendance.end_all(Ending.REVOKED)

    async def _account(self, envelope: Envelope[Any], command: DeskCommand) -> None:
        await self._settle()
        try:
            result = await self._world.desk(self._activation).handle(self._state, command)
        except KithError as refusal:
            self._stale = self._stale or refusal.outcome == "unknown"  # it may be on disk all the same
            raise
        self._state = result.state
        self._stale = self._stale or result.stale
        self._close_if_fallen()
        if result.ended:
            self._world.revocations.add(result.ended)
            self._attendance.end_logins(result.ended)
        envelope.answer(result.answer)
        if result.renamed and result.state is not None:
            await self._world.renamed(result.state.id, result.state.name)
