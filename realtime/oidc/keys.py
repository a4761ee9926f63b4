"""The provider's public keys: fetched when one is missing, and kept; which of them may have signed what."""

from typing import Any, Final

import jwt
from msgspec import Struct

from actors.ports import Clock
from actors.shapes.times import Seconds
from realtime.oidc.fetching import Fetcher, ProviderError

# What names no key pair (`none`, HS256 with the public key as its secret) is not among them.
KINDS: Final = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
# A token may name any key it likes, so an unknown one is asked for once a minute and not once a token.
REFETCH: Final = Seconds(60.0)
# A key that the provider has withdrawn, because somebody stole it, is not good here for ever.
KEPT_FOR: Final = Seconds(3_600.0)
MOST_KEYS: Final = 100


class JsonWebKeys(Struct, frozen=True):
    keys: list[dict[str, Any]]  # foreign ground: what we do not know is to be ignored


class KeyRing:
    """The keys of one provider, whose address its discovery document names."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self._fetched: Seconds | None = None

    async def key(self, jwks_uri: str, algorithm: str, kid: str | None) -> jwt.PyJWK:
        """Raises ProviderError when the provider has no such key."""
        if algorithm not in KINDS:
            raise ProviderError("algorithm_not_allowed")
        found = self._find(algorithm, kid)
        if self._may_fetch(KEPT_FOR if found is not None else REFETCH):
            self._fetched = self._clock.monotonic()  # also if it fails: a provider in trouble is not asked in a loop
            try:
                self._keys = (await self._fetcher.get(jwks_uri, JsonWebKeys)).keys[:MOST_KEYS]
            except ProviderError:
                if found is None:
                    raise
                return self._made(found, algorithm)  # as with its description: of an hour ago, and better than none
            found = self._find(algorithm, kid)
        if found is None:
            raise ProviderError("unknown_key")
        return self._made(found, algorithm)

    def _made(self, found: dict[str, Any], algorithm: str) -> jwt.PyJWK:
        try:
            return jwt.PyJWK(found, algorithm)
        except jwt.PyJWTError:
            raise ProviderError("unusable_key") from None

    def _may_fetch(self, after: Seconds) -> bool:
        return self._fetched is None or self._clock.monotonic() >= self._fetched + after

    def _find(self, algorithm: str, kid: str | None) -> dict[str, Any] | None:
        kind, curve = KINDS[algorithm]
        fitting = [
            key
            for key in self._keys
            if key.get("kty") == kind
            and (curve is None or key.get("crv") == curve)
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ]
        # A token without a kid is only for a provider with one key; to try them all would be to guess.
        return fitting[0] if fitting and (kid is not None or len(fitting) == 1) else None
