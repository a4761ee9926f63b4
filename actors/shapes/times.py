"""Wall time as whole milliseconds since 1970, and its text on the wire."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, NewType

from msgspec import Meta

WallTime = NewType("WallTime", int)  # milliseconds since 1970-01-01T00:00:00Z, by PostgreSQL's clock
Seconds = NewType("Seconds", float)

Moment = Annotated[datetime, Meta(tz=True)]  # a time as a client writes it: ISO 8601 with its zone


def wall_time(moment: datetime) -> WallTime:
    return WallTime(round(moment.timestamp() * 1000))


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=16)
def iso(moment: WallTime) -> str:
    """ISO 8601 in UTC with milliseconds; remembered, because all messages of one turn bear the same millisecond."""
    seconds, millis = divmod(moment, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"
