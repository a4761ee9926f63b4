"""The one statement of a flush, put together from the parts that its units need."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from actors.ports import Beside, BirthUnit, ConversationUnit, ProfileUnit, Unit
from storage.journal.audit_rider import AuditRider
from storage.journal.birth_part import BirthPart
from storage.journal.conversation_part import ConversationPart
from storage.journal.deletion_rider import DeletionRider
from storage.journal.key_rider import KeyRider
from storage.journal.part import Part
from storage.journal.profile_part import ProfilePart
from storage.journal.rider import Rider
from storage.node import NodeIdentity

# The order is that of the statement: whoever adds a part appends it, so that a node of the former version, running
# beside this one during a deploy, takes its locks in the same order.
PARTS: Final[dict[type[Unit], Part]] = {
    ConversationUnit: ConversationPart(),
    BirthUnit: BirthPart(),
    ProfileUnit: ProfilePart(),
}
# In the order of the statement, behind all parts; appended to for the same reason.
RIDERS: Final[Sequence[Rider]] = (DeletionRider(), KeyRider(), AuditRider())

_MOVED: Final = """,
moved as materialized (
  select h.kind, h.id from ({heads}) h(kind, id, old_rev, new_rev)
)"""

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
    riding: list[tuple[str, Beside]] = []
    for unit in units:
        grouped.setdefault(type(unit), []).append(unit)
        if unit.beside is not None:
            riding.append((address_of(unit), unit.beside))
    if len(grouped) > 1:
        grouped = {kind: grouped[kind] for kind in PARTS if kind in grouped}
    parts = [PARTS[kind] for kind in grouped]
    number = identity.next_number()
    values: list[object] = [identity.node, identity.incarnation, number]
    for part, same in zip(parts, grouped.values(), strict=True):
        values += part.values(same)
    riders: Sequence[Rider] = ()
    if riding:
        riders = [rider for rider in RIDERS if any(rider.rows(beside) for _, beside in riding)]
        values += [rider.document(riding) for rider in riders]
    return Flush(_text(parts, riders), tuple(values), number)


def address_of(unit: Unit) -> str:
    """The id of the row whose revision it moves."""
    return PARTS[type(unit)].weigh(unit)[0]


def _text(parts: Sequence[Part], riders: Sequence[Rider]) -> str:
    """At most one text per set of kinds is ever made, so the connection prepares few statements."""
    key = "".join([part.letter for part in parts] + [rider.letter for rider in riders])
    text = _composed.get(key)
    if text is None:
        fragments = [part.fragment for part in parts]
        beside = [rider.fragment for rider in riders]
        places = iter(range(4, 100))  # behind node, incarnation and number
        heads = " union all ".join(f.heads for f in fragments)
        ctes = [part.fragment.ctes.format(*(f"${next(places)}" for _ in range(part.documents))) for part in parts]
        if riders:
            ctes[-1] += _MOVED.format(heads=heads)
            ctes += [fragment.ctes.format(f"${next(places)}") for fragment in beside]
        text = _composed[key] = _FLUSH.format(
            ctes=",".join(ctes),
            heads=heads,
            stored=" + ".join([f.stored for f in fragments] + [f.stored for f in beside]),
            announced=" + ".join([f.announced for f in fragments] + [f.announced for f in beside]),
            lost=" union all ".join(f.lost for f in fragments),
        )
    return text
