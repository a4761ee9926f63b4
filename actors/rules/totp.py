"""One-time codes of RFC 6238 (30 s, six digits, SHA-1, as every app makes them): which is right, and how often one may
guess."""

import base64
import hashlib
import hmac
from typing import Final, Literal
from urllib.parse import quote, urlencode

from msgspec import Struct

from actors.shapes.sign_in import CodeSpent, Guard
from actors.shapes.times import Seconds, WallTime

STEP: Final = Seconds(30.0)
DIGITS: Final = 6
WINDOW: Final = 1  # steps before and after: phones are late, and people read and type
SECRET_BYTES: Final = 20  # what RFC 4226 recommends: the size of SHA-1's output
RECOVERY_BYTES: Final = 10  # 80 bits: nobody guesses one, so neither a slow hash nor a count of failures is needed
RECOVERY_CODES: Final = 10

# Five wrong codes are a bad day. After that each costs twice the wait of the one before, up to an hour: 33 guesses on
# the first day and 24 on each after it, of codes of which three in a million are right.
FREE_FAILURES: Final = 5
FIRST_PAUSE: Final = Seconds(60.0)
LONGEST_PAUSE: Final = Seconds(3_600.0)


def code_at(secret: bytes, step: int) -> str:
    """RFC 4226, section 5.3, with the step as its counter."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(moment: WallTime) -> int:
    return moment // round(STEP * 1000)


class Paused(Struct, frozen=True):
    """Too many were wrong: nothing is looked at before this time is over."""

    wait: Seconds


class Wrong(Struct, frozen=True):
    """Not a code of this moment, or one that was used: it counts."""

    before: Guard
    after: Guard


def judge(secret: bytes, guard: Guard, code: str, now: WallTime) -> CodeSpent | Wrong | Paused:
    """A right code moves the last used step past its own, so that it is never right again."""
    if guard.paused_until is not None and now < guard.paused_until:
        return Paused(Seconds((guard.paused_until - now) / 1000))
    right = 0
    for step in range(step_of(now) - WINDOW, step_of(now) + WINDOW + 1):
        # All of them are compared, whatever was found: the time it takes tells nothing of which one it was.
        fits = hmac.compare_digest(code_at(secret, step).encode(), code.encode())
        if fits and step > guard.last_step:
            right = step
    if right:
        return CodeSpent(guard, Guard(right))
    failures = guard.failures + 1
    return Wrong(guard, Guard(guard.last_step, failures, _paused_until(failures, now)))


def _paused_until(failures: int, now: WallTime) -> WallTime | None:
    if failures < FREE_FAILURES:
        return None
    doublings = min(failures - FREE_FAILURES, 10)  # far beyond the longest, and no number without end
    return WallTime(now + round(min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE) * 1000))


def kind_of(code: str) -> Literal["code", "recovery"]:
    """Six digits are of the moment; everything else would be a recovery code."""
    plain = _plain(code)
    return "code" if len(plain) == DIGITS and plain.isascii() and plain.isdigit() else "recovery"


def typed(code: str) -> str:
    """A code of the moment without the spaces that apps show in it."""
    return _plain(code)


def recovery_text(random: bytes) -> str:
    """`k3v9-…`: four groups of four, in letters and digits that are not mistaken for each other."""
    plain = base64.b32encode(random).decode().lower()
    return "-".join(plain[at : at + 4] for at in range(0, len(plain), 4))


def recovery_hash(code: str) -> bytes:
    """A plain hash will do: 80 random bits are no word that somebody chose."""
    return hashlib.sha256(_plain(code).lower().encode()).digest()


def secret_text(secret: bytes) -> str:
    return base64.b32encode(secret).decode()


def otpauth_uri(secret: bytes, issuer: str, account: str) -> str:
    """What apps read from a QR code. The issuer is said twice because some read it here and some there."""
    label = quote(f"{issuer}:{account}", safe="@:")
    fields = {
        "secret": secret_text(secret),
        "issuer": issuer,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": int(STEP),
    }
    return f"otpauth://totp/{label}?{urlencode(fields, quote_via=quote)}"


def _plain(code: str) -> str:
    return code.replace(" ", "").replace("-", "")
