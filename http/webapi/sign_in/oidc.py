"""Signing in with the configured provider: begun here, continued there, finished here; and linking it to an account."""

from typing import Any, Final

from msgspec import Struct

from actors.limiter import Limit
from actors.rules.accounts import check_email, username_from_claims
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.ids import IdentityId, UserId
from actors.shapes.sign_in import (
    IdentityView,
    LinkIdentity,
    OpenLoginWithIdentity,
    ProviderIdentity,
    RegisterWithIdentity,
    SignInCommand,
    UnlinkIdentity,
)
from actors.sign_in_ports import IdentityProvider
from webapi.answers import Answer
from webapi.call import Call
from webapi.paging import Page
from webapi.routing import Access, Route
from webapi.sign_in.auth import SignedIn, check_owner, check_standing, new_login, signed_in
from webapi.sign_in.flows import LIFETIME, Flow, Seen, begin, open_flow, open_seen, sealed, wrong


class Provider(Struct, frozen=True):
    issuer: str
    redirect_uris: list[str]


class StartSignIn(Struct, frozen=True):
    redirect_uri: str


class StartLink(Struct, frozen=True):
    redirect_uri: str
    password: str | None = None


class StartedSignIn(Struct, frozen=True):
    authorization_url: str  # where to send the person
    flow: str  # to keep, and to hand back with what the provider sends
    expires_in: int  # seconds


class FinishSignIn(Struct, frozen=True):
    """`code` and `state` as the provider sent them; none of them with a `flow` that came with TOTP_REQUIRED."""

    flow: str
    code: str | None = None
    state: str | None = None
    totp: str | None = None


class FinishLink(Struct, frozen=True):
    flow: str
    code: str
    state: str


async def show_provider(call: Call) -> Answer:
    """Which provider one can sign in with; 404 when there is none."""
    provider = _provider(call)
    return Answer(Provider(provider.issuer, list(provider.redirect_uris)))


async def start_sign_in(call: Call) -> Answer:
    """Where to send the person, and the flow to keep until he comes back."""
    body = await call.body(StartSignIn)
    return await _start(call, body.redirect_uri, None)


async def finish_sign_in(call: Call) -> Answer:
    """As `POST /auth/login`: 200, and 201 when it made the account."""
    body = await call.body(FinishSignIn)
    call.pay_by_address(Limit.LOGINS)
    seen = await _seen(call, _provider(call), body)
    identity = seen.identity
    owner = await call.services.sign_in.owner(identity.issuer, identity.subject)
    if owner is None:
        try:
            return await _register(call, seen)
        except KithError as refused:
            # Two clients of one newcomer: the other has made the account, with his email and his identity.
            owner = await call.services.sign_in.owner(identity.issuer, identity.subject)
            if owner is None or refused.code not in (ErrorCode.INVALID_CREDENTIALS, ErrorCode.EMAIL_TAKEN):
                raise
    return await _enter(call, owner, seen, body.totp)


async def start_link(call: Call) -> Answer:
    """The same for who is signed in and wants to sign in there next time; needs the password."""
    body = await call.body(StartLink)
    await check_owner(call, body.password, "password")
    return await _start(call, body.redirect_uri, call.me)


async def finish_link(call: Call) -> Answer:
    """201, and 200 when it was linked to this account before."""
    body = await call.body(FinishLink)
    provider = _provider(call)
    flow = open_flow(call.services.seals, body.flow, call.now)
    if flow.user != call.me:
        raise wrong("flow")
    identity = await provider.redeem(flow.answered(body.code, body.state))
    seen = Seen(flow.id, flow.expires_at, identity)
    command = LinkIdentity(IdentityId(call.services.new_id()), identity, seen.spent, call.now)
    view, new = await _ask(call, call.me, command)
    return Answer(view, 201 if new else 200)


async def list_identities(call: Call) -> Answer:
    """Who the caller is at providers."""
    return Answer(Page[IdentityView](await call.services.sign_in.identities(call.me), None))


async def remove_identity(call: Call) -> Answer:
    """Nobody signs in with it any more. The last way into an account stays."""
    provider = call.services.provider
    issuer = None if provider is None else provider.issuer
    await _ask(call, call.me, UnlinkIdentity(IdentityId(call.params["identity_id"]), issuer))
    return Answer(None, 204)


def _provider(call: Call) -> IdentityProvider:
    if call.services.provider is None:
        raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No sign-in provider is configured")
    return call.services.provider


async def _start(call: Call, redirect_uri: str, user: UserId | None) -> Answer:
    provider = _provider(call)
    # Exactly one of those that the operator allows: anything else could be the address of somebody who collects codes.
    if redirect_uri not in provider.redirect_uris:
        raise invalid("redirect_uri", "`redirect_uri` is not one of those configured")
    flow = begin(call.services.new_id(), redirect_uri, user, call.now)
    url = await provider.authorization_url(flow.request)
    return Answer(StartedSignIn(url, sealed(call.services.seals, flow), int(LIFETIME)))


