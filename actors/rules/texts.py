"""What text may be: its length in code points after NFC, and no U+0000, which PostgreSQL cannot store."""

import unicodedata
from typing import Final

from actors.shapes.errors import ErrorCode, KithError, invalid

_GROWTH: Final = 3  # NFC makes a text at most so many times longer (U+FB2C)


def check_text(text: str, limit: int, field: str) -> None:
    """Raise KithError if this cannot be a text of at most `limit` characters; whitespace alone is a text."""
    if not text:
        raise invalid(field, f"`{field}` must not be empty")
    if len(text) * _GROWTH > limit and _length(text) > limit:
        raise KithError(
            ErrorCode.CONTENT_TOO_LONG, f"`{field}` has at most {limit:,} characters", details={"field": field}
        )
    if "\x00" in text:
        raise invalid(field, f"`{field}` must not contain U+0000")


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(unicodedata.normalize("NFC", text))
