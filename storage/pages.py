"""Conditions of a list and where its pages begin; every value is a parameter, none is ever part of a statement."""

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from actors.shapes.moderation import Place

ItemT = TypeVar("ItemT", covariant=True)
Item = TypeVar("Item")

BEFORE: Final = "<"  # the next page has what is older
AFTER: Final = ">"  # or what is newer


class Row(Protocol[ItemT]):
    @property
    def shown(self) -> ItemT: ...

    @property
    def place(self) -> Place: ...


class Conditions:
    """A WHERE clause and its values."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._all: list[str] = []

    def value(self, value: object) -> str:
        """The name of a parameter with this value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str, *values: object) -> None:
        """`condition` with `{}` for each value."""
        self._all.append(condition.format(*map(self.value, values)))

    def equal(self, column: str, value: object) -> None:
        """None: any will do."""
        if value is not None:
            self.add(f"{column} = {{}}", value)

    def place(self, direction: str, column: str, place: Place | None) -> None:
        """Behind this row. In microseconds, as they are stored: a coarser place would lose the others of its time."""
        if place is not None:
            moment = "timestamptz 'epoch' + {}::bigint * interval '1 microsecond'"
            self.add(f"({column}, id) {direction} ({moment}, {{}}::uuid)", *place)

    def __str__(self) -> str:
        return "where " + " and ".join(self._all) if self._all else ""


def microseconds(column: str) -> str:
    """SQL of a time as the first half of a Place."""
    return f"(extract(epoch from {column}) * 1000000)::bigint"


def page_of(rows: Sequence[Row[Item]], limit: int) -> tuple[list[Item], Place | None]:
    """Of limit + 1 rows the page, and where the next one begins."""
    page = [row.shown for row in rows[:limit]]
    return page, (rows[limit - 1].place if len(rows) > limit else None)
