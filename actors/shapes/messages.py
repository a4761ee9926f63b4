"""A message, as it is stored and as every reader sees it."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.times import WallTime

TEXT_LIMIT = 8_000
MENTIONS_LIMIT = 50
HISTORY_LIMIT = 200
RANGE_LIMIT = 500


class StoredMessage(Struct, frozen=True, gc=False, omit_defaults=True):
    """One row of `messages` as the journal writes it."""

    id: MessageId
    conversation_id: ConversationId
    seq: int
    rev: int
    sender_id: UserId
    client_id: ClientId
    text: str
    created_at: WallTime
    mentions: tuple[UserId, ...] = ()
    reply_to: MessageId | None = None


class DeletedMessage(Struct, frozen=True, gc=False):
    """What a deletion makes of one row of `messages`, as the journal writes it: a tombstone that keeps its place."""

    id: MessageId
    conversation_id: ConversationId
    seq: int
    rev: int
    created_rev: int
    deleted_by: UserId
    deleted_at: WallTime


class MessageFacts(Struct, frozen=True, gc=False):
    """What a decision about a stored message asks of it."""

    id: MessageId
    seq: int
    rev: int
    created_rev: int
    sender_id: UserId
    deleted: bool


class MessageView(Struct, frozen=True, gc=False):
    """A message, without what does not apply and, in events, without what depends on the reader."""

    id: MessageId
    conversation_id: ConversationId
    seq: int
    rev: int
    sender_id: UserId
    sender_name: str
    client_id: ClientId
    created_at: str
    text: str | UnsetType | None = UNSET  # None: a tombstone
    encryption_version: int = 0
    reply_to: MessageId | None = None
    media: tuple[str, ...] = ()
    mentions: tuple[UserId, ...] = ()
    reactions: dict[str, int] = {}
    my_reactions: tuple[str, ...] | UnsetType = UNSET
    edited_at: str | None = None
    deleted_at: str | None = None
    deleted_by: UserId | UnsetType | None = UNSET


class MessageSent(Struct, frozen=True, gc=False):
    """The `ok` of `message.send`."""

    message_id: MessageId
    seq: int
    rev: int
    created_at: str
    duplicate: bool = False


class KeptSend(Struct, frozen=True, gc=False):
    """What an Idempotency-Key keeps of a send: its outcome, and the client id that may have been made for it."""

    sent: MessageSent
    client_id: ClientId


class MessageDeleted(Struct, frozen=True, gc=False):
    """The `ok` of `message.delete`; a repeated one has the same revision."""

    rev: int


class RevMoved(Struct, frozen=True, gc=False):
    """The payload of `rev`: something changed that this member may not see."""

    conversation_id: ConversationId
    rev: int


class MessageTombstone(Struct, frozen=True, gc=False):
    """The payload of `message.deleted`."""

    conversation_id: ConversationId
    message_id: MessageId
    seq: int
    rev: int
    deleted_by: UserId
    deleted_at: str


class MessagePage(Struct, frozen=True):
    """The answer to `message.history`; newest first unless asked otherwise."""

    messages: list[MessageView]
    has_more: bool


Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)]
