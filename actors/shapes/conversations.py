"""A conversation, its members, the commands it takes and the events it makes."""

import enum
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from actors.shapes.audit import AuditRow
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ClientId, ConversationId, MessageId, SocketId, UserId
from actors.shapes.messages import MessageView
from actors.shapes.times import WallTime

ConversationType = Literal["direct", "group"]
PrivacyMode = Literal["standard", "strict_e2e"]


class Role(enum.StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Member(Struct, frozen=True, gc=False):
    """A present member, as the conversation's actor knows him."""

    user_id: UserId
    name: str
    role: str
    joined_rev: int  # he reads changes from this revision on


class ConversationState(Struct, frozen=True):
    """What an awake conversation holds in memory; never ahead of the database."""

    id: ConversationId
    type: ConversationType
    privacy_mode: PrivacyMode
    seq: int
    rev: int
    members: dict[UserId, Member]
    blocks: frozenset[tuple[UserId, UserId]] = frozenset()  # (blocker, blocked) between its members; direct ones only


# -- commands -----------------------------------------------------------------------------------------------------


class Origin(Struct, frozen=True, gc=False):
    """The connection a command came from, so that its `ok` takes the way of its event."""

    socket: SocketId
    ref: str | int | None
    read_at: float  # monotonic seconds when the command's last byte was read


class CreateDirect(Struct, frozen=True):
    creator: UserId
    other: UserId
    privacy_mode: PrivacyMode
    keyed: Keyed | None = None


class SendMessage(Struct, frozen=True, gc=False):
    sender: UserId
    client_id: ClientId
    text: str
    origin: Origin | None = None
    after: ClientId | None = None
    reply_to: MessageId | None = None
    mentions: tuple[UserId, ...] = ()
    keyed: Keyed | None = None


class DeleteMessage(Struct, frozen=True, gc=False):
    """Wipe a message: by its author, an admin of its conversation, or, `as_admin`, one of the platform.

    A platform admin needs no membership. `audit` is written with the tombstone, or not at all; a message that is
    deleted already answers its revision, and nothing is written. Answered with MessageDeleted.
    """

    deleter: UserId
    message_id: MessageId
    origin: Origin | None = None
    as_admin: bool = False
    audit: AuditRow | None = None


class ReadHistory(Struct, frozen=True, gc=False):
    reader: UserId
    limit: int
    before_seq: int | None = None
    after_seq: int | None = None
    ascending: bool = False


class ReadMessage(Struct, frozen=True, gc=False):
    reader: UserId
    message_id: MessageId


class ReadRange(Struct, frozen=True, gc=False):
    reader: UserId
    after_rev: int
    limit: int


class OpenConversation(Struct, frozen=True, gc=False):
    """Describe it, with so many of its newest messages, and with its members (and their presence) if wanted."""

    reader: UserId
    messages: int = 0
    members: bool = False


class MemberRenamed(Struct, frozen=True, gc=False):
    user_id: UserId
    name: str


class ChangedElsewhere(Struct, frozen=True, gc=False):
    """Another node has changed it: read it anew before the next decision, unless it is known at this revision.

    For who is awake only: whoever wakes later reads it in any case.
    """

    rev: int = 0  # 0: whatever is known


ConversationCommand = (
    CreateDirect
    | SendMessage
    | DeleteMessage
    | ReadHistory
    | ReadMessage
    | ReadRange
    | OpenConversation
    | MemberRenamed
    | ChangedElsewhere
)


# -- answers ------------------------------------------------------------------------------------------------------


class MyMembership(Struct, frozen=True):
    role: str
    muted_until: str | None = None
    archived: bool = False
    last_read_seq: int = 0
    delivered_seq: int = 0
    joined_at: str | None = None


class ConversationView(Struct, frozen=True):
    """A conversation; `my` and `unread_count` stand only in answers to one reader."""

    id: ConversationId
    type: ConversationType
    name: str | None
    description: str | None
    privacy_mode: PrivacyMode
    key_epoch: int
    member_count: int
    last_message: MessageView | None
    rev: int
    created_at: str
    updated_at: str
    unread_count: int | UnsetType = UNSET
    my: MyMembership | UnsetType = UNSET
    from_rev: int | UnsetType = UNSET
    conversation_id: ConversationId | UnsetType = UNSET  # in events: every one of a conversation carries it


class MemberView(Struct, frozen=True):
    user_id: UserId
    username: str
    display_name: str | None
    avatar_url: str | None
    role: str
    joined_at: str
    left_at: str | None = None
    rev: int = 0


class PresenceView(Struct, frozen=True, gc=False):
    user_id: UserId
    status: str
    last_seen_at: str | None = None


class OpenedConversation(Struct, frozen=True):
    """The `ok` of `conversation.open`."""

    conversation: ConversationView
    my: MyMembership
    rev: int
    messages: list[MessageView]
    members: list[MemberView]
    presence: list[PresenceView]


class Change(Struct, frozen=True):
    """One entry of `conversation.range`: exactly one of the three is set."""

    rev: int
    message: MessageView | UnsetType = UNSET
    member: MemberView | UnsetType = UNSET
    conversation: ConversationView | UnsetType = UNSET


class ChangeRange(Struct, frozen=True):
    changes: list[Change]
    upto_rev: int
    more: bool


class Created(Struct, frozen=True):
    """The answer to CreateDirect: the conversation of the pair and whether this command made it."""

    conversation_id: ConversationId
    created: bool


class ConversationRow(Struct, frozen=True):
    """A conversation that is about to be born."""

    id: ConversationId
    type: ConversationType
    privacy_mode: PrivacyMode
    created_by: UserId
    created_at: WallTime
    members: tuple[UserId, ...]
    name: str | None = None
    description: str | None = None
