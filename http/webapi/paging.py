"""Query parameters of lists: limits, positions, and cursors that mean nothing to a client."""

import base64
import binascii
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct
from werkzeug.datastructures import MultiDict

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, canonical
from actors.shapes.times import Moment, WallTime, wall_time
from webapi.routing import Parameter

Item = TypeVar("Item")
Query = MultiDict[str, str]

DEFAULT_LIMIT: Final = 20
MOST: Final = 100
_BIGGEST: Final = 2**63 - 1
_LATEST: Final = 2**50  # milliseconds: later than any clock of PostgreSQL's
_LATEST_MICROS: Final = 2**56

# For the documentation of routes. 2**53 is as far as every JSON reader counts exactly.
WholeNumber = Annotated[int, Meta(ge=0, le=2**53)]
AtLeastOne = Annotated[int, Meta(ge=1, le=2**53)]
LIMIT: Final = Parameter("limit", f"How many at most: {DEFAULT_LIMIT} by default, {MOST} at most", AtLeastOne)
CURSOR: Final = Parameter("cursor", "`next_cursor` of the page before; none is the first page")


class Page(Struct, Generic[Item], frozen=True):
    """One page of a list; `next_cursor` is the `cursor` of the next one, null on the last."""

    items: list[Item]
    next_cursor: str | None


def bad_query(field: str, message: str) -> KithError:
    return KithError(ErrorCode.INVALID_QUERY, message, details={"field": field})


def limit_of(query: Query, default: int = DEFAULT_LIMIT, most: int = MOST) -> int:
    """More than `most` is clamped; less than 1 or no number is an error."""
    wanted = number_of(query, "limit")
    if wanted is None:
        return default
    if wanted < 1:
        raise bad_query("limit", "`limit` is at least 1")
    return min(wanted, most)


def number_of(query: Query, field: str) -> int | None:
    """A whole number of at least 0, None when it is not given."""
    text = query.get(field)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _BIGGEST):
        raise bad_query(field, f"`{field}` is a whole number")
    return int(text)


def choice_of(query: Query, field: str, allowed: tuple[str, ...], default: str) -> str:
    text = query.get(field, default)
    if text not in allowed:
        raise bad_query(field, f"`{field}` is one of {', '.join(allowed)}")
    return text


def activity_cursor(place: tuple[WallTime, ConversationId]) -> str:
    return _seal(f"{place[0]}.{place[1]}")


def read_activity_cursor(cursor: str) -> tuple[WallTime, ConversationId]:
    moment, _, id = _open(cursor).partition(".")
    known = canonical(id)
    if known is None or not (moment.isascii() and moment.isdigit()) or len(moment) > 16 or int(moment) > _LATEST:
        raise KithError(ErrorCode.INVALID_CURSOR)
    return WallTime(int(moment)), ConversationId(known)


def seq_cursor(direction: str, seq: int) -> str:
    return _seal(f"{direction}.{seq}")


def read_seq_cursor(cursor: str) -> tuple[str, int]:
    """(`before` or `after`, the seq)."""
    direction, _, seq = _open(cursor).partition(".")
    if direction not in ("before", "after") or not (seq.isascii() and seq.isdigit()) or len(seq) > 18:
        raise KithError(ErrorCode.INVALID_CURSOR)
    return direction, int(seq)


def place_cursor(place: tuple[int, str] | None) -> str | None:
    """Of a list whose places are a time in microseconds and an id."""
    return None if place is None else _seal(f"{place[0]}.{place[1]}")


def place_of(query: Query) -> tuple[int, str] | None:
    cursor = query.get("cursor")
    if not cursor:
        return None
    moment, _, id = _open(cursor).partition(".")
    known = canonical(id)
    if known is None or not (moment.isascii() and moment.isdigit()) or len(moment) > 17 or int(moment) > _LATEST_MICROS:
        raise KithError(ErrorCode.INVALID_CURSOR)
    return int(moment), known


def id_in(query: Query, field: str) -> str | None:
    text = query.get(field)
    known = None if text is None else canonical(text)
    if text is not None and known is None:
        raise bad_query(field, f"`{field}` is a UUID")
    return known


def moment_in(query: Query, field: str) -> WallTime | None:
    text = query.get(field)
    if text is None:
        return None
    try:
        return wall_time(msgspec.convert(text, Moment))
    except msgspec.ValidationError:
        raise bad_query(field, f"`{field}` is a time as in `2026-11-20T12:00:00Z`") from None


def _seal(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _open(cursor: str) -> str:
    try:
        if len(cursor) > 200:
            raise ValueError("longer than any of ours")
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        raise KithError(ErrorCode.INVALID_CURSOR) from None
