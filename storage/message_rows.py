"""How a row of `messages` becomes what readers see."""

from typing import Final

from msgspec import UNSET, Struct

from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessageView
from actors.shapes.times import WallTime, iso


def milliseconds(column: str) -> str:
    """SQL of a time as WallTime."""
    return f"(extract(epoch from {column}) * 1000)::bigint"


def iso_or_none(moment: WallTime | None) -> str | None:
    return None if moment is None else iso(moment)


# For `messages m join users s on s.id = m.sender_id`; in the order of MessageRow.
MESSAGE_COLUMNS: Final = f"""m.id::text, m.conversation_id::text, m.seq, m.rev, m.sender_id::text,
 coalesce(nullif(s.display_name, ''), s.username), m.client_id::text, {milliseconds("m.created_at")}, m.body,
 m.encryption_version, m.reply_to::text, m.mentions::text[], {milliseconds("m.edited_at")},
 {milliseconds("m.deleted_at")}, m.deleted_by::text"""


class MessageRow(Struct, frozen=True, gc=False):
    id: MessageId
    conversation_id: ConversationId
    seq: int
    rev: int
    sender_id: UserId
    sender_name: str
    client_id: ClientId
    created_at: WallTime
    body: str | None
    encryption_version: int
    reply_to: MessageId | None
    mentions: list[UserId] | None
    edited_at: WallTime | None
    deleted_at: WallTime | None
    deleted_by: UserId | None

    @property
    def shown(self) -> MessageView:
        """A deleted message is a tombstone: it keeps its place, its text is gone."""
        return MessageView(
            id=self.id,
            conversation_id=self.conversation_id,
            seq=self.seq,
            rev=self.rev,
            sender_id=self.sender_id,
            sender_name=self.sender_name,
            client_id=self.client_id,
            created_at=iso(self.created_at),
            text=None if self.deleted_at is not None else self.body,
            encryption_version=self.encryption_version,
            reply_to=self.reply_to,
            mentions=tuple(self.mentions or ()),
            edited_at=iso_or_none(self.edited_at),
            deleted_at=iso_or_none(self.deleted_at),
            deleted_by=UNSET if self.deleted_at is None else self.deleted_by,
        )
