"""A node of actors in memory: users and conversations, put together as realtime/main.py does it, over the twins."""

import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from actors.account import AccountDesk
from actors.asking import Question
from actors.clock import FakeClock
from actors.conversation import ConversationActor, Conversations, ConversationWorld, Users
from actors.kinds import ActorKind
from actors.loading import Loader
from actors.ports import Receipt, Unit, WriteToken
from actors.reading import Readers
from actors.recital import Library
from actors.revocations import RevokedLogins
from actors.shapes.conversations import ConversationState, MemberRenamed, Origin, SendMessage
from actors.shapes.errors import KithError
from actors.shapes.frames import Frame
from actors.shapes.ids import ClientId, ConversationId, LoginId, MessageId, SocketId, UserId
from actors.shapes.messages import MessageSent
from actors.shapes.times import Seconds
from actors.shapes.users import Connect, Connected, Ending
from actors.sweep import Sweep
from actors.sweep_notices import SweepNotices
from actors.system import ActorSystem
from actors.user import Heads, UserActor, UserWorld
from storage.memory.accounts import MemoryAccounts
from storage.memory.conversations import MemoryConversations
from storage.memory.journal import MemoryJournal
from storage.memory.notes import MemoryNotes
from storage.memory.sweep import MemoryFlushLog
from storage.memory.tables import ConversationTable, MembershipRow, MemoryTables
from storage.memory.tickets import MemoryTickets
from storage.memory.users import MemoryUsers

IDLE = Seconds(120.0)


class ScriptedJournal(MemoryJournal):
    """Says what the test wrote down, as long as something is written there; then what the tables say."""

    def __init__(self, tables: MemoryTables, node: str = "node") -> None:
        super().__init__(tables, node=node)
        self.script: deque[Receipt | Exception] = deque()

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        if not self.script:
            return await super().append(token, unit)
        self.appended.append(unit)
        await trio.lowlevel.checkpoint()
        said = self.script.popleft()
        if isinstance(said, Exception):
            raise said
        return said


class Reads(MemoryConversations):
    """Counts the look-ups of sends; fails when told to."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(tables)
        self.failure: Exception | None = None
        self.looked_up: list[list[tuple[UserId, ClientId]]] = []

    async def load(self, ids: Sequence[ConversationId]) -> dict[ConversationId, ConversationState]:
        self._fail()
        return await super().load(ids)

    async def sent_before(
        self, id: ConversationId, keys: Sequence[tuple[UserId, ClientId]]
    ) -> dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]:
        self._fail()
        self.looked_up.append(list(keys))
        return await super().sent_before(id, keys)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class HeadReads(MemoryUsers):
    """Fails when told to, as often as it is told."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(tables)
        self.failures: deque[Exception] = deque()
        self.slow: trio.Event | None = None  # until then nothing is read

    async def heads(self, ids: Sequence[UserId]) -> dict[UserId, tuple[int, dict[ConversationId, int]]]:
        if self.failures:
            raise self.failures.popleft()
        if self.slow is not None:
            await self.slow.wait()
        return await super().heads(ids)


class Ear:
    """One connection as the user's actor sees it: keeps what it is given."""

    def __init__(self, id: int, login: LoginId) -> None:
        self.id = SocketId(id)
        self.login_id = login
        self.frames: list[Frame] = []
        self.ended: list[Ending] = []
        self.broken: Exception | None = None

    def deliver(self, frame: Frame) -> None:
        if self.broken is not None:
            raise self.broken
        self.frames.append(frame)

    def end(self, ending: Ending) -> None:
        self.ended.append(ending)

    @property
    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(frame.payload) for frame in self.frames]

    @property
    def texts(self) -> list[str]:
        """The messages it heard, and `ok N` for the answers that came in their place."""
        return [
            f"ok {said['payload']['rev']}" if said["type"] == "ok" else said["payload"]["text"]
            for said in self.heard
            if said["type"] in ("ok", "message.created")
        ]


