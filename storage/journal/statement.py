"""The one statement of a flush, put together from the parts that its units need."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from actors.ports import BirthUnit, ConversationUnit, ProfileUnit, Unit
from storage.journal.birth_part import BirthPart
from storage.journal.conversation_part import ConversationPart
from storage.journal.part import Part
from storage.journal.profile_part import ProfilePart
from storage.node import NodeIdentity

# The order is that of the statement: whoever adds a part appends it, so that a node of the former version, running
# beside this one during a deploy, takes its locks in the same order.
PARTS: Final[dict[type[Unit], Part]] = {
    ConversationUnit: ConversationPart(),
    BirthUnit: BirthPart(),
    ProfileUnit: ProfilePart(),
}

# Sent as one prepared statement outside of any transaction: its COMMIT is implied, so a flush is one round trip.
# journal_expect raises KJ001 when a row was passed over, which takes everything back.
_FLUSH: Final = """with {ctes},
receipt as (
  insert into flushes (node, incarnation, n, heads)
  select $1::text, $2::bigint, $3::bigint, coalesce(jsonb_agg(jsonb_build_array(kind, id, old_rev, new_rev)), '[]')
    from ({heads}) h(kind, id, old_rev, new_rev)
)
select '', '', '' where not journal_expect({stored}, {announced})
union all {lost}"""

RECEIPT: Final = """
select coalesce(h ->> 0, ''), coalesce(h ->> 1, '')
  from flushes left join jsonb_array_elements(heads) h on true
 where node = $1 and incarnation = $2 and n = $3
"""


class Flush(Struct, frozen=True):
    """A statement with its values; repeated, it is repeated exactly."""

    sql: str
    values: tuple[object, ...]
    number: int


class Lost(Struct, frozen=True):
    """A unit that the flush did not write, and why."""

    letter: str
    id: str
    verdict: str


_composed: dict[str, str] = {}


def flush_of(identity: NodeIdentity, units: Sequence[Unit]) -> Flush:
    """Put units of any kinds into one statement; raises UnicodeEncodeError when a text cannot be encoded."""
    grouped: dict[type[Unit], list[Unit]] = {}
    for unit in units:
        grouped.setdefault(type(unit), []).append(unit)
    if len(grouped) > 1:
        grouped = {kind: grouped[kind] for kind in PARTS if kind in grouped}
    parts = [PARTS[kind] for kind in grouped]
    number = identity.next_number()
    values: list[object] = [identity.node, identity.incarnation, number]
    for part, same in zip(parts, grouped.values(), strict=True):
        values += part.values(same)
    return Flush(_text(parts), tuple(values), number)


def _text(parts: Sequence[Part]) -> str:
    """At most one text per set of kinds is ever made, so the connection prepares few statements."""
    key = "".join(part.letter for part in parts)
    text = _composed.get(key)
    if text is None:
        fragments = [part.fragment for part in parts]
        places = iter(range(4, 100))  # behind node, incarnation and number
        text = _composed[key] = _FLUSH.format(
            ctes=",".join(
                part.fragment.ctes.format(*(f"${next(places)}" for _ in range(part.documents))) for part in parts
            ),
            heads=" union all ".join(f.heads for f in fragments),
            stored=" + ".join(f.stored for f in fragments),
            announced=" + ".join(f.announced for f in fragments),
            lost=" union all ".join(f.lost for f in fragments),
        )
    return text