async def _seen(call: Call, provider: IdentityProvider, body: FinishSignIn) -> Seen:
    """Who it is, as the provider says, now or in an earlier attempt at this flow."""
    if body.code is None and body.state is None:
        return open_seen(call.services.seals, body.flow, call.now)
    if body.code is None or body.state is None:
        missing = "code" if body.code is None else "state"
        raise invalid(missing, f"`{missing}` is missing")
    flow: Flow = open_flow(call.services.seals, body.flow, call.now)
    if flow.user is not None:  # it was begun to link, by somebody who is signed in
        raise wrong("flow")
    identity = await provider.redeem(flow.answered(body.code, body.state))
    return Seen(flow.id, flow.expires_at, identity)


async def _register(call: Call, seen: Seen) -> Answer:
    identity = seen.identity
    email = _email_of(identity)
    call.pay_by_address(Limit.REGISTRATIONS)
    login, refresh_token = new_login(call)
    username = username_from_claims(identity.username, email)
    id = IdentityId(call.services.new_id())
    command = RegisterWithIdentity(email, username, login, id, identity, seen.spent)
    try:
        account = await _ask(call, UserId(call.services.new_id()), command)
    except KithError as refused:
        if refused.code is not ErrorCode.EMAIL_TAKEN:
            raise
        # Nobody has shown that he owns that account: its e-mail may be one that somebody else typed in there.
        message = "An account has this email: sign in to it, and link the provider there"
        raise KithError(ErrorCode.EMAIL_TAKEN, message, details={"field": "email"}) from None
    return Answer(signed_in(call, account, login.id, refresh_token), 201)


def _email_of(identity: ProviderIdentity) -> str:
    if identity.email is not None and identity.email_verified is not False:
        try:
            return check_email(identity.email)
        except KithError:
            pass
    raise KithError(ErrorCode.FORBIDDEN, "The provider gives no verified email of yours", details={"field": "email"})


async def _enter(call: Call, owner: UserId, seen: Seen, totp: str | None) -> Answer:
    known = await call.services.accounts.credentials_of(owner)
    if known is None or known.status == "deleted":
        raise KithError(ErrorCode.INVALID_CREDENTIALS, "This account is no more", details={"field": "flow"})
    login, refresh_token = new_login(call)
    command = OpenLoginWithIdentity(login, seen.identity, seen.spent, totp)
    try:
        await check_standing(call, known, totp)
        account = await _ask(call, owner, command)
    except KithError as refused:
        if refused.code is ErrorCode.TOTP_REQUIRED or refused.details.get("field") == "totp":
            refused.details = {**refused.details, "flow": sealed(call.services.seals, seen)}
        raise
    return Answer(signed_in(call, account, login.id, refresh_token))


async def _ask(call: Call, user: UserId, command: SignInCommand) -> Any:
    return await call.services.users.ask(user, command, call.services.options.ask_timeout)


_AWAY: Final = (ErrorCode.CONTENT_NOT_FOUND, ErrorCode.UNAVAILABLE)
_BROUGHT: Final = (ErrorCode.INVALID_CREDENTIALS, ErrorCode.FORBIDDEN, *_AWAY)

ROUTES: Final = (
    Route(
        "GET",
        "/auth/oidc",
        show_provider,
        Access.ANONYMOUS,
        gives=((200, Provider),),
        refuses=(ErrorCode.CONTENT_NOT_FOUND,),
    ),
    Route(
        "POST",
        "/auth/oidc/start",
        start_sign_in,
        Access.ANONYMOUS,
        takes=StartSignIn,
        gives=((200, StartedSignIn),),
        refuses=_AWAY,
    ),
    Route(
        "POST",
        "/auth/oidc/finish",
        finish_sign_in,
        Access.ANONYMOUS,
        takes=FinishSignIn,
        gives=((200, SignedIn), (201, SignedIn)),
        refuses=(
            *_BROUGHT,
            ErrorCode.TOTP_REQUIRED,
            ErrorCode.EMAIL_TAKEN,
            ErrorCode.USERNAME_TAKEN,
            ErrorCode.ENCRYPTION_ERROR,
        ),
    ),
    Route(
        "POST",
        "/auth/oidc/link/start",
        start_link,
        takes=StartLink,
        gives=((200, StartedSignIn),),
        refuses=(ErrorCode.INVALID_CREDENTIALS, *_AWAY),
    ),
    Route(
        "POST",
        "/auth/oidc/link/finish",
        finish_link,
        takes=FinishLink,
        gives=((200, IdentityView), (201, IdentityView)),
        refuses=_BROUGHT,
    ),
    Route("GET", "/auth/identities", list_identities, gives=((200, Page[IdentityView]),)),
    Route(
        "DELETE",
        "/auth/identities/{identity_id}",
        remove_identity,
        gives=((204, None),),
        refuses=(ErrorCode.CONTENT_NOT_FOUND, ErrorCode.FORBIDDEN),
    ),
)
