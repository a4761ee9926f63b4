"""Signing up, signing in, staying in and leaving: the routes under `/auth` that hand out and take back tokens."""

from typing import Final

from msgspec import Struct

from actors.limiter import Limit
from actors.rules.accounts import (
    NO_PASSWORD,
    PASSWORD_LONGEST_BYTES,
    check_email,
    check_password,
    check_username,
    username_from_email,
)
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime, iso
from actors.shapes.users import (
    Account,
    ChangePassword,
    CloseLogins,
    Credentials,
    NewLogin,
    OpenLogin,
    Register,
    Registered,
    RotateLogin,
)
from actors.tokens import hash_refresh_token, new_refresh_token
from webapi.answers import Answer
from webapi.call import Call
from webapi.idempotency import once, used_otherwise
from webapi.routing import Access, Route
from webapi.sign_in.standing import admit_suspended

_AGENT_SHOWN: Final = 200
# Who has no password shows that he is the owner by having signed in at his provider within this time.
FRESH: Final = Seconds(10 * 60.0)


class Registration(Struct, frozen=True):
    email: str
    password: str
    username: str | None = None


class SignIn(Struct, frozen=True):
    email: str
    password: str
    totp: str | None = None  # a one-time code or a recovery code, if the account asks for one


class Refresh(Struct, frozen=True):
    refresh_token: str


class SignOut(Struct, frozen=True):
    refresh_token: str | None = None


class NewPassword(Struct, frozen=True):
    new_password: str
    current_password: str | None = None  # None: the account has none, or this is refused


class SignedIn(Struct, frozen=True):
    """What registering, signing in and refreshing answer."""

    user_id: UserId
    username: str
    email: str
    access_token: str
    token: str  # the same: older clients read it under this name
    refresh_token: str
    token_type: str
    expires_in: int  # seconds


class EndedSessions(Struct, frozen=True):
    ended_sessions: int


async def register(call: Call) -> Answer:
    """A new account and its first login."""
    body = await call.body(Registration)
    signed: list[SignedIn] = []

    async def do(keyed: Keyed | None) -> Registered:
        signed.append(await _register(call, body, keyed))
        return Registered(signed[0].user_id)

    # No fingerprint is made of the password: hashed so fast it could be guessed from the table.
    done = await once(call, Registered, do, unread=("password",))
    if done.replayed:
        signed = [await _sign_in_again(call, done.value.user_id, body.password)]
    return done.answer(signed[0], 201)


async def _register(call: Call, body: Registration, keyed: Keyed | None) -> SignedIn:
    email = check_email(body.email)
    chosen = body.username is not None
    username = check_username(body.username) if body.username is not None else username_from_email(email)
    password = check_password(body.password)
    # Only now: whoever mistypes an e-mail has not used up his ten registrations.
    call.pay_by_address(Limit.REGISTRATIONS)
    password_hash = await call.services.passwords.hash(password)
    login, refresh_token = new_login(call)
    id = UserId(call.services.new_id())
    command = Register(email, username, chosen, password_hash, login, keyed)
    account = await call.services.users.ask(id, command, call.services.options.ask_timeout)
    return signed_in(call, account, login.id, refresh_token)


async def _sign_in_again(call: Call, user: UserId, password: str) -> SignedIn:
    """The first answer to a repeated registration: the account is there, so the password shows whose it is. Another
    password is another request; it costs a guess as any login does."""
    call.pay_by_address(Limit.LOGINS)
    found = await call.services.accounts.credentials_of(user)
    if found is not None and found.status == "deleted":
        found = None
    try:
        await _check_password(call, password, found)
    except KithError as wrong:
        if wrong.code is not ErrorCode.INVALID_CREDENTIALS:
            raise
        raise used_otherwise() from None
    assert found is not None
    return await _open_login(call, found, None)


