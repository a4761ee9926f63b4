"""What a handler gives back, and the one body of every error."""

import gzip
import math
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import WallTime, iso

encode: Final = msgspec.json.Encoder().encode
JSON: Final = "application/json"

Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    """A value to encode, or bytes that are encoded already."""

    value: object
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON

    def body(self) -> bytes:
        if isinstance(self.value, bytes):
            return self.value
        return b"" if self.status == 204 else encode(self.value)


# What `details` may hold: `field` and `value` of what does not fit, `allowed` methods, `outcome`, `by`, and whatever
# else one code needs. Names come and go with codes, so readers are promised the kinds of values only.
Detail = str | int | float | bool | list[str] | None


class ErrorBody(Struct, frozen=True):
    code: str
    message: str
    details: dict[str, Detail]


class Failure(Struct, frozen=True):
    """Errors have everywhere the same body."""

    error: ErrorBody
    request_id: str
    timestamp: str


def failed(error: KithError, request_id: str, now: WallTime) -> Answer:
    """The answer that tells this error."""
    headers: Headers = []
    if error.retry_after is not None and error.status in (429, 503):
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after)))))
    if error.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if error.code is ErrorCode.METHOD_NOT_ALLOWED:
        headers.append(("Allow", ", ".join(error.details["allowed"])))
    details = error.details
    if error.status == 503:
        details = {**details, "outcome": error.outcome}
    body = ErrorBody(error.code, error.message, details)
    return Answer(Failure(body, request_id, iso(now)), error.status, tuple(headers))


def compressed(body: bytes) -> bytes:
    # Level 1: 60 % of the work of level 6 for nearly the same size of JSON; mtime 0 keeps equal bodies equal.
    return gzip.compress(body, compresslevel=1, mtime=0)
