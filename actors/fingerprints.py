"""Keyed hashes of what was asked: they tell a repeat from another request, and a reader of the database nothing."""

import hmac
from typing import Final

_PURPOSE: Final = b"kith fingerprints"


class Fingerprints:
    """Under the present secret; one made under the previous secret is still known."""

    def __init__(self, secret: str, previous: str | None = None) -> None:
        secrets = [secret.encode()] + ([previous.encode()] if previous else [])
        self._keys = [hmac.digest(_PURPOSE, secret, "sha256") for secret in secrets]

    def of(self, asked: bytes) -> str:
        return hmac.digest(self._keys[0], asked, "sha256").hex()

    def knows(self, fingerprint: str, asked: bytes) -> bool:
        """Whether this is the fingerprint of what is asked now."""
        made = [hmac.digest(key, asked, "sha256").hex() for key in self._keys]
        return any(hmac.compare_digest(one, fingerprint) for one in made)
