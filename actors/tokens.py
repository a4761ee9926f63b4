"""Access tokens (Ed25519 JWT, made and checked here) and refresh tokens (random, kept by others as a hash only)."""

import binascii
import hashlib
import hmac
import secrets
from typing import Any, Final

import msgspec
from msgspec import Struct
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId, canonical
from actors.shapes.times import Seconds, WallTime

ISSUER: Final = "kith"
ACCESS_LIFETIME: Final = Seconds(15 * 60)
# Provisioned load tokens live that long, and ACCESS_TOKEN_MINUTES allows no more; so long a revocation is remembered.
LONGEST_LIFETIME: Final = Seconds(24 * 3600)
_LONGEST: Final = 1_024  # ours have 380 characters
_SIGNATURE: Final = 64


class Claims(Struct, frozen=True, gc=False):
    """What a valid access token says."""

    user_id: UserId
    login_id: LoginId
    issued_at: WallTime
    expires_at: WallTime


class _Payload(Struct, frozen=True, gc=False):
    sub: str
    sid: str
    iat: int
    exp: int
    iss: str
    aud: str


_decode_payload: Final = msgspec.json.Decoder(_Payload).decode


class SigningKey:
    """One key pair, derived from a configured secret, with the one header that tokens of it carry."""

    def __init__(self, secret: str) -> None:
        self.public, self._private = crypto_sign_seed_keypair(_seed(secret.encode()))
        x = _encode(self.public)
        # RFC 7638: the members in this order, nothing else; so the id follows from the key alone.
        thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
        self.kid = _encode(thumbprint)[:16]
        self.header = _encode(f'{{"alg":"EdDSA","typ":"JWT","kid":"{self.kid}"}}'.encode())
        self.jwk = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": x,
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        }

    def sign(self, text: str) -> str:
        signed: bytes = crypto_sign(text.encode(), self._private)
        return _encode(signed[:_SIGNATURE])


class TokenAuthority:
    """Issues tokens with the current key; accepts those of the previous secret too, until they expire."""

    def __init__(self, secret: str, previous: str | None = None, lifetime: Seconds = ACCESS_LIFETIME) -> None:
        self._key = SigningKey(secret)
        self._accepted = [self._key] + ([SigningKey(previous)] if previous else [])
        # A token's header is looked up, never parsed: what names another algorithm, no algorithm, a key
        # inside the token or a key elsewhere is simply not one of ours.
        self._by_header = {key.header: key.public for key in self._accepted}
        self.lifetime = lifetime

    def issue(self, user: UserId, login: LoginId, now: WallTime, lifetime: Seconds | None = None) -> str:
        issued = now // 1000
        lasts = self.lifetime if lifetime is None else lifetime
        if lasts > LONGEST_LIFETIME:
            raise ValueError(f"a token of {lasts:g} s would outlive the memory of its login's revocation")
        expires = issued + int(lasts)
        payload = _Payload(user, login, issued, expires, ISSUER, ISSUER)
        text = f"{self._key.header}.{_encode(msgspec.json.encode(payload))}"
        return f"{text}.{self._key.sign(text)}"

    def verify(self, token: str, now: WallTime) -> Claims:
        """Raises INVALID_TOKEN or TOKEN_EXPIRED. Whether the login was revoked meanwhile is not known here.

        Measured per call: 54 us libsodium (PyJWT: 134, cryptography's own verify: 104), 5 us the rest.
        """
        payload = self._open(token)
        user, login = canonical(payload.sub), canonical(payload.sid)
        if payload.iss != ISSUER or payload.aud != ISSUER or user is None or login is None:
            raise KithError(ErrorCode.INVALID_TOKEN)
        if payload.exp * 1000 <= now:
            raise KithError(ErrorCode.TOKEN_EXPIRED)
        return Claims(
            UserId(user),
            LoginId(login),
            WallTime(payload.iat * 1000),
            WallTime(payload.exp * 1000),
        )

    def jwks(self) -> dict[str, Any]:
        """The public keys, for `/.well-known/jwks.json`."""
        return {"keys": [key.jwk for key in self._accepted]}

    def _open(self, token: str) -> _Payload:
        if len(token) > _LONGEST:
            raise KithError(ErrorCode.INVALID_TOKEN)
        text, _, signature = token.rpartition(".")
        header, _, body = text.partition(".")
        public = self._by_header.get(header)
        try:
            if public is None:
                raise ValueError("no key of ours")
            sealed = _decode(signature)
            if len(sealed) != _SIGNATURE:
                raise ValueError("no Ed25519 signature")
            crypto_sign_open(sealed + text.encode(), public)
            return _decode_payload(_decode(body))
        except (ValueError, BadSignatureError, msgspec.DecodeError):
            raise KithError(ErrorCode.INVALID_TOKEN) from None


def new_refresh_token() -> str:
    return secrets.token_urlsafe(32)


def hash_refresh_token(token: str) -> bytes:
    """A plain hash will do: the token is 256 random bits and not a word somebody chose."""
    return hashlib.sha256(token.encode()).digest()


def _seed(secret: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) for one block: the configured secret may be of any length and shape."""
    extracted = hmac.digest(b"kith access tokens", secret, "sha256")
    return hmac.digest(extracted, b"ed25519 seed\x01", "sha256")


def _encode(data: bytes) -> str:
    text = binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()
    return text.replace("+", "-").replace("/", "_")


def _decode(text: str) -> bytes:
    if "+" in text or "/" in text or "=" in text:
        raise ValueError("not base64url")
    padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    data = binascii.a2b_base64(padded, strict_mode=True)
    # The last character carries spare bits: without this one token would have sixteen spellings.
    if _encode(data) != text:
        raise ValueError("not canonical base64url")
    return data
