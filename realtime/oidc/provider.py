"""The port `IdentityProvider`: authorization code with PKCE, for the one provider that is configured."""

import logging
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import trio
from msgspec import Struct, structs

from actors.ports import Clock
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.sign_in import ProviderIdentity
from actors.shapes.times import Seconds
from actors.sign_in_ports import AuthorizationCode, AuthorizationRequest
from realtime.oidc.fetching import Fetcher, ProviderError, decoded
from realtime.oidc.id_token import NonceError, check_nonce, header_of, identity_of
from realtime.oidc.keys import KeyRing

log = logging.getLogger("kith.oidc")

# Providers change their addresses about never; after a failure the next one who asks waits for no second one.
DISCOVER_AGAIN: Final = Seconds(3_600.0)
AFTER_FAILURE: Final = Seconds(5.0)
_NAME: Final = re.compile(r"[a-z_]{1,40}").fullmatch


class ProviderOptions(Struct, frozen=True):
    issuer: str  # without a slash at its end
    client_id: str
    client_secret: str  # empty: a public client
    redirect_uris: Sequence[str]
    scopes: str


class Discovery(Struct, frozen=True):
    """As much of `/.well-known/openid-configuration` as is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class TokenAnswer(Struct, frozen=True):
    id_token: str | None = None
    error: str | None = None


class OpenIdProvider:
    """Nothing that the provider says reaches a log but the names of errors."""

    def __init__(self, options: ProviderOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self.fetcher = Fetcher()
        self._keys = KeyRing(self.fetcher, clock)
        self._lock = trio.Lock()  # of all who come at once one asks
        self._known: Discovery | None = None
        self._ask_again: Seconds = Seconds(0.0)
        self._failed: str | None = None

    @property
    def issuer(self) -> str:
        return self._options.issuer

    @property
    def redirect_uris(self) -> Sequence[str]:
        return self._options.redirect_uris

    async def authorization_url(self, request: AuthorizationRequest) -> str:
        try:
            endpoint = (await self._discovery()).authorization_endpoint
        except ProviderError as error:
            raise _away(error) from None
        scopes = self._options.scopes.split()
        fields = {
            "response_type": "code",
            "client_id": self._options.client_id,
            "redirect_uri": request.redirect_uri,
            "scope": " ".join(scopes if "openid" in scopes else ["openid", *scopes]),
            "state": request.state,
            "nonce": request.nonce,
            "code_challenge": request.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(fields)}"

    async def redeem(self, code: AuthorizationCode) -> ProviderIdentity:
        try:
            discovery = await self._discovery()
            token = await self._id_token(discovery, code)
            header = header_of(token)
            async with self._lock:
                key = await self._keys.key(discovery.jwks_uri, header.alg, header.kid)
            now = self._clock.now()
            identity, nonce = identity_of(token, key, discovery.issuer, self._options.client_id, now)
            check_nonce(nonce, code.nonce)
        except ProviderError as error:
            raise _away(error) from None
        except NonceError:
            raise _wrong_code() from None
        return structs.replace(identity, issuer=self._options.issuer)

    async def _id_token(self, discovery: Discovery, code: AuthorizationCode) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code.code,
            "redirect_uri": code.redirect_uri,
            "code_verifier": code.verifier,
        }
        id, secret = self._options.client_id, self._options.client_secret
        basic = None
        if secret and "client_secret_basic" in discovery.token_endpoint_auth_methods_supported:
            basic = (quote(id, safe=""), quote(secret, safe=""))  # RFC 6749, section 2.3.1
        else:
            form |= {"client_id": id} | ({"client_secret": secret} if secret else {})
        status, body = await self.fetcher.post(discovery.token_endpoint, form, basic)
        answer = decoded(body, TokenAnswer)
        if status == 400 and answer.error == "invalid_grant":
            raise _wrong_code()
        if status != 200 or answer.id_token is None:
            name = answer.error if answer.error is not None and _NAME(answer.error) else "no_id_token"
            raise ProviderError(f"token_{status}_{name}")
        return answer.id_token

    async def _discovery(self) -> Discovery:
        async with self._lock:
            now = self._clock.monotonic()
            if now < self._ask_again:
                if self._known is not None:
                    return self._known
                raise ProviderError(self._failed or "unknown")
            try:
                found = await self._discovered()
            except ProviderError as error:
                self._ask_again, self._failed = Seconds(self._clock.monotonic() + AFTER_FAILURE), error.name
                if self._known is None:
                    raise
                return self._known  # of an hour ago: better than nobody who can sign in
            self._known, self._ask_again = found, Seconds(now + DISCOVER_AGAIN)
            return found

    async def _discovered(self) -> Discovery:
        issuer = self._options.issuer
        found = await self.fetcher.get(f"{issuer}/.well-known/openid-configuration", Discovery)
        # Some end in a slash, which the setting does not keep; apart from it they must be the same.
        if found.issuer.removesuffix("/") != issuer:
            raise ProviderError("another_issuer")
        scheme = urlsplit(issuer).scheme
        for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if not is_usable(address, scheme):
                raise ProviderError("endpoint_not_usable")
        return found


def is_usable(address: str, scheme: str) -> bool:
    """Over TLS as the issuer is, and nothing but an address."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return False
    plain = address.isprintable() and " " not in address and not parts.fragment and parts.username is None
    return plain and bool(parts.hostname) and parts.scheme == scheme


def _away(error: ProviderError) -> KithError:
    log.warning("the sign-in provider failed", extra={"error": error.name})
    return KithError(ErrorCode.UNAVAILABLE, "The sign-in provider does not answer as it should", outcome="none")


def _wrong_code() -> KithError:
    return KithError(
        ErrorCode.INVALID_CREDENTIALS, "The provider's code is not good for this sign-in", details={"field": "code"}
    )
