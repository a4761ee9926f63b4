"""Reads of conversations in memory: the twin of PostgresConversations."""

from collections.abc import Sequence

from actors.shapes.conversations import (
    Change,
    ChangeRange,
    ConversationState,
    ConversationView,
    Member,
    MemberView,
    MyMembership,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessageFacts, MessagePage, MessageSent, MessageView
from actors.shapes.times import WallTime
from storage.changes import cut
from storage.conversation_rows import ConversationFields, MemberRow, MembershipFields, SeenConversation
from storage.memory.tables import ConversationTable, MembershipRow, MemoryTables


class MemoryConversations:
    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self.loads: list[list[ConversationId]] = []  # one entry per batch, for tests of batching

    async def load(self, ids: Sequence[ConversationId]) -> dict[ConversationId, ConversationState]:
        self.loads.append(list(ids))
        tables = self._tables
        return {id: _state(tables, tables.conversations[id]) for id in ids if id in tables.conversations}

    async def history(
        self, id: ConversationId, joined_rev: int, before_seq: int | None, after_seq: int | None, limit: int
    ) -> MessagePage:
        table = self._tables.conversations.get(id)
        below = [
            message
            for message in (table.messages if table else [])
            if message.rev >= joined_rev
            and (before_seq is None or message.seq < before_seq)
            and (after_seq is None or message.seq > after_seq)
        ]
        forward = after_seq is not None and before_seq is None
        page = below[:limit] if forward else below[max(len(below) - limit, 0) :]
        return MessagePage([self._tables.message_row(m).shown for m in reversed(page)], len(below) > limit)

    async def changes(self, id: ConversationId, joined_rev: int, after_rev: int, limit: int) -> ChangeRange:
        table = self._tables.conversations.get(id)
        if table is None:
            raise KithError(ErrorCode.CONVERSATION_NOT_FOUND)
        own = max(table.own_rev, joined_rev)
        found = [Change(own, conversation=fields_of(table).shown(None))] if own > after_rev else []
        lowest = max(joined_rev, after_rev + 1)
        found += [Change(m.rev, member=self.member_view(m)) for m in table.members if m.rev >= lowest]
        rows = [self._tables.message_row(m) for m in table.messages if m.rev >= joined_rev]
        found += [Change(row.rev, message=row.shown) for row in rows if row.rev > after_rev]
        found.sort(key=lambda change: change.rev)
        return cut(found, table.rev, limit)

    async def view(self, id: ConversationId, reader: UserId) -> tuple[ConversationView, MyMembership]:
        table = self._tables.conversations.get(id)
        membership = table.membership(reader) if table else None
        if table is None or membership is None:
            raise KithError(ErrorCode.CONVERSATION_NOT_FOUND)
        seen = self._seen(table, membership)
        return seen.view, seen.my

    async def members(self, id: ConversationId, limit: int) -> list[MemberView]:
        table = self._tables.conversations.get(id)
        present = sorted(table.present if table else [], key=lambda m: (m.joined_rev, m.user_id))
        return [self.member_view(member) for member in present[:limit]]

    async def last_seen(self, reader: UserId, users: Sequence[UserId]) -> dict[UserId, WallTime]:
        tables = self._tables
        rows = [tables.users[id] for id in users if not tables.blocks & {(reader, id), (id, reader)}]
        return {row.id: row.last_seen_at for row in rows if row.last_seen_at is not None}

    async def direct_between(self, a: UserId, b: UserId, privacy_mode: str) -> ConversationId | None:
        table = self._tables.direct_between(a, b, privacy_mode)
        return None if table is None else table.id

    async def page_of(
        self, reader: UserId, before: tuple[WallTime, ConversationId] | None, limit: int
    ) -> tuple[list[ConversationView], tuple[WallTime, ConversationId] | None]:
        mine = sorted(self._tables.of_member(reader), key=lambda pair: (pair[0].activity, pair[0].id), reverse=True)
        older = [pair for pair in mine if before is None or (pair[0].activity, pair[0].id) < before]
        page = [self._seen(table, membership) for table, membership in older[:limit]]
        following = (page[-1].activity, page[-1].view.id) if len(older) > limit else None
        return [seen.shown for seen in page], following

    async def conversations_of(self, reader: UserId) -> list[ConversationId]:
        return [table.id for table, _ in self._tables.of_member(reader)]

    async def sent_before(
        self, id: ConversationId, keys: Sequence[tuple[UserId, ClientId]]
    ) -> dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]:
        table = self._tables.conversations.get(id)
        return table.sent_before(keys) if table else {}

    async def facts(self, id: ConversationId, messages: Sequence[MessageId]) -> dict[MessageId, MessageFacts]:
        table = self._tables.conversations.get(id)
        found = [message for message in (table.messages if table else []) if message.id in messages]
        return {
            m.id: MessageFacts(m.id, m.seq, self._tables.message_row(m).rev, m.rev, m.sender_id, m.id in table.deleted)
            for m in found
            if table is not None
        }

    async def message(self, id: ConversationId, joined_rev: int, message: MessageId) -> MessageView | None:
        table = self._tables.conversations.get(id)
        for stored in table.messages if table else []:
            if stored.id == message and stored.rev >= joined_rev:
                return self._tables.message_row(stored).shown
        return None

    async def where_is(self, message: MessageId) -> ConversationId | None:
        for table in self._tables.conversations.values():
            if any(stored.id == message for stored in table.messages):
                return table.id
        return None

    async def unread(self, reader: UserId, ids: Sequence[ConversationId]) -> dict[ConversationId, tuple[int, int]]:
        counts = {}
        for table, mine in self._tables.of_member(reader):
            if table.id in ids:
                waiting = [
                    message
                    for message in table.messages
                    if message.seq > mine.last_read_seq
                    and message.rev >= mine.joined_rev
                    and message.sender_id != reader
                    and message.id not in table.deleted
                ]
                counts[table.id] = (len(waiting), table.seq)
        return counts

    def _seen(self, table: ConversationTable, mine: MembershipRow) -> SeenConversation:
        last = table.messages[-1] if table.messages else None
        shown = None if last is None or last.rev < mine.joined_rev else self._tables.message_row(last).shown
        fields = MembershipFields(table.activity, mine.role, None, False, mine.last_read_seq, 0, mine.joined_at)
        return SeenConversation(fields_of(table).shown(shown), fields.shown, table.activity)

    def member_view(self, member: MembershipRow) -> MemberView:
        user = self._tables.users[member.user_id]
        return MemberRow(
            user.id,
            user.username,
            user.display_name,
            user.avatar_url,
            member.role,
            member.joined_at,
            member.left_at,
            member.rev,
        ).shown


def _state(tables: MemoryTables, table: ConversationTable) -> ConversationState:
    members = {m.user_id: Member(m.user_id, tables.users[m.user_id].name, m.role, m.joined_rev) for m in table.present}
    blocks = (
        frozenset((a, b) for a, b in tables.blocks if a in members and b in members)
        if table.type == "direct"
        else frozenset()
    )
    return ConversationState(table.id, table.type, table.privacy_mode, table.seq, table.rev, members, blocks)


def fields_of(table: ConversationTable) -> ConversationFields:
    return ConversationFields(
        id=table.id,
        type=table.type,
        name=table.name,
        description=table.description,
        privacy_mode=table.privacy_mode,
        key_epoch=0,
        member_count=len(table.present),
        created_at=table.created_at,
        updated_at=table.updated_at,
        rev=table.rev,
        own_rev=table.own_rev,
    )
