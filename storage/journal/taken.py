"""The look-up after a birth that met the pair's conversation: which one it is."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.json import encode

from actors.ports import BirthUnit
from actors.shapes.ids import ConversationId

TAKEN: Final = """
select w.id::text, c.id::text
  from json_to_recordset($1::text::json) as w(id uuid, low uuid, high uuid, privacy_mode text)
  join conversations c on c.type = 'direct' and c.direct_low = w.low and c.direct_high = w.high
                      and c.privacy_mode = w.privacy_mode
"""


class TakenBy(Struct, frozen=True):
    id: str
    by: ConversationId


def pairs(births: Sequence[BirthUnit]) -> str:
    """The pairs of those births that are direct, as the look-up takes them."""
    wanted = []
    for birth in births:
        if birth.row.type == "direct":
            low, high = sorted(birth.row.members)
            wanted.append({"id": birth.row.id, "low": low, "high": high, "privacy_mode": birth.row.privacy_mode})
    return encode(wanted).decode()
