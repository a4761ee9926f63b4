"""One-time codes: the vectors of the two RFCs, the window, single use, and how often one may guess."""

import base64
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.totp import (
    FREE_FAILURES,
    Paused,
    Wrong,
    code_at,
    judge,
    kind_of,
    otpauth_uri,
    recovery_hash,
    recovery_text,
    secret_text,
    step_of,
    typed,
)
from actors.shapes.sign_in import CodeSpent, Guard
from actors.shapes.times import Seconds, WallTime

SECRET = b"12345678901234567890"
STEP = 60_000_000  # some step; it begins at this moment
BEGIN = WallTime(STEP * 30_000)


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ],
)
def test_the_vectors_of_rfc_6238(moment: int, code: str) -> None:
    """Appendix B, SHA-1; its eight digits end in our six."""
    assert code_at(SECRET, step_of(WallTime(moment * 1000))) == code


def test_the_vectors_of_rfc_4226() -> None:
    codes = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489"
    assert [code_at(SECRET, step) for step in range(10)] == codes.split()


@pytest.mark.parametrize(
    ("offset", "step", "right"),
    [
        (0, STEP - 1, True),
        (0, STEP, True),
        (0, STEP + 1, True),
        (0, STEP - 2, False),
        (0, STEP + 2, False),
        (29_999, STEP + 1, True),
        (29_999, STEP - 1, True),
        (30_000, STEP - 1, False),
        (30_000, STEP + 2, True),
        (-1, STEP + 1, False),
        (-1, STEP - 2, True),
    ],
)
def test_a_code_is_good_from_one_step_before_to_one_after(offset: int, step: int, right: bool) -> None:
    verdict = judge(SECRET, Guard(), code_at(SECRET, step), WallTime(BEGIN + offset))
    assert verdict == (CodeSpent(Guard(), Guard(step)) if right else Wrong(Guard(), Guard(0, 1)))


def test_a_code_is_good_once_and_so_are_those_before_it() -> None:
    spent = judge(SECRET, Guard(), code_at(SECRET, STEP), BEGIN)
    assert isinstance(spent, CodeSpent)
    for step in (STEP, STEP - 1):
        assert isinstance(judge(SECRET, spent.after, code_at(SECRET, step), BEGIN), Wrong)
    assert isinstance(judge(SECRET, spent.after, code_at(SECRET, STEP + 1), BEGIN), CodeSpent)


def test_a_right_code_forgives_what_was_wrong_before() -> None:
    spent = judge(SECRET, Guard(failures=4), code_at(SECRET, STEP), BEGIN)
    assert isinstance(spent, CodeSpent)
    assert spent.after == Guard(STEP)


def test_wrong_codes_are_bounded_and_the_wait_doubles_up_to_an_hour() -> None:
    guard, now, waits = Guard(), BEGIN, []
    for _ in range(12):
        verdict = judge(SECRET, guard, "000000", now)
        assert isinstance(verdict, Wrong)
        guard = verdict.after
        if guard.paused_until is not None:
            waits.append((guard.paused_until - now) // 1000)
            # Not even the right one is looked at, until the wait is over to the millisecond.
            right = code_at(SECRET, step_of(now))
            assert judge(SECRET, guard, right, now) == Paused(Seconds(waits[-1]))
            now = guard.paused_until
            assert judge(SECRET, guard, right, WallTime(now - 1)) == Paused(Seconds(0.001))
            assert isinstance(judge(SECRET, guard, code_at(SECRET, step_of(now)), now), CodeSpent)
    assert waits == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]
    assert guard.failures == 12 == FREE_FAILURES - 1 + len(waits)


def test_a_day_has_as_many_guesses_as_the_comment_says() -> None:
    guard, now, guesses = Guard(), BEGIN, 0
    while now < BEGIN + 86_400_000:
        verdict = judge(SECRET, guard, "000000", now)
        assert isinstance(verdict, Wrong)
        guard, guesses = verdict.after, guesses + 1
        now = guard.paused_until or now
    assert guesses == 33


def test_a_number_of_failures_without_end_is_no_overflow() -> None:
    verdict = judge(SECRET, Guard(failures=10**9), "000000", BEGIN)
    assert isinstance(verdict, Wrong)
    assert verdict.after.paused_until == BEGIN + 3_600_000


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("123456", "code"),
        ("123 456", "code"),
        (" 123456 ", "code"),
        ("12345", "recovery"),
        ("1234567", "recovery"),
        ("", "recovery"),
        ("١٢٣٤٥٦", "recovery"),  # digits of another script: hmac would refuse them, loudly
        ("²²²²²²", "recovery"),
        ("abcd-efgh-ijkl-mnop", "recovery"),
    ],
)
def test_six_digits_are_a_code_of_the_moment_and_all_else_is_not(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_a_code_may_be_typed_as_it_is_shown() -> None:
    assert typed("123 456") == typed(" 123-456") == "123456"


@given(st.binary(min_size=10, max_size=10))
def test_recovery_codes_are_read_however_they_are_typed(random: bytes) -> None:
    text = recovery_text(random)
    assert kind_of(text) == "recovery"
    assert len(text) == 19
    for same in (text.upper(), text.replace("-", ""), text.replace("-", " "), f" {text} "):
        assert recovery_hash(same) == recovery_hash(text)
    assert recovery_hash(text) != recovery_hash(
        recovery_text(bytes(9) + b"\x01" if random != bytes(9) + b"\x01" else bytes(10))
    )


def test_apps_are_told_everything_they_need() -> None:
    uri = urlsplit(otpauth_uri(SECRET, "Kith", "anna+x@example.org"))
    assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", "/Kith:anna+x@example.org")
    fields = {name: value for name, [value] in parse_qs(uri.query).items()}
    assert fields == {
        "secret": secret_text(SECRET), "issuer": "Kith", "algorithm": "SHA1", "digits": "6", "period": "30",
    }  # fmt: skip
    assert base64.b32decode(secret_text(SECRET)) == SECRET
