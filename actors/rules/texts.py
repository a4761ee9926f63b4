"""What text may be: its length in code points after NFC, and no U+0000, which PostgreSQL cannot store."""

import unicodedata

from actors.shapes.errors import ErrorCode, KithError, invalid


def check_text(text: str, limit: int, field: str) -> None:
    """Raise KithError if this cannot be a text of at most `limit` characters; whitespace alone is a text."""
    if not text:
        raise invalid(field, f"`{field}` must not be empty")
    if len(text) > limit and (text.isascii() or len(unicodedata.normalize("NFC", text)) > limit):
        raise KithError(
            ErrorCode.CONTENT_TOO_LONG, f"`{field}` has at most {limit:,} characters", details={"field": field}
        )
    if "\x00" in text:
        raise invalid(field, f"`{field}` must not contain U+0000")
