"""Turns a request's body into a typed struct, or into the error that names the field."""

import re
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from actors.rules.payloads import fault
from actors.shapes.errors import ErrorCode, KithError, invalid

Body = TypeVar("Body", bound=msgspec.Struct)

# The escape itself, not the text of one: an even number of backslashes before it are backslashes.
_HAS_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search


@lru_cache(maxsize=64)
def _decoder(kind: type[Body]) -> msgspec.json.Decoder[Body]:
    return msgspec.json.Decoder(kind)


def check_content_type(content_type: str | None, encoding: str | None = None) -> None:
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        # A bomb of a thousand times its size is a few bytes; no client of ours sends bodies worth compressing.
        raise KithError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding")
    kind, _, parameters = (content_type or "").partition(";")
    kind = kind.strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise KithError(ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise KithError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Send UTF-8")


def decode(data: bytes, kind: type[Body]) -> Body:
    """Unknown fields are ignored; of a key given twice the last one counts. NaN is no JSON."""
    try:
        body: Body = _decoder(kind).decode(data)
    except msgspec.ValidationError as error:
        raise fault(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = "The body is not JSON in UTF-8" if data else "The body is empty, and must be JSON"
        raise KithError(ErrorCode.INVALID_PAYLOAD, text) from None
    except RecursionError:
        raise KithError(ErrorCode.INVALID_PAYLOAD, "The body is nested too deeply") from None
    if _HAS_NUL(data):
        _refuse_nul(body)
    return body


def _refuse_nul(value: Any, path: str = "") -> None:
    """PostgreSQL cannot store U+0000. In fields that nobody reads it does no harm."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse_nul(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _refuse_nul(item, f"{path}[{number}]")
    elif isinstance(value, str) and "\x00" in value:
        raise invalid(path, f"`{path}` must not contain U+0000")
