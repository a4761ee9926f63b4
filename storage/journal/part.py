"""What one kind of unit adds to the statement of a flush."""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct


class Fragment(Struct, frozen=True):
    """SQL of one kind of unit; `ctes` names its parameters, JSON documents, {0}, {1} and so on.

    heads     select kind, id, old, new: what this flush changed, for the receipt
    lost      select kind, id, verdict of every unit that was not written
    stored    a scalar: rows stored beneath the heads
    announced a scalar: rows that the winning heads said there would be
    """

    ctes: str
    heads: str
    lost: str
    stored: str = "0"
    announced: str = "0"


class Part(Protocol):
    """One kind of unit. To make another table durable, write one of these and add it to PARTS in statement.py.

    `Any` stands for the kind of unit a part takes; statement.py hands each part its own kind only.
    """

    letter: str  # of its kind of unit, in `lost`
    kind: str  # of its heads, in the receipt
    documents: int  # how many parameters it has
    fragment: Fragment

    def values(self, units: Sequence[Any]) -> tuple[str, ...]:
        """All units as JSON documents; raises UnicodeEncodeError when a text cannot be stored."""
        ...

    def weigh(self, unit: Any) -> tuple[str, int, int]:
        """(the id of the row whose revision it moves, its rows, about how many bytes it occupies while it waits)."""
        ...
