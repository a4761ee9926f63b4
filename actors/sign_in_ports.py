"""What signing in needs of the world beside accounts: a store of codes and identities, and the provider itself."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from actors.ports import WriteToken
from actors.shapes.ids import UserId
from actors.shapes.sign_in import (
    Guard,
    IdentityView,
    LinkIdentity,
    Opening,
    Proof,
    ProviderIdentity,
    RegisterWithIdentity,
    Totp,
    UnlinkIdentity,
)
from actors.shapes.users import Account


class SignInStore(Protocol):
    """One-time codes and identities. Each write is its own transaction and takes the writer's token.

    A write that is decided on a `Proof` is a compare-and-set on it: False (or None) says that it does not hold any
    more, nothing was written, and the caller looks again.
    """

    async def totp(self, id: UserId) -> Totp | None: ...

    async def begin_totp(self, token: WriteToken, id: UserId, sealed: bytes, checked: str) -> bool:
        """False: codes are asked for already. Raises INVALID_CREDENTIALS as `AccountStore.open_login`."""
        ...

    async def confirm_totp(self, token: WriteToken, id: UserId, proof: Proof, recovery: Sequence[bytes]) -> bool:
        """Ask for codes from now on, with these hashes of recovery codes."""
        ...

    async def note_failure(self, token: WriteToken, id: UserId, before: Guard, after: Guard) -> bool: ...

    async def spend_code(self, token: WriteToken, id: UserId, proof: Proof) -> bool:
        """Nothing but that. Repeated after a lost answer it says False: a code shown twice is never taken twice."""
        ...

    async def disable_totp(self, token: WriteToken, id: UserId, proof: Proof, checked: str) -> bool: ...

    async def renew_recovery(
        self, token: WriteToken, id: UserId, proof: Proof, recovery: Sequence[bytes], checked: str
    ) -> bool: ...

    async def open_login(self, token: WriteToken, id: UserId, opening: Opening) -> Account | None:
        """Raises INVALID_CREDENTIALS when the password was changed, the identity is another's, or the flow is spent."""
        ...

    async def owner(self, issuer: str, subject: str) -> UserId | None:
        """Whose sign-in this is."""
        ...

    async def identities(self, id: UserId) -> list[IdentityView]: ...

    async def register(self, token: WriteToken, id: UserId, command: RegisterWithIdentity) -> Account:
        """Raises EMAIL_TAKEN, USERNAME_TAKEN; INVALID_CREDENTIALS when the flow is spent or the identity somebody's."""
        ...

    async def link(self, token: WriteToken, id: UserId, command: LinkIdentity) -> tuple[IdentityView, bool]:
        """The identity and whether it is new. Raises FORBIDDEN when it is another account's; INVALID_CREDENTIALS."""
        ...

    async def unlink(self, token: WriteToken, id: UserId, command: UnlinkIdentity) -> None:
        """Raises CONTENT_NOT_FOUND, and FORBIDDEN when nobody could sign in to the account any more."""
        ...


class AuthorizationRequest(Struct, frozen=True):
    """What the provider is asked on somebody's behalf; the answer must fit all of it."""

    redirect_uri: str
    state: str
    nonce: str
    challenge: str  # S256 of the code verifier


class AuthorizationCode(Struct, frozen=True):
    code: str
    redirect_uri: str
    verifier: str
    nonce: str


class IdentityProvider(Protocol):
    """The configured OpenID provider. Both methods raise UNAVAILABLE when it is away or does not keep to the rules."""

    @property
    def issuer(self) -> str: ...

    @property
    def redirect_uris(self) -> Sequence[str]: ...

    async def authorization_url(self, request: AuthorizationRequest) -> str: ...

    async def redeem(self, code: AuthorizationCode) -> ProviderIdentity:
        """Who came back with this code. Raises INVALID_CREDENTIALS when it is no code of this sign-in."""
        ...
