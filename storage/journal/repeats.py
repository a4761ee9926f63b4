"""The probe after a flush that passed over a row: which of its client ids are stored already, and as what."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from actors.ports import ConversationUnit, Unit
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessageSent
from actors.shapes.times import WallTime, iso

REPEATS: Final = """
select m.conversation_id::text, m.sender_id::text, m.client_id::text, m.id::text, m.seq, m.created_rev,
       (extract(epoch from m.created_at) * 1000)::bigint, case when m.deleted_at is null then coalesce(m.body, '') end
  from unnest($1::uuid[], $2::uuid[], $3::uuid[]) k(conversation_id, sender_id, client_id)
  join messages m using (conversation_id, sender_id, client_id)
"""

FoundRepeats = dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]


class Repeated(Struct, frozen=True):
    conversation_id: ConversationId
    sender_id: UserId
    client_id: ClientId
    message_id: MessageId
    seq: int
    rev: int
    created_at: WallTime
    text: str | None  # None: deleted since


def sent_keys(units: Iterable[Unit]) -> tuple[list[str], list[str], list[str]]:
    """Conversation, author and client id of every new message, as three columns."""
    messages = [message for unit in units if isinstance(unit, ConversationUnit) for message in unit.messages]
    return (
        [message.conversation_id for message in messages],
        [message.sender_id for message in messages],
        [message.client_id for message in messages],
    )


def repeats_by_conversation(rows: Sequence[Repeated]) -> dict[str, FoundRepeats]:
    found: dict[str, FoundRepeats] = {}
    for row in rows:
        sent = MessageSent(row.message_id, row.seq, row.rev, iso(row.created_at), duplicate=True)
        found.setdefault(row.conversation_id, {})[row.sender_id, row.client_id] = (sent, row.text)
    return found
