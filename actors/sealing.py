"""Seals what only this server may read: keys follow from its secret and from what the sealed text is for."""

import binascii
import hmac
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

_LONGEST: Final = 4_096  # characters of a token that a client hands back; ours have under 700


class Seals:
    """XSalsa20-Poly1305 under the present secret; what was sealed under the previous one can still be read.

    `purpose` is part of the key: what was sealed for one user, or for one use, opens for no other, whoever moved it
    there.
    """

    def __init__(self, secret: str, previous: str | None = None) -> None:
        self._secrets = [secret.encode()] + ([previous.encode()] if previous else [])

    def seal(self, purpose: str, plain: bytes) -> bytes:
        return bytes(SecretBox(_key(self._secrets[0], purpose)).encrypt(plain))

    def open(self, purpose: str, sealed: bytes) -> tuple[bytes, bool] | None:
        """What was sealed, and whether the previous secret did it; None when neither did."""
        for number, secret in enumerate(self._secrets):
            try:
                return SecretBox(_key(secret, purpose)).decrypt(sealed), number > 0
            except (CryptoError, ValueError):  # ValueError: too short to be anything
                continue
        return None

    def seal_text(self, purpose: str, plain: bytes) -> str:
        """As a token of letters, digits, `-` and `_` that a client keeps and hands back."""
        sealed = binascii.b2a_base64(self.seal(purpose, plain), newline=False).rstrip(b"=")
        return sealed.decode().replace("+", "-").replace("/", "_")

    def open_text(self, purpose: str, token: str) -> bytes | None:
        if len(token) > _LONGEST or not token.isascii():
            return None
        padded = token.replace("-", "+").replace("_", "/") + "=" * (-len(token) % 4)
        try:
            sealed = binascii.a2b_base64(padded, strict_mode=True)
        except ValueError:
            return None
        opened = self.open(purpose, sealed)
        return None if opened is None else opened[0]


def _key(secret: bytes, purpose: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) for one block, apart from the one that signs access tokens."""
    extracted = hmac.digest(b"kith seals", secret, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")
