"""Reads of conversations: it implements ConversationStore."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from actors.shapes.conversations import (
    ChangeRange,
    ConversationState,
    ConversationType,
    ConversationView,
    Member,
    MemberView,
    MyMembership,
    PrivacyMode,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessageFacts, MessagePage, MessageSent, MessageView
from actors.shapes.times import WallTime
from storage.changes import read_changes
from storage.conversation_rows import (
    ACTIVITY,
    MEMBER_COLUMNS,
    NAME,
    OF_USERS,
    SEEN_COLUMNS,
    SEEN_TABLES,
    MemberRow,
    seen_conversation,
)
from storage.journal.repeats import REPEATS, Repeated, repeats_by_conversation
from storage.message_rows import MESSAGE_COLUMNS, MessageRow, milliseconds
from storage.postgres import Postgres

# One statement, so one snapshot: members that were older than the revision beside them would not be found out by any
# compare-and-set. A block stands beside the blocker.
_LOAD: Final = f"""
select c.id::text, c.type, c.privacy_mode, c.seq, c.rev,
       m.user_id::text, {NAME}, m.role, m.joined_rev, b.blocked_id::text
  from conversations c
  left join conversation_members m on m.conversation_id = c.id and m.left_rev is null
  left join users u on u.id = m.user_id
  left join blocks b on c.type = 'direct' and b.blocker_id = m.user_id
        and b.blocked_id = case when m.user_id = c.direct_low then c.direct_high else c.direct_low end
 where c.id = any($1::uuid[])
"""

_HISTORY: Final = f"""
select {MESSAGE_COLUMNS}
  from messages m join users s on s.id = m.sender_id
 where m.conversation_id = $1::uuid and m.created_rev >= $2
"""
_BEFORE: Final = _HISTORY + " and m.seq < $3 and m.seq > $4 order by m.seq desc limit $5"
_AFTER: Final = _HISTORY + " and m.seq < $3 and m.seq > $4 order by m.seq limit $5"
_MESSAGE: Final = _HISTORY + " and m.id = $3::uuid"
_NO_END: Final = (1 << 63) - 1

_VIEW: Final = f"select {SEEN_COLUMNS} from {SEEN_TABLES} where c.id = $2::uuid"

_PAGE: Final = f"""
select {SEEN_COLUMNS} from {SEEN_TABLES}
 where $2::bigint is null or ({ACTIVITY}, c.id) < ($2::bigint, $3::uuid)
 order by {ACTIVITY} desc, c.id desc limit $4
"""

_MEMBERS: Final = f"""
select {MEMBER_COLUMNS}
  from conversation_members m join users u on u.id = m.user_id
 where m.conversation_id = $1::uuid and m.left_rev is null
 order by m.joined_rev, m.user_id limit $2
"""

_LAST_SEEN: Final = f"""
select u.id::text, {milliseconds("u.last_seen_at")} from users u
 where u.id = any($2::uuid[]) and u.last_seen_at is not null
   and not exists (select from blocks b where b.blocker_id = $1::uuid and b.blocked_id = u.id)
   and not exists (select from blocks b where b.blocker_id = u.id and b.blocked_id = $1::uuid)
"""

_FACTS: Final = """
select id::text, seq, rev, created_rev, sender_id::text, deleted_at is not null
  from messages where id = any($2::uuid[]) and conversation_id = $1::uuid
"""

# Tombstones are not waiting to be read. The head comes from the same snapshot as the count.
_UNREAD: Final = """
select c.id::text, c.seq, (
         select count(*) from messages m
          where m.conversation_id = c.id and m.seq > p.last_read_seq and m.created_rev >= p.joined_rev
            and m.sender_id <> p.user_id and m.deleted_at is null)
  from conversation_members p join conversations c on c.id = p.conversation_id
 where p.user_id = $1::uuid and p.left_rev is null and p.conversation_id = any($2::uuid[])
