"""What a text may be: counted as people count after NFC, never empty, never with a character that cannot be stored."""

import sys
import unicodedata
from collections.abc import Callable
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.accounts import (
    INTEREST_LIMIT,
    check_email,
    check_password,
    check_profile,
    email_key,
    username_from_claims,
)
from actors.rules.moderation import check_reason
from actors.rules.texts import check_text, composed
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.messages import TEXT_LIMIT
from actors.shapes.users import UpdateProfile

COMPOSED = "\u00e9"
DECOMPOSED = "e\u0301"
GROWS = "\ufb2c"  # three code points in NFC: the largest growth there is


def verdict(text: str, limit: int = 9) -> ErrorCode | None:
    try:
        check_text(text, limit, "text")
    except KithError as error:
        return error.code if error.details == {"field": "text"} else None
    return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", None),
        (" ", None),
        ("a" * 9, None),
        ("a" * 10, ErrorCode.CONTENT_TOO_LONG),
        ("", ErrorCode.INVALID_PAYLOAD),
        ("a\x00b", ErrorCode.INVALID_PAYLOAD),
        ("\x00", ErrorCode.INVALID_PAYLOAD),
        (COMPOSED * 9, None),
        (COMPOSED * 10, ErrorCode.CONTENT_TOO_LONG),
        (DECOMPOSED * 9, None),  # 18 code points as sent, 9 as counted
        (DECOMPOSED * 10, ErrorCode.CONTENT_TOO_LONG),
        ("😀" * 9, None),
        (GROWS * 3, None),
        (GROWS * 4, ErrorCode.CONTENT_TOO_LONG),
    ],
)
def test_what_a_text_may_be(text: str, expected: ErrorCode | None) -> None:
    assert verdict(text) == expected


def test_a_text_that_grows_in_nfc_is_measured_after_it() -> None:
    """Only texts longer than the limit were normalised. So 8,000 characters that NFC writes as 24,000 were taken."""
    assert verdict(GROWS * 8_000, limit=8_000) is ErrorCode.CONTENT_TOO_LONG


@given(st.text(max_size=40), st.integers(1, 12))
def test_the_short_cut_decides_like_the_definition(text: str, limit: int) -> None:
    expected: ErrorCode | None
    if not text:
        expected = ErrorCode.INVALID_PAYLOAD
    elif len(unicodedata.normalize("NFC", text)) > limit:
        expected = ErrorCode.CONTENT_TOO_LONG
    else:
        expected = ErrorCode.INVALID_PAYLOAD if "\x00" in text else None
    assert verdict(text, limit) == expected


@pytest.mark.parametrize(
    "pair", ["\u0301\u0316", "\u0f73\u0f73", "\U0001e8d0\u0301"], ids=["greek", "tibetan", "mende"]
)
def test_endless_marks_cost_no_more_than_other_text(pair: str) -> None:
    """Sorting them is quadratic: 250,000 in one request stopped the node for minutes, before anybody had signed in."""
    begun = process_time()
    assert composed("a" + pair * 125_000, 250_001) == "a" + pair * 125_000
    assert verdict("a" + pair * 125_000, limit=8_000) is ErrorCode.CONTENT_TOO_LONG
    assert process_time() - begun < 1.0


def test_a_run_of_thirty_marks_is_still_composed() -> None:
    assert composed("e" + "\u0301" * 30, 31) == "\u00e9" + "\u0301" * 29
    assert composed("e" + "\u0316\u0301" * 15, 31) == unicodedata.normalize("NFC", "e" + "\u0316\u0301" * 15)


def test_every_mark_there_is_counts_as_one() -> None:
    marks = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.combining(c)]
    assert len(marks) > 900
    assert all(composed("e" + mark * 200, 201) == "e" + mark * 200 for mark in marks)


TIRING = {
    "growing": GROWS,
    "greek": "\u0390",  # of all single characters the slowest to casefold and compose
    "runs": "a" + "\u0301" * 15 + "\u0327" * 15,
    "endless": "\u0301\u0327",
    "astral": "a" + "\U0001d165" * 15 + "\U0001d16d" * 15,
}


@pytest.mark.parametrize("kind", TIRING)
def test_a_megabyte_is_refused_at_once_wherever_a_text_belongs(kind: str) -> None:
    """Each took up to two seconds, in which the node did nothing else: registering did it before anything was paid."""
    text = TIRING[kind] * (1_000_000 // len(TIRING[kind].encode()))
    checks: list[Callable[[], object]] = [
        lambda: check_email(f"{text}@example.org"),
        lambda: check_email(f"anna@{text}.example.org"),
        lambda: check_password(text),
        lambda: check_reason(text, "text"),
        lambda: check_text(text, TEXT_LIMIT, "text"),
        lambda: check_profile(UpdateProfile(bio=text)),
        lambda: check_profile(UpdateProfile(display_name=text)),
        lambda: check_profile(UpdateProfile(interests=(text[:INTEREST_LIMIT],) * 20_000)),
    ]
    begun = process_time()
    email_key(text)
    username_from_claims(text, "anna@example.org")
    for check in checks:
        with pytest.raises(KithError):
            check()
    assert process_time() - begun < 0.1


@pytest.mark.parametrize("kind", TIRING)
def test_the_longest_that_is_composed_takes_milliseconds(kind: str) -> None:
    text = (TIRING[kind] * TEXT_LIMIT)[: TEXT_LIMIT * 4]
    begun = process_time()
    composed(text, TEXT_LIMIT)
    assert process_time() - begun < 0.1


def test_no_character_comes_of_more_than_four() -> None:
    """What is four times too long is too long in NFC, too."""
    assert max(len(unicodedata.normalize("NFD", chr(code))) for code in range(sys.maxunicode + 1)) == 4


def test_space_around_a_text_does_not_keep_it_from_being_composed() -> None:
    assert check_reason(" " * 50_000 + DECOMPOSED, "text") == COMPOSED
    assert check_profile(UpdateProfile(bio=" " * 50_000 + DECOMPOSED)).bio == COMPOSED
