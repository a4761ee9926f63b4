"""The same small world in memory and in PostgreSQL, so that one suite judges both."""

from collections.abc import Sequence
from typing import Protocol

from uuid_utils import uuid7

from actors.ports import BirthUnit, ConversationStore, ConversationUnit, Journal, KeyStore, Receipt, UserStore
from actors.shapes.conversations import ConversationRow, PrivacyMode
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import StoredMessage
from actors.shapes.times import WallTime
from storage.conversations import PostgresConversations
from storage.idempotency_keys import PostgresKeys
from storage.journal.journal import PostgresJournal
from storage.memory.conversations import MemoryConversations
from storage.memory.idempotency_keys import MemoryKeys
from storage.memory.journal import MemoryJournal
from storage.memory.tables import MembershipRow, MemoryTables
from storage.memory.users import MemoryUsers
from storage.postgres import Postgres
from storage.users import PostgresUsers
from tests.clocks import START, ActorToken

TOKEN = ActorToken("conversation/of-a-test")


def new_id() -> str:
    return str(uuid7())


class World(Protocol):
    """What a suite may ask of a storage beside its ports."""

    @property
    def journal(self) -> Journal: ...
    @property
    def conversations(self) -> ConversationStore: ...
    @property
    def users(self) -> UserStore: ...
    @property
    def keys(self) -> KeyStore: ...

    async def add_user(self, username: str, display_name: str | None = None) -> UserId: ...

    async def block(self, blocker: UserId, blocked: UserId) -> None: ...

    async def seen(self, user: UserId, at: WallTime) -> None: ...

    async def leave(self, conversation: ConversationId, user: UserId, rev: int) -> None: ...

    async def join(self, conversation: ConversationId, user: UserId, rev: int) -> None: ...

    async def stored(self, conversation: ConversationId) -> list[tuple[int, int, str]]:
        """(seq, rev, text) of its messages."""
        ...

    async def heads(self) -> list[tuple[str, str, int, int]]:
        """What the flush rows say, in the order of their numbers."""
        ...


class MemoryWorld:
    def __init__(self) -> None:
        self.tables = MemoryTables()
        self.journal = MemoryJournal(self.tables)
        self.conversations = MemoryConversations(self.tables)
        self.users = MemoryUsers(self.tables)
        self.keys = MemoryKeys(self.tables)

    async def add_user(self, username: str, display_name: str | None = None) -> UserId:
        return self.tables.add_user(UserId(new_id()), username, display_name).id

    async def block(self, blocker: UserId, blocked: UserId) -> None:
        self.tables.blocks.add((blocker, blocked))

    async def seen(self, user: UserId, at: WallTime) -> None:
        self.tables.users[user].last_seen_at = at

    async def leave(self, conversation: ConversationId, user: UserId, rev: int) -> None:
        table = self.tables.conversations[conversation]
        membership = table.membership(user)
        assert membership is not None
        membership.left_rev = membership.rev = table.rev = rev
        membership.left_at = WallTime(START)

    async def join(self, conversation: ConversationId, user: UserId, rev: int) -> None:
        table = self.tables.conversations[conversation]
        table.members.append(MembershipRow(user, "member", rev, WallTime(START), rev))
        table.rev = rev

    async def stored(self, conversation: ConversationId) -> list[tuple[int, int, str]]:
        return [(m.seq, m.rev, m.text) for m in self.tables.conversations[conversation].messages]

    async def heads(self) -> list[tuple[str, str, int, int]]:
        return list(self.tables.heads)


def _head(kind: str, id: str, old: int, new: int) -> tuple[str, str, int, int]:
    return kind, id, old, new


def _stored(seq: int, rev: int, text: str) -> tuple[int, int, str]:
    return seq, rev, text


