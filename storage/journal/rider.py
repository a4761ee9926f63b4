"""What is written beside units of any kind: a piece of the flush's statement that is there only when a unit has rows
for it."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from actors.ports import Beside

# The id of the row whose revision a unit moves, and what is written with it.
Riding = Sequence[tuple[str, Beside]]


class RiderFragment(Struct, frozen=True):
    """SQL of one kind of rider, for `ctes` with one JSON document {0}; it joins `moved (kind, id)`, the heads that this
    flush won, so that nothing is written beside a unit that lost. `stored` and `announced` as of a Fragment."""

    ctes: str
    stored: str
    announced: str


class Rider(Protocol):
    """To write something else beside units, write one of these and add it to RIDERS in statement.py."""

    letter: str
    fragment: RiderFragment

    def rows(self, beside: Beside) -> int: ...

    def document(self, riding: Riding) -> str:
        """All its rows; raises UnicodeEncodeError when a text cannot be stored."""
        ...
