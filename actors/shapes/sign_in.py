"""One-time codes and identities at a provider: what is kept of them, the commands that change it, what these answer."""

from msgspec import Struct

from actors.shapes.ids import IdentityId
from actors.shapes.logins import NewLogin
from actors.shapes.times import WallTime

# -- one-time codes -------------------------------------------------------------------------------------------------


class Guard(Struct, frozen=True):
    """What stands between a secret and who guesses: it changes with each code that was tried."""

    last_step: int = 0  # no code of this step or of one before it is good any more
    failures: int = 0  # since the last right one
    paused_until: WallTime | None = None


class Totp(Struct, frozen=True):
    """The one-time codes of an account; `sealed` is the secret as only this server can read it."""

    sealed: bytes
    active: bool  # False: begun and not confirmed, so nobody is asked for it
    guard: Guard
    recovery_left: int


class CodeSpent(Struct, frozen=True):
    """A right code; its effect is a compare-and-set. `resealed`: the secret under the present key, if it was older."""

    before: Guard
    after: Guard
    resealed: bytes | None = None


class RecoverySpent(Struct, frozen=True):
    code_hash: bytes


Proof = CodeSpent | RecoverySpent


class BeginTotp(Struct, frozen=True):
    """Make a secret. Nobody is asked for a code of it before one was shown. Answered with the secret, once."""

    checked: str  # as in OpenLogin


class ConfirmTotp(Struct, frozen=True):
    """From now on a code is asked for. Answered with the recovery codes, which are never shown again."""

    code: str


class DisableTotp(Struct, frozen=True):
    code: str
    checked: str


class ProveCode(Struct, frozen=True):
    """Use up this code, as a login would, and open nothing. Answered with nothing, at once if no code is asked for;
    `totp` and what is refused are as in OpenLogin."""

    totp: str | None = None


class RenewRecoveryCodes(Struct, frozen=True):
    """Answered with the new ones; those before are worth nothing any more."""

    code: str
    checked: str


# -- identities at a provider ---------------------------------------------------------------------------------------


class ProviderIdentity(Struct, frozen=True):
    """Who somebody is at a provider, as its ID token says; only issuer and subject tell people apart."""

    issuer: str
    subject: str
    email: str | None = None
    email_verified: bool | None = None  # None: it does not say
    username: str | None = None


class IdentityView(Struct, frozen=True):
    """One row of `GET /auth/identities`."""

    id: IdentityId
    issuer: str
    email: str | None
    created_at: str


class FlowSpent(Struct, frozen=True):
    """This sign-in with a provider is over; `expires_at`: until when that must be remembered."""

    id: str
    expires_at: WallTime


class RegisterWithIdentity(Struct, frozen=True):
    """A new account that has no password: only the provider speaks for it. Answered with the Account."""

    email: str
    username: str  # may be varied when it is taken
    login: NewLogin
    identity_id: IdentityId
    identity: ProviderIdentity
    flow: FlowSpent


class OpenLoginWithIdentity(Struct, frozen=True):
    """Answered with the Account. `totp`: as typed, if the account asks for one."""

    login: NewLogin
    identity: ProviderIdentity
    flow: FlowSpent
    totp: str | None = None


class LinkIdentity(Struct, frozen=True):
    """Answered with (IdentityView, whether it is new); FORBIDDEN when it is linked to another account."""

    id: IdentityId
    identity: ProviderIdentity
    flow: FlowSpent
    at: WallTime


class UnlinkIdentity(Struct, frozen=True):
    """Answered with nothing. `issuer`: the one with which one can sign in today, if there is one."""

    id: IdentityId
    issuer: str | None


SignInCommand = (
    BeginTotp
    | ConfirmTotp
    | DisableTotp
    | ProveCode
    | RenewRecoveryCodes
    | RegisterWithIdentity
    | OpenLoginWithIdentity
    | LinkIdentity
    | UnlinkIdentity
)


class Opening(Struct, frozen=True):
    """A login and everything that has to hold, and is used up, in the transaction that opens it."""

    login: NewLogin
    proof: Proof | None = None  # None: the account asks for no code
    checked: str | None = None
    identity: ProviderIdentity | None = None
    flow: FlowSpent | None = None