class PostgresWorld:
    def __init__(self, postgres: Postgres, journal: PostgresJournal) -> None:
        self.postgres = postgres
        self.journal = journal
        self.conversations = PostgresConversations(postgres)
        self.users = PostgresUsers(postgres)
        self.keys = PostgresKeys(postgres)

    async def add_user(self, username: str, display_name: str | None = None) -> UserId:
        id = UserId(new_id())
        await add_user(self.postgres, id, username, display_name)
        return id

    async def block(self, blocker: UserId, blocked: UserId) -> None:
        await self.postgres.execute("insert into blocks values ($1, $2, $3)", new_id(), blocker, blocked)

    async def seen(self, user: UserId, at: WallTime) -> None:
        sql = "update users set last_seen_at = to_timestamp($2::bigint / 1000.0::float8) where id = $1"
        await self.postgres.execute(sql, user, at)

    async def leave(self, conversation: ConversationId, user: UserId, rev: int) -> None:
        await self.postgres.execute(
            "update conversation_members set left_rev = $3, rev = $3, left_at = now()"
            " where conversation_id = $1 and user_id = $2 and left_rev is null",
            conversation,
            user,
            rev,
        )
        await self._head_at(conversation, rev, -1)

    async def join(self, conversation: ConversationId, user: UserId, rev: int) -> None:
        await self.postgres.execute(
            "insert into conversation_members (conversation_id, user_id, joined_rev, rev) values ($1, $2, $3, $3)",
            conversation,
            user,
            rev,
        )
        await self._head_at(conversation, rev, 1)

    async def _head_at(self, conversation: ConversationId, rev: int, more: int) -> None:
        await self.postgres.execute(
            "update conversations set rev = $2, member_count = member_count + $3 where id = $1",
            conversation,
            rev,
            more,
        )

    async def stored(self, conversation: ConversationId) -> list[tuple[int, int, str]]:
        return await self.postgres.fetch(
            _stored, "select seq, rev, body from messages where conversation_id = $1 order by seq", conversation
        )

    async def heads(self) -> list[tuple[str, str, int, int]]:
        return await self.postgres.fetch(
            _head,
            "select h ->> 0, h ->> 1, (h ->> 2)::bigint, (h ->> 3)::bigint"
            " from flushes, jsonb_array_elements(heads) h order by incarnation, n",
        )


async def add_user(postgres: Postgres, id: UserId, username: str, display_name: str | None = None) -> None:
    await postgres.execute(
        "insert into users (id, email, email_key, username, username_key, display_name, password_hash)"
        " values ($1, $3, $3, $2, lower($2), $4, '')",
        id,
        username,
        f"{username}@example.org",
        display_name,
    )


def message(
    conversation: ConversationId, sender: UserId, seq: int, rev: int, text: str = "hello", client_id: str | None = None
) -> StoredMessage:
    return StoredMessage(
        id=MessageId(new_id()),
        conversation_id=conversation,
        seq=seq,
        rev=rev,
        sender_id=sender,
        client_id=ClientId(client_id or new_id()),
        text=text,
        created_at=WallTime(START + seq),
    )


def batch(conversation: ConversationId, old_rev: int, messages: Sequence[StoredMessage]) -> ConversationUnit:
    """The messages as the next batch of a conversation at this revision."""
    return ConversationUnit(conversation, old_rev, messages[-1].rev, messages[-1].seq, messages)


def birth(
    *members: UserId, type: str = "direct", privacy_mode: PrivacyMode = "standard", id: str | None = None
) -> BirthUnit:
    return BirthUnit(
        ConversationRow(
            id=ConversationId(id or new_id()),
            type="direct" if type == "direct" else "group",
            privacy_mode=privacy_mode,
            created_by=members[0],
            created_at=WallTime(START),
            members=members,
            name=None if type == "direct" else "a group",
        )
    )


class Dialogue:
    """A 1:1 conversation at revision 1, and the two who are in it."""

    def __init__(self, world: World, id: ConversationId, a: UserId, b: UserId) -> None:
        self.world, self.id, self.a, self.b = world, id, a, b
        self.seq, self.rev = 0, 1

    async def say(self, *texts: str, sender: UserId | None = None) -> Receipt:
        """One batch, taken for committed."""
        messages = [
            message(self.id, sender or self.a, self.seq + n, self.rev + n, text) for n, text in enumerate(texts, 1)
        ]
        receipt = await self.world.journal.append(TOKEN, batch(self.id, self.rev, messages))
        self.seq, self.rev = messages[-1].seq, messages[-1].rev
        return receipt


async def begin_dialogue(world: World, suffix: str = "") -> Dialogue:
    a, b = await world.add_user(f"anna{suffix}", "Anna"), await world.add_user(f"bert{suffix}")
    unit = birth(a, b)
    await world.journal.append(TOKEN, unit)
    return Dialogue(world, unit.row.id, a, b)