"""


class _LoadedRow(Struct, frozen=True, gc=False):
    id: ConversationId
    type: ConversationType
    privacy_mode: PrivacyMode
    seq: int
    rev: int
    user_id: UserId | None
    name: str
    role: str
    joined_rev: int
    blocked_id: UserId | None


class _UnreadRow(Struct, frozen=True, gc=False):
    id: ConversationId
    head: int
    unread: int


def _moment(user: str, at: int) -> tuple[UserId, WallTime]:
    return UserId(user), WallTime(at)


class PostgresConversations:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def load(self, ids: Sequence[ConversationId]) -> dict[ConversationId, ConversationState]:
        rows = await self._postgres.fetch(_LoadedRow, _LOAD, ids)
        first: dict[ConversationId, _LoadedRow] = {}
        members: dict[ConversationId, dict[UserId, Member]] = {}
        blocks: dict[ConversationId, set[tuple[UserId, UserId]]] = {}
        for row in rows:
            present = members.get(row.id)
            if present is None:
                first[row.id] = row
                present = members[row.id] = {}
            if row.user_id is not None:
                present[row.user_id] = Member(row.user_id, row.name, row.role, row.joined_rev)
                if row.blocked_id is not None:
                    blocks.setdefault(row.id, set()).add((row.user_id, row.blocked_id))
        return {
            id: ConversationState(
                id, row.type, row.privacy_mode, row.seq, row.rev, members[id], frozenset(blocks.get(id, ()))
            )
            for id, row in first.items()
        }

    async def history(
        self, id: ConversationId, joined_rev: int, before_seq: int | None, after_seq: int | None, limit: int
    ) -> MessagePage:
        """Newest first; with `after_seq` alone, the page that follows it, so that a reader can walk forward."""
        forward = after_seq is not None and before_seq is None
        rows = await self._postgres.fetch(
            MessageRow,
            _AFTER if forward else _BEFORE,
            id,
            joined_rev,
            _NO_END if before_seq is None else before_seq,
            0 if after_seq is None else after_seq,
            limit + 1,
        )
        page = [row.shown for row in rows[:limit]]
        return MessagePage(page[::-1] if forward else page, has_more=len(rows) > limit)

    async def changes(self, id: ConversationId, joined_rev: int, after_rev: int, limit: int) -> ChangeRange:
        return await self._postgres.run(lambda asked: read_changes(asked, id, joined_rev, after_rev, limit))

    async def view(self, id: ConversationId, reader: UserId) -> tuple[ConversationView, MyMembership]:
        """Raises CONVERSATION_NOT_FOUND to whoever is no member at this moment."""
        seen = await self._postgres.fetchrow(seen_conversation, _VIEW, reader, id)
        if seen is None:
            raise KithError(ErrorCode.CONVERSATION_NOT_FOUND)
        return seen.view, seen.my

    async def members(self, id: ConversationId, limit: int) -> list[MemberView]:
        return [row.shown for row in await self._postgres.fetch(MemberRow, _MEMBERS, id, limit)]

    async def last_seen(self, reader: UserId, users: Sequence[UserId]) -> dict[UserId, WallTime]:
        return dict(await self._postgres.fetch(_moment, _LAST_SEEN, reader, users))

    async def direct_between(self, a: UserId, b: UserId, privacy_mode: str) -> ConversationId | None:
        low, high = sorted((a, b))
        found = await self._postgres.fetchval(
            str,
            "select id::text from conversations where type = 'direct'"
            " and direct_low = $1::uuid and direct_high = $2::uuid and privacy_mode = $3",
            low,
            high,
            privacy_mode,
        )
        return None if found is None else ConversationId(found)

    async def page_of(
        self, reader: UserId, before: tuple[WallTime, ConversationId] | None, limit: int
    ) -> tuple[list[ConversationView], tuple[WallTime, ConversationId] | None]:
        moment, id = before if before is not None else (None, None)
        seen = await self._postgres.fetch(seen_conversation, _PAGE, reader, moment, id, limit + 1)
        page = seen[:limit]
        following = (page[-1].activity, page[-1].view.id) if len(seen) > limit else None
        return [one.shown for one in page], following

    async def conversations_of(self, reader: UserId) -> list[ConversationId]:
        return await self._postgres.fetch(ConversationId, OF_USERS, [reader])

    async def sent_before(
        self, id: ConversationId, keys: Sequence[tuple[UserId, ClientId]]
    ) -> dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]:
        senders, clients = [sender for sender, _ in keys], [client for _, client in keys]
        rows = await self._postgres.fetch(Repeated, REPEATS, [id] * len(keys), senders, clients)
        return repeats_by_conversation(rows).get(id, {})

    async def facts(self, id: ConversationId, messages: Sequence[MessageId]) -> dict[MessageId, MessageFacts]:
        rows = await self._postgres.fetch(MessageFacts, _FACTS, id, messages)
        return {row.id: row for row in rows}

    async def message(self, id: ConversationId, joined_rev: int, message: MessageId) -> MessageView | None:
        row = await self._postgres.fetchrow(MessageRow, _MESSAGE, id, joined_rev, message)
        return None if row is None else row.shown

    async def where_is(self, message: MessageId) -> ConversationId | None:
        found = await self._postgres.fetchval(
            str, "select conversation_id::text from messages where id = $1::uuid", message
        )
        return None if found is None else ConversationId(found)

    async def unread(self, reader: UserId, ids: Sequence[ConversationId]) -> dict[ConversationId, tuple[int, int]]:
        rows = await self._postgres.fetch(_UnreadRow, _UNREAD, reader, ids)
        return {row.id: (row.unread, row.head) for row in rows}
