"""What an ID token must say before anybody is signed in by it (OpenID Connect Core, section 3.1.3.7)."""

import hmac
from typing import Any, Final

import jwt
import msgspec
from msgspec import Struct

from actors.shapes.sign_in import ProviderIdentity
from actors.shapes.times import Seconds, WallTime
from realtime.oidc.fetching import ProviderError

# Two clocks that are kept differ by less; the flow itself lives for ten minutes.
SKEW: Final = Seconds(60.0)
LONGEST: Final = 16_384  # characters
SUBJECT_LONGEST: Final = 255  # the standard's own bound

_OPTIONS: Final[Any] = {
    "require": ["iss", "sub", "aud", "exp", "iat"],
    # By our clock, below: PyJWT would ask the system's.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "enforce_minimum_key_length": True,
}


class NonceError(Exception):
    """A good token of another sign-in: somebody handed in a code that is not from this one."""


class Header(Struct, frozen=True):
    alg: str
    kid: str | None = None


class Claims(Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str | None = None
    azp: str | None = None
    nbf: int | float | None = None
    email: str | None = None
    email_verified: bool | str | None = None  # some say "true"
    preferred_username: str | None = None


def header_of(token: str) -> Header:
    if len(token) > LONGEST:
        raise ProviderError("id_token_too_long")
    try:
        return msgspec.convert(jwt.get_unverified_header(token), Header)
    except (jwt.PyJWTError, msgspec.MsgspecError, RecursionError):
        raise ProviderError("id_token_malformed") from None


def identity_of(token: str, key: jwt.PyJWK, issuer: str, client_id: str, now: WallTime) -> tuple[ProviderIdentity, str]:
    """Who it is, and the nonce that it was made for. Raises ProviderError."""
    try:
        # The algorithm is the key's, never the token's.
        said = jwt.decode(
            token, key, algorithms=[key.algorithm_name], options=_OPTIONS, audience=client_id, issuer=issuer
        )
        claims = msgspec.convert(said, Claims)
    except jwt.PyJWTError as error:
        raise ProviderError(f"id_token_{type(error).__name__}") from None
    except msgspec.MsgspecError:
        raise ProviderError("id_token_malformed") from None
    _check_times(claims, now)
    if claims.azp not in (None, client_id) or (isinstance(claims.aud, list) and len(claims.aud) > 1 and not claims.azp):
        raise ProviderError("id_token_for_another_client")
    if not 0 < len(claims.sub) <= SUBJECT_LONGEST or "\x00" in claims.sub:
        raise ProviderError("id_token_malformed")
    identity = ProviderIdentity(
        claims.iss, claims.sub, claims.email or None, _verified(claims), claims.preferred_username or None
    )
    return identity, claims.nonce or ""


def check_nonce(said: str, expected: str) -> None:
    if not hmac.compare_digest(said.encode(), expected.encode()):
        raise NonceError


def _check_times(claims: Claims, now: WallTime) -> None:
    seconds = now / 1000
    if claims.exp + SKEW <= seconds:
        raise ProviderError("id_token_expired")
    if claims.iat - SKEW > seconds or (claims.nbf is not None and claims.nbf - SKEW > seconds):
        raise ProviderError("id_token_of_the_future")


def _verified(claims: Claims) -> bool | None:
    said = claims.email_verified
    return said.lower() == "true" if isinstance(said, str) else said
