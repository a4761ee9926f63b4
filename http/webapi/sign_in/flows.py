"""The tokens of a sign-in with a provider that is under way: sealed, kept by the client, good for ten minutes and once.

The API has no cookies, so nothing of a flow lies in the browser by itself: a callback that somebody else's browser was
lured into meets a client that holds no flow, or another one.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from actors.sealing import Seals
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.sign_in import FlowSpent, ProviderIdentity
from actors.shapes.times import Seconds, WallTime
from actors.sign_in_ports import AuthorizationCode, AuthorizationRequest

LIFETIME: Final = Seconds(10 * 60.0)
_BEGUN: Final = "oidc flow begun"
_SEEN: Final = "oidc flow seen"


class Flow(Struct, frozen=True):
    """Begun: the provider was not asked yet. `user`: who wants to link, None: somebody wants to sign in."""

    id: str
    expires_at: WallTime
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    user: UserId | None

    @property
    def request(self) -> AuthorizationRequest:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return AuthorizationRequest(self.redirect_uri, self.state, self.nonce, challenge)

    def answered(self, code: str, state: str) -> AuthorizationCode:
        """The provider's answer, if it is one to this flow."""
        if not hmac.compare_digest(state.encode(), self.state.encode()):
            raise wrong("state")
        return AuthorizationCode(code, self.redirect_uri, self.verifier, self.nonce)


class Seen(Struct, frozen=True):
    """The provider has said who it is; only the one-time code is missing. The provider's code is good once, so without
    this whoever mistypes six digits would have to go there again."""

    id: str
    expires_at: WallTime
    identity: ProviderIdentity

    @property
    def spent(self) -> FlowSpent:
        return FlowSpent(self.id, self.expires_at)


Kind = TypeVar("Kind", Flow, Seen)


def begin(id: str, redirect_uri: str, user: UserId | None, now: WallTime) -> Flow:
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Flow(id, WallTime(now + round(LIFETIME * 1000)), state, nonce, verifier, redirect_uri, user)


def sealed(seals: Seals, flow: Flow | Seen) -> str:
    return seals.seal_text(_BEGUN if isinstance(flow, Flow) else _SEEN, msgspec.json.encode(flow))


def open_flow(seals: Seals, token: str, now: WallTime) -> Flow:
    """Raises INVALID_CREDENTIALS for what is not ours, or too old."""
    return _opened(seals.open_text(_BEGUN, token), Flow, now)


def open_seen(seals: Seals, token: str, now: WallTime) -> Seen:
    return _opened(seals.open_text(_SEEN, token), Seen, now)


def wrong(field: str) -> KithError:
    return KithError(
        ErrorCode.INVALID_CREDENTIALS, "This is not the answer to a sign-in that is under way", details={"field": field}
    )


def _opened(plain: bytes | None, kind: type[Kind], now: WallTime) -> Kind:
    if plain is None:
        raise wrong("flow")
    flow = msgspec.json.decode(plain, type=kind)
    if flow.expires_at <= now:
        raise wrong("flow")
    return flow
