"""The rows that the in-memory twins share, as PostgreSQL would hold them."""

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct, field

from actors.shapes.conversations import ConversationType, PrivacyMode
from actors.shapes.idempotency import KEPT_HOURS, Keyed, KeyName, KeyRow
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import DeletedMessage, MessageSent, StoredMessage
from actors.shapes.moderation import AdminAction
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Limits
from storage.message_rows import MessageRow


class UserRow(Struct):
    id: UserId
    username: str
    rev: int = 0
    display_name: str | None = None
    avatar_url: str | None = None
    bio: str | None = None
    interests: tuple[str, ...] = ()
    limits: Limits = "normal"
    status: Literal["active", "suspended", "deleted"] = "active"
    email: str = ""
    created_at: WallTime = WallTime(0)
    last_seen_at: WallTime | None = None

    @property
    def name(self) -> str:
        return self.display_name or self.username


class MembershipRow(Struct):
    user_id: UserId
    role: str
    joined_rev: int
    joined_at: WallTime
    rev: int
    left_rev: int | None = None
    left_at: WallTime | None = None
    last_read_seq: int = 0


class ConversationTable(Struct):
    """One conversation with all that belongs to it."""

    id: ConversationId
    type: ConversationType
    privacy_mode: PrivacyMode
    created_at: WallTime
    updated_at: WallTime
    name: str | None = None
    description: str | None = None
    seq: int = 0
    rev: int = 1
    own_rev: int = 1
    members: list[MembershipRow] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)  # as they were sent
    deleted: dict[MessageId, DeletedMessage] = field(default_factory=dict)

    @property
    def present(self) -> list[MembershipRow]:
        return [member for member in self.members if member.left_rev is None]

    @property
    def activity(self) -> WallTime:
        return self.messages[-1].created_at if self.messages else self.created_at

    def membership(self, user: UserId) -> MembershipRow | None:
        return next((member for member in self.present if member.user_id == user), None)

    def sent_before(
        self, keys: Iterable[tuple[UserId, ClientId]]
    ) -> dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]:
        """Which of these sends are stored, and what their senders were told."""
        wanted = set(keys)
        return {
            key: (
                MessageSent(m.id, m.seq, m.rev, iso(m.created_at), duplicate=True),
                None if m.id in self.deleted else m.text,
            )
            for m in self.messages
            if (key := (m.sender_id, m.client_id)) in wanted
        }


class FlushRow(Struct):
    node: str
    heads: list[tuple[str, str, int, int]]
    at: WallTime = WallTime(0)
    committed: bool = True


class MemoryTables(Struct):
    users: dict[UserId, UserRow] = field(default_factory=dict)
    conversations: dict[ConversationId, ConversationTable] = field(default_factory=dict)
    blocks: set[tuple[UserId, UserId]] = field(default_factory=set)
    heads: list[tuple[str, str, int, int]] = field(default_factory=list)  # what the flush rows would say
    flushes: list[FlushRow] = field(default_factory=list)  # of journals, in the order of their transactions
    nodes: set[str] = field(default_factory=set)
    keys: dict[KeyName, KeyRow] = field(default_factory=dict)
    actions: list[tuple[WallTime, AdminAction]] = field(default_factory=list)  # the audit table

    def add_user(self, id: UserId, username: str, display_name: str | None = None) -> UserRow:
        row = self.users[id] = UserRow(id, username, display_name=display_name, email=f"{username}@example.org")
        return row

    def direct_between(self, a: UserId, b: UserId, privacy_mode: str) -> ConversationTable | None:
        pair = {a, b}
        for table in self.conversations.values():
            if (
                table.type == "direct"
                and table.privacy_mode == privacy_mode
                and {m.user_id for m in table.members} == pair
            ):
                return table
        return None

    def uses(self, keyed: Keyed) -> bool:
        """Whether this key is in use at the time of the request."""
        row = self.keys.get((keyed.owner, keyed.key))
        return row is not None and row.keyed.at > keyed.at - KEPT_HOURS * 3_600_000

    def of_member(self, user: UserId) -> Iterator[tuple[ConversationTable, MembershipRow]]:
        for table in self.conversations.values():
            membership = table.membership(user)
            if membership is not None:
                yield table, membership

    def message_row(self, message: StoredMessage) -> MessageRow:
        deleted = self.conversations[message.conversation_id].deleted.get(message.id)
        return MessageRow(
            id=message.id,
            conversation_id=message.conversation_id,
            seq=message.seq,
            rev=message.rev if deleted is None else deleted.rev,
            sender_id=message.sender_id,
            sender_name=self.users[message.sender_id].name,
            client_id=message.client_id,
            created_at=message.created_at,
            body=message.text if deleted is None else None,
            encryption_version=0,
            reply_to=message.reply_to,
            mentions=list(message.mentions) if deleted is None else None,
            edited_at=None,
            deleted_at=None if deleted is None else deleted.deleted_at,
            deleted_by=None if deleted is None else deleted.deleted_by,
        )
