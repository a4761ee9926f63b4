"""What text may be: its length in code points after NFC, and no U+0000, which PostgreSQL cannot store."""

import re
import unicodedata
from typing import Final

from actors.shapes.errors import ErrorCode, KithError, invalid

_GROWTH: Final = 3  # NFC makes a text at most so many times longer (U+FB2C)
_SHRINKAGE: Final = 4  # and at most so many times shorter (U+1FAF is four characters taken apart)
_MARKS_END: Final = 0x1F000  # from here on no character is a combining mark that NFC would sort


def _is_mark(character: str) -> bool:
    """Whether NFC may move it; three Tibetan vowels may be moved only once they are taken apart."""
    return unicodedata.combining(unicodedata.normalize("NFD", character)[0]) != 0


def _marks() -> str:
    found = "".join(character for character in map(chr, range(0x300, _MARKS_END)) if _is_mark(character))
    return f"[{found}]"


# Normalising sorts each run of marks by insertion: one of 64,000 took 6 s, in which the node did nothing else, and a
# body may hold 500,000. More than 30 in a row mean nothing in any language (UAX #15, Stream-Safe Text Format).
# Looked for where a run begins and nowhere else: from each mark of each run it took twelve times as long.
_endless_marks: Final = re.compile(f"(?<!{_marks()}){_marks()}{{31}}").search


def composed(text: str, limit: int) -> str:
    """The text in NFC, in linear time, for whoever refuses one of more than `limit` characters: one that will be longer
    whatever NFC makes of it stays as it is, and so does one with endless marks.

    Before this was asked, a megabyte where an e-mail belongs kept the node from everything else for a second.
    """
    if text.isascii() or len(text) > limit * _SHRINKAGE or _endless_marks(text):
        return text
    return unicodedata.normalize("NFC", text)


def check_text(text: str, limit: int, field: str) -> None:
    """Raise KithError if this cannot be a text of at most `limit` characters; whitespace alone is a text."""
    if not text:
        raise invalid(field, f"`{field}` must not be empty")
    if len(text) * _GROWTH > limit and len(composed(text, limit)) > limit:
        raise KithError(
            ErrorCode.CONTENT_TOO_LONG, f"`{field}` has at most {limit:,} characters", details={"field": field}
        )
    if "\x00" in text:
        raise invalid(field, f"`{field}` must not contain U+0000")