class Answer:
    """An asker that remembers every call: exactly one may come."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def answer(self, value: object) -> None:
        self.told.append(value)

    def refuse(self, error: KithError) -> None:
        self.told.append(error)

    @property
    def only(self) -> Any:
        assert len(self.told) == 1, self.told
        return self.told[0]


class SmallNode:
    def __init__(
        self,
        connections_most: int = 20,
        capacity: int = 1_000,
        tables: MemoryTables | None = None,  # which it shares with another node
        name: str = "node",
    ) -> None:
        self.clock = FakeClock()
        self.tables = MemoryTables() if tables is None else tables
        self.journal = ScriptedJournal(self.tables, name)
        self.notices = SweepNotices(self.clock)
        self.reads = Reads(self.tables)
        self.user_store = HeadReads(self.tables)
        self.accounts = MemoryAccounts(self.tables, self.clock)
        self.revocations = RevokedLogins(self.clock, Seconds(900.0))
        self.system = ActorSystem(self.clock)
        self.readers = Readers()
        self.heads: Loader[UserId, Heads] = Loader(self.user_store.heads)
        self._numbers = itertools.count(1)
        self.users: Users = self.system.register(
            ActorKind("user", self.user_store.load, self._user_maker(connections_most), IDLE, capacity)
        )
        self.world = ConversationWorld(
            self.clock,
            self.journal,
            self.reads,
            self.users,
            Library(self.reads, self.readers, self.users.is_pinned),
            lambda: MessageId(self.new_id()),
            self.notices,
        )
        self.conversations: Conversations = self.system.register(
            ActorKind("conversation", self.reads.load, lambda a, s: ConversationActor(self.world, a, s), IDLE, capacity)
        )
        self.flush_log = MemoryFlushLog(self.tables, self.clock, name)
        self.sweep = Sweep(self.flush_log, self.users, self.conversations, self.clock, self.notices)

    @cached_property
    def notes(self) -> MemoryNotes:
        return MemoryNotes()

    def _user_maker(self, connections_most: int) -> Any:
        async def renamed(user: UserId, name: str) -> None:
            for conversation in await self.reads.conversations_of(user):
                self.conversations.tell_awake(conversation, MemberRenamed(user, name))

        world = UserWorld(
            unread=self.reads.unread,
            heads=self.heads,
            revocations=self.revocations,
            desk=lambda activation: AccountDesk(activation.id, activation, self.accounts, self.journal, self.clock),
            renamed=renamed,
            connections_most=connections_most,
            clock=self.clock,
            notes=self.notes,
            sweeper=self.notices,
            tickets=MemoryTickets(),
        )
        return lambda activation, state: UserActor(world, activation, state)

    # -- what there is ----------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        return f"0190aaaa-0000-7000-8000-{next(self._numbers):012x}"

    def add_user(self, name: str) -> UserId:
        id = UserId(self.new_id())
        self.tables.add_user(id, name)
        return id

    def add_direct(self, *members: UserId) -> ConversationId:
        id, now = ConversationId(self.new_id()), self.clock.start
        table = self.tables.conversations[id] = ConversationTable(id, "direct", "standard", now, now)
        table.members = [MembershipRow(user, "member", 1, now, 1) for user in members]
        return id

    # -- what people do ----------------------------------------------------------------------------------------------

    async def connect(
        self, user: UserId, device: str | None = None, attempt: int = 0, login: LoginId | None = None
    ) -> Ear:
        """A connection that the user's actor has answered, one way or the other."""
        ear = Ear(next(self._numbers), login or LoginId(self.new_id()))
        asked = Answer()
        self.users.tell(user, Connect(ear, device, attempt), asked)
        await wait_all_tasks_blocked()
        assert ear.ended or isinstance(asked.only, Connected | KithError)
        return ear

    @asynccontextmanager
    async def busy(self, user: UserId) -> AsyncIterator[Ear]:
        """His actor is in the middle of registering a connection, so that everything else waits in its mailbox."""
        go = self.user_store.slow = trio.Event()
        newcomer = Ear(next(self._numbers), LoginId(self.new_id()))
        self.users.tell(user, Connect(newcomer, None, 0), Answer())
        await wait_all_tasks_blocked()
        try:
            yield newcomer
        finally:
            self.user_store.slow = None
            go.set()
            await wait_all_tasks_blocked()

    def send_command(
        self, sender: UserId, text: str, id: str | None = None, ear: Ear | None = None, **more: Any
    ) -> SendMessage:
        origin = None if ear is None else Origin(ear.id, f"ref-{text}", 1.0)
        return SendMessage(sender, ClientId(id or self.new_id()), text, origin, **more)

    def tell(self, conversation: ConversationId, *commands: Any) -> list[Answer]:
        """Into the mailbox at once, so that an actor that is free takes them as one batch."""
        answers = [Answer() for _ in commands]
        for command, answer in zip(commands, answers, strict=True):
            self.conversations.tell(conversation, command, answer)
        return answers

    async def ask(self, conversation: ConversationId, command: Any) -> Any:
        """The answer, or the KithError, once nothing moves any more."""
        question = Question("conversation")
        self.conversations.tell(conversation, command, question)
        try:
            answer = await question.wait(Seconds(60.0))
        except KithError as error:
            answer = error
        await wait_all_tasks_blocked()  # until everybody has heard of it
        return answer


@asynccontextmanager
async def small_node(
    connections_most: int = 20, capacity: int = 1_000, tables: MemoryTables | None = None, name: str = "node"
) -> AsyncIterator[SmallNode]:
    node = SmallNode(connections_most, capacity, tables, name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.heads.run)
        nursery.start_soon(node.readers.run)
        await nursery.start(node.system.run)
        yield node
        nursery.cancel_scope.cancel()


async def settled() -> None:
    await wait_all_tasks_blocked()
