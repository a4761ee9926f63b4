"""A conversation's batch in a flush: the compare-and-set of its head, and its new messages."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.json import Encoder

from actors.ports import ConversationUnit
from actors.shapes.ids import ConversationId, MessageId
from actors.shapes.times import WallTime
from storage.journal.part import Fragment

# Read once, joined by index: `locked` takes the rows in id order so that two flushes never wait for each other in a
# circle, passes over what another flush holds, and `won` compares the revision of the row as it is now. When a row
# changed after this statement's snapshot, the update looks again at its newest version (READ COMMITTED), finds another
# rev and leaves it: fenced.
_CTES: Final = """
c_want as materialized (
  select * from json_to_recordset({0}::text::json)
    as w(id uuid, old_rev bigint, new_rev bigint, new_seq bigint, messages bigint, last_id uuid, last_at bigint)
),
c_locked as materialized (
  select w.* from c_want w join conversations c on c.id = w.id order by c.id for no key update of c skip locked
),
c_won as (
  update conversations c
     set rev = w.new_rev, seq = w.new_seq, changed_xid = pg_current_xact_id(),
         last_message_id = coalesce(w.last_id, c.last_message_id),
         last_message_at = coalesce(to_timestamp(w.last_at / 1000.0::float8), c.last_message_at),
         updated_at = coalesce(to_timestamp(w.last_at / 1000.0::float8), c.updated_at)
    from c_locked w
   where c.id = w.id and c.rev = w.old_rev
  returning c.id, w.old_rev, w.new_rev, w.messages
),
c_sent as (
  insert into messages (conversation_id, seq, rev, created_rev, id, sender_id, client_id, created_at, reply_to, body,
                        mentions)
  select m.conversation_id, m.seq, m.rev, m.rev, m.id, m.sender_id, m.client_id,
         to_timestamp(m.created_at / 1000.0::float8), m.reply_to, m.text, nullif(m.mentions, '{{}}')
    from json_to_recordset({1}::text::json)
      as m(id uuid, conversation_id uuid, seq bigint, rev bigint, sender_id uuid, client_id uuid, text text,
           created_at bigint, mentions uuid[], reply_to uuid)
    join c_won on c_won.id = m.conversation_id
  on conflict do nothing
  returning 1
)"""

# A head whose conversation does not exist is fenced: its actor looks again and finds nothing.
_LOST: Final = """
select 'c', w.id::text,
       case when l.id is null and exists (select from conversations c where c.id = w.id)
            then 'contended' else 'fenced' end
  from c_want w left join c_locked l on l.id = w.id
 where not exists (select from c_won where c_won.id = w.id)"""


class _Head(Struct, frozen=True, gc=False):
    id: ConversationId
    old_rev: int
    new_rev: int
    new_seq: int
    messages: int
    last_id: MessageId | None
    last_at: WallTime | None


class ConversationPart:
    letter = "c"
    kind = "c"
    documents = 2
    fragment = Fragment(
        ctes=_CTES,
        heads="select 'c', id, old_rev, new_rev from c_won",
        lost=_LOST,
        stored="(select count(*) from c_sent)",
        announced="(select coalesce(sum(messages), 0)::bigint from c_won)",
    )

    def __init__(self) -> None:
        self._encode = Encoder().encode

    def values(self, units: Sequence[ConversationUnit]) -> tuple[str, ...]:
        # JSON and not one array per column: asyncpg needs 0.2-0.4 us for each element of an array, which made 2.6 us of
        # Python per message; this is 0.7, and PostgreSQL pays 2 us more. The node is the bottleneck, not PostgreSQL.
        heads = [
            _Head(u.id, u.old_rev, u.new_rev, u.new_seq, len(u.messages), u.messages[-1].id, u.messages[-1].created_at)
            if u.messages
            else _Head(u.id, u.old_rev, u.new_rev, u.new_seq, 0, None, None)
            for u in units
        ]
        messages = [message for unit in units for message in unit.messages]
        return self._encode(heads).decode(), self._encode(messages).decode()

    def weigh(self, unit: ConversationUnit) -> tuple[str, int, int]:
        messages = unit.messages
        size = 200 + 500 * len(messages)
        for message in messages:
            size += 4 * len(message.text)
        rows = 1 + len(messages)
        if unit.beside is not None:
            more = len(unit.beside.deleted) + len(unit.beside.keys) + len(unit.beside.audits)
            return unit.id, rows + more, size + 1_000 * more
        return unit.id, rows, size