async def _open_login(call: Call, found: Credentials, totp: str | None) -> SignedIn:
    """For whoever has shown that he is the owner of the account."""
    await check_standing(call, found, totp)
    login, refresh_token = new_login(call)
    user = found.account.user_id
    command = OpenLogin(login, checked=found.password_hash, totp=totp)
    account = await call.services.users.ask(user, command, call.services.options.ask_timeout)
    return signed_in(call, account, login.id, refresh_token)


async def login(call: Call) -> Answer:
    """Opens a login. An unknown e-mail, a wrong password and a deleted account answer alike and take alike."""
    body = await call.body(SignIn)
    call.pay_by_address(Limit.LOGINS)
    found = await call.services.accounts.credentials(body.email)
    if found is not None and found.status == "deleted":
        found = None
    await _check_password(call, body.password, found)
    assert found is not None
    return Answer(await _open_login(call, found, body.totp))


async def refresh(call: Call) -> Answer:
    """Spends the token for a new one. A token that was spent before ends the whole login: two hold it."""
    body = await call.body(Refresh)
    spent = hash_refresh_token(body.refresh_token)
    owner = await call.services.accounts.login_of_token(spent)
    if owner is None:
        raise KithError(ErrorCode.INVALID_TOKEN)
    user, login_id = owner
    refresh_token = new_refresh_token()
    command = RotateLogin(login_id, spent, hash_refresh_token(refresh_token), _refresh_expiry(call))
    account: Account | None = await call.services.users.ask(user, command, call.services.options.ask_timeout)
    if account is None:
        raise KithError(ErrorCode.INVALID_TOKEN)
    return Answer(signed_in(call, account, login_id, refresh_token))


async def logout(call: Call) -> Answer:
    """Ends the login of the access token or of the refresh token: who has only the latter must get out, too."""
    body = await call.optional_body(SignOut)
    if body.refresh_token is not None:
        owner = await call.services.accounts.login_of_token(hash_refresh_token(body.refresh_token))
    else:
        claims = call.services.tokens.verify(bearer(call), call.now)
        owner = (claims.user_id, claims.login_id)
    if owner is None:
        raise KithError(ErrorCode.INVALID_TOKEN)
    user, login_id = owner
    await call.services.users.ask(user, CloseLogins([login_id]), call.services.options.ask_timeout)
    return Answer(None, 204)


async def change_password(call: Call) -> Answer:
    """Ends every other login of this account."""
    body = await call.body(NewPassword)
    known = await check_owner(call, body.current_password, "current_password")
    try:
        password = check_password(body.new_password)
    except KithError as weak:
        raise KithError(weak.code, details={"field": "new_password"}) from None
    password_hash = await call.services.passwords.hash(password)
    command = ChangePassword(password_hash, call.caller.login_id, checked=known.password_hash)
    ended = await call.services.users.ask(call.me, command, call.services.options.ask_timeout)
    return Answer(EndedSessions(len(ended)))


async def check_owner(call: Call, password: str | None, field: str) -> Credentials:
    """That it is the owner of the account who calls, and not just somebody who stole a token of his.

    He knows the password. If there is none, he has signed in lately: a stolen token can be refreshed for weeks, and
    does not bring its thief past the provider.
    """
    call.pay_by_address(Limit.LOGINS)  # it answers whether a password is right, so it is a login to whoever guesses
    known = await call.services.accounts.credentials_of(call.me)
    if known is not None and known.password_hash == NO_PASSWORD:
        earliest = iso(WallTime(call.now - round(FRESH * 1000)))
        logins = await call.services.accounts.logins(call.me)
        if not any(login.id == call.caller.login_id and login.created_at >= earliest for login in logins):
            raise KithError(ErrorCode.INVALID_CREDENTIALS, "Sign in again first: this wants a sign-in just made")
        return known
    if password is None:
        raise invalid(field, f"`{field}` is missing")
    await _check_password(call, password, known, "The current password is wrong")
    assert known is not None
    return known


