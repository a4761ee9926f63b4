"""A conversation's birth in a flush: its row, its members, and the head [0, 1]."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.json import Encoder

from actors.ports import BirthUnit
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime
from storage.journal.part import Fragment

# A pair that has its conversation already is no error: the row is passed over, and the journal looks up whose it is.
# The order keeps two flushes that bear the same pairs from waiting for each other in a circle.
_CTES: Final = """
b_want as materialized (
  select * from json_to_recordset({0}::text::json)
    as w(id uuid, type text, privacy_mode text, created_by uuid, created_at bigint, name text, description text,
         low uuid, high uuid, members int)
),
b_won as (
  insert into conversations (id, type, privacy_mode, created_by, created_at, updated_at, name, description,
                             direct_low, direct_high, member_count, rev)
  select w.id, w.type, w.privacy_mode, w.created_by, to_timestamp(w.created_at / 1000.0::float8),
         to_timestamp(w.created_at / 1000.0::float8), w.name, w.description, w.low, w.high, w.members, 1
    from b_want w
   order by w.low, w.high, w.privacy_mode, w.id
  on conflict do nothing
  returning id, member_count, created_at
),
b_members as (
  insert into conversation_members (conversation_id, user_id, role, joined_rev, joined_at, rev)
  select b.id, m.user_id, m.role, 1, b.created_at, 1
    from json_to_recordset({1}::text::json) as m(conversation_id uuid, user_id uuid, role text)
    join b_won b on b.id = m.conversation_id
  returning 1
)"""


class _Birth(Struct, frozen=True):
    id: ConversationId
    type: str
    privacy_mode: str
    created_by: UserId
    created_at: WallTime
    name: str | None
    description: str | None
    low: UserId | None
    high: UserId | None
    members: int


class _Member(Struct, frozen=True):
    conversation_id: ConversationId
    user_id: UserId
    role: str


class BirthPart:
    letter = "b"
    kind = "c"
    documents = 2
    fragment = Fragment(
        ctes=_CTES,
        heads="select 'c', id, 0::bigint, 1::bigint from b_won",
        lost="select 'b', w.id::text, 'taken' from b_want w where not exists (select from b_won where b_won.id = w.id)",
        stored="(select count(*) from b_members)",
        announced="(select coalesce(sum(member_count), 0)::bigint from b_won)",
    )

    def __init__(self) -> None:
        self._encode = Encoder().encode

    def values(self, units: Sequence[BirthUnit]) -> tuple[str, ...]:
        births = []
        members = []
        for unit in units:
            row = unit.row
            # Canonical text of UUIDs sorts as PostgreSQL sorts them.
            low, high = sorted(row.members) if row.type == "direct" else (None, None)
            births.append(
                _Birth(
                    row.id,
                    row.type,
                    row.privacy_mode,
                    row.created_by,
                    row.created_at,
                    row.name,
                    row.description,
                    low,
                    high,
                    len(row.members),
                )
            )
            owner = row.created_by if row.type == "group" else None
            members += [_Member(row.id, user, "owner" if user == owner else "member") for user in row.members]
        return self._encode(births).decode(), self._encode(members).decode()

    def weigh(self, unit: BirthUnit) -> tuple[str, int, int]:
        members = len(unit.row.members)
        return unit.row.id, 1 + members, 1_000 + 200 * members
