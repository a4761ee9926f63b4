"""One-time codes of an account: turned on in two steps, turned off, and the recovery codes behind them."""

from typing import Any, Final

from msgspec import Struct

from actors.rules.totp import otpauth_uri, secret_text
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.sign_in import BeginTotp, ConfirmTotp, DisableTotp, RenewRecoveryCodes
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Route
from webapi.sign_in.auth import check_owner

ISSUER: Final = "Kith"  # how apps name the account
_LONGEST_CODE: Final = 64


class EnableTotp(Struct, frozen=True):
    password: str | None = None


class TotpSecret(Struct, frozen=True):
    """Shown once. Codes are asked for when one of them has been confirmed, and not before."""

    secret: str  # base32
    otpauth_uri: str  # for a QR code


class TotpCode(Struct, frozen=True):
    code: str


class CodeAndPassword(Struct, frozen=True):
    code: str  # or a recovery code
    password: str | None = None


class RecoveryCodes(Struct, frozen=True):
    """Shown once; each replaces one code, once."""

    recovery_codes: list[str]


class TotpStatus(Struct, frozen=True):
    enabled: bool
    recovery_codes_left: int


async def show_totp(call: Call) -> Answer:
    """Whether codes are asked for, and how many recovery codes are left."""
    known = await call.services.sign_in.totp(call.me)
    enabled = known is not None and known.active
    return Answer(TotpStatus(enabled, known.recovery_left if known is not None and enabled else 0))


async def enable_totp(call: Call) -> Answer:
    """Makes the secret; needs the password, so that a stolen token cannot lock its owner out."""
    body = await call.body(EnableTotp)
    owner = await check_owner(call, body.password, "password")
    secret = await _ask(call, BeginTotp(checked=owner.password_hash))
    return Answer(TotpSecret(secret_text(secret), otpauth_uri(secret, ISSUER, owner.account.email)))


async def confirm_totp(call: Call) -> Answer:
    """From now on codes are asked for. Sessions that are open stay open."""
    body = await call.body(TotpCode)
    return Answer(RecoveryCodes(await _ask(call, ConfirmTotp(_checked(body.code)))))


async def disable_totp(call: Call) -> Answer:
    """Needs the password and a code: whoever has one of them only is not the owner."""
    body = await call.body(CodeAndPassword)
    owner = await check_owner(call, body.password, "password")
    await _ask(call, DisableTotp(_checked(body.code), checked=owner.password_hash))
    return Answer(None, 204)


async def renew_recovery_codes(call: Call) -> Answer:
    """Ten new ones for the password and a code or one of the old; all the old ones are worth nothing after it.

    Without the password a stolen token could spend the wrong codes of its owner, who then waits up to an hour.
    """
    body = await call.body(CodeAndPassword)
    owner = await check_owner(call, body.password, "password")
    command = RenewRecoveryCodes(_checked(body.code), checked=owner.password_hash)
    return Answer(RecoveryCodes(await _ask(call, command)))


def _checked(code: str) -> str:
    if len(code) > _LONGEST_CODE:
        raise KithError(ErrorCode.INVALID_CREDENTIALS, "The one-time code is wrong", details={"field": "code"})
    return code


async def _ask(call: Call, command: BeginTotp | ConfirmTotp | DisableTotp | RenewRecoveryCodes) -> Any:
    return await call.services.users.ask(call.me, command, call.services.options.ask_timeout)


_REFUSES: Final = (ErrorCode.INVALID_CREDENTIALS, ErrorCode.CONTENT_NOT_FOUND, ErrorCode.ENCRYPTION_ERROR)

ROUTES: Final = (
    Route("GET", "/auth/totp", show_totp, gives=((200, TotpStatus),)),
    Route(
        "POST",
        "/auth/totp/enable",
        enable_totp,
        takes=EnableTotp,
        gives=((200, TotpSecret),),
        refuses=(ErrorCode.INVALID_CREDENTIALS, ErrorCode.FORBIDDEN),
    ),
    Route("POST", "/auth/totp/confirm", confirm_totp, takes=TotpCode, gives=((200, RecoveryCodes),), refuses=_REFUSES),
    Route("POST", "/auth/totp/disable", disable_totp, takes=CodeAndPassword, gives=((204, None),), refuses=_REFUSES),
    Route(
        "POST",
        "/auth/totp/recovery-codes",
        renew_recovery_codes,
        takes=CodeAndPassword,
        gives=((200, RecoveryCodes),),
        refuses=_REFUSES,
    ),
)