async def check_standing(call: Call, credentials: Credentials, totp: str | None) -> None:
    """Whether somebody who has shown who he is may come in. A suspension is nobody else's business: who is suspended
    hears of it when his code, if he has codes, was right, too."""
    if credentials.status == "suspended":
        await admit_suspended(call, credentials.account.user_id, totp)
    elif credentials.status != "active":
        raise KithError(ErrorCode.INVALID_CREDENTIALS)


def bearer(call: Call) -> str:
    authorization = call.request.headers.get("Authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise KithError(ErrorCode.MISSING_AUTH_HEADER)
    return token.strip()


async def _check_password(call: Call, password: str, credentials: Credentials | None, wrong: str | None = None) -> None:
    known = None if credentials is None or credentials.password_hash == NO_PASSWORD else credentials.password_hash
    if len(password) > PASSWORD_LONGEST_BYTES:
        password = ""  # nobody has it; hashing it would be work for whoever sends a megabyte
    try:
        kept = check_password(password)
    except KithError:
        kept, known = password[:1], None
    if not await call.services.passwords.verify(kept, known):
        raise KithError(ErrorCode.INVALID_CREDENTIALS, wrong)


def new_login(call: Call) -> tuple[NewLogin, str]:
    """A login that begins now, and the refresh token of which it keeps only the hash."""
    refresh_token = new_refresh_token()
    agent = call.request.headers.get("User-Agent", "").replace("\x00", "")[:_AGENT_SHOWN] or None
    login = NewLogin(
        LoginId(call.services.new_id()),
        hash_refresh_token(refresh_token),
        agent,
        call.address or None,
        call.now,
        _refresh_expiry(call),
    )
    return login, refresh_token


def _refresh_expiry(call: Call) -> WallTime:
    return WallTime(call.now + round(call.services.options.refresh_lifetime * 1000))


def signed_in(call: Call, account: Account, login: LoginId, refresh_token: str) -> SignedIn:
    tokens = call.services.tokens
    access_token = tokens.issue(account.user_id, login, call.now)
    return SignedIn(
        account.user_id,
        account.username,
        account.email,
        access_token,
        access_token,
        refresh_token,
        "bearer",
        int(tokens.lifetime),
    )


ROUTES: Final = (
    Route(
        "POST",
        "/auth/register",
        register,
        Access.ANONYMOUS,
        takes=Registration,
        gives=((201, SignedIn),),
        refuses=(
            ErrorCode.INVALID_EMAIL,
            ErrorCode.INVALID_USERNAME,
            ErrorCode.WEAK_PASSWORD,
            ErrorCode.EMAIL_TAKEN,
            ErrorCode.USERNAME_TAKEN,
            ErrorCode.IDEMPOTENCY_CONFLICT,
            ErrorCode.TOTP_REQUIRED,  # to a repeated registration, which is a login
            ErrorCode.FORBIDDEN,
        ),
    ),
    Route(
        "POST",
        "/auth/login",
        login,
        Access.ANONYMOUS,
        takes=SignIn,
        gives=((200, SignedIn),),
        refuses=(
            ErrorCode.INVALID_CREDENTIALS,
            ErrorCode.TOTP_REQUIRED,
            ErrorCode.FORBIDDEN,
            ErrorCode.ENCRYPTION_ERROR,
        ),
    ),
    Route(
        "POST",
        "/auth/refresh",
        refresh,
        Access.ANONYMOUS,
        takes=Refresh,
        gives=((200, SignedIn),),
        refuses=(ErrorCode.INVALID_TOKEN,),
    ),
    Route(
        "POST",
        "/auth/logout",
        logout,
        Access.ANONYMOUS,
        takes=SignOut,
        needs_body=False,
        gives=((204, None),),
        refuses=(ErrorCode.INVALID_TOKEN, ErrorCode.TOKEN_EXPIRED, ErrorCode.MISSING_AUTH_HEADER),
    ),
    Route(
        "POST",
        "/auth/password",
        change_password,
        takes=NewPassword,
        gives=((200, EndedSessions),),
        refuses=(ErrorCode.INVALID_CREDENTIALS, ErrorCode.WEAK_PASSWORD),
    ),
)
