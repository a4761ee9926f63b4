"""Accounts and logins in PostgreSQL: the port `AccountStore`.

Each write is a transaction of its own. Only a registration changes what a user's clients show (`user.rev`), so only it
writes a flush row. A write whose answer was lost is repeated: ids, hashes and times make the repetition harmless.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple, TypeVar

import trio

from actors.ports import Clock, WriteToken
from actors.rules.accounts import email_key, username_key, username_variants
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Account, ChangePassword, Credentials, LoginView, NewLogin, Register, RotateLogin
from storage.database_errors import DatabaseAwayError
from storage.node import NodeIdentity
from storage.postgres import Postgres, Statements, Work

T = TypeVar("T")

# Together under a second: an actor waits meanwhile, and with it everything of this one user.
PAUSES: Final = (0.02, 0.1, 0.5)

_CREDENTIALS: Final = "select id::text, username, email, password_hash, status from users where "
_TOKEN_OWNER: Final = """
select user_id::text, id::text from sessions where token_hash = $1
union all
select s.user_id::text, s.id::text from spent_tokens t join sessions s on s.id = t.session_id where t.token_hash = $1
"""
_LOGINS: Final = """
select id::text, user_agent, address, (extract(epoch from created_at) * 1000)::bigint,
       (extract(epoch from last_used_at) * 1000)::bigint, (extract(epoch from expires_at) * 1000)::bigint
  from sessions
 where user_id = $1 and revoked_at is null and expires_at > to_timestamp($2::bigint / 1000.0::float8)
 order by last_used_at desc, id
"""
_REVOKED: Final = """
select user_id::text, id::text from sessions where revoked_at >= to_timestamp($1::bigint / 1000.0::float8)
"""

_INSERT_USER: Final = """
insert into users (id, email, email_key, username, username_key, password_hash, rev, created_at, updated_at)
select $1, $2, $3, $4, $5, $6, 1, t, t from to_timestamp($7::bigint / 1000.0::float8) t
on conflict do nothing
returning id::text
"""
_RECEIPT: Final = """
insert into flushes (node, incarnation, n, heads)
values ($1, $2, $3, jsonb_build_array(jsonb_build_array('u', $4::text, 0, 1)))
"""
_INSERT_LOGIN: Final = """
insert into sessions (id, user_id, token_hash, user_agent, address, created_at, last_used_at, expires_at)
select $1, $2, $3, $4, $5, t, t, to_timestamp($7::bigint / 1000.0::float8)
  from to_timestamp($6::bigint / 1000.0::float8) t
on conflict (id) do nothing
"""
# Logins that ran out are of no use to anybody; whoever signs in cleans up behind himself.
_FORGET_TOKENS: Final = """
delete from spent_tokens t using sessions s
 where t.session_id = s.id and s.user_id = $1
   and s.expires_at < to_timestamp($2::bigint / 1000.0::float8) - interval '1 day'
"""
_FORGET_LOGINS: Final = """
delete from sessions
 where user_id = $1 and expires_at < to_timestamp($2::bigint / 1000.0::float8) - interval '1 day'
"""
_ROTATE: Final = """
update sessions s
   set token_hash = $4, last_used_at = to_timestamp($5::bigint / 1000.0::float8),
       expires_at = to_timestamp($6::bigint / 1000.0::float8)
  from users u
 where s.id = $1 and s.user_id = $2 and s.token_hash in ($3, $4) and s.revoked_at is null
   and s.expires_at > to_timestamp($5::bigint / 1000.0::float8) and u.id = s.user_id and u.status = 'active'
returning s.id::text
"""
_SPEND: Final = """
insert into spent_tokens (token_hash, session_id, spent_at)
values ($1, $2, to_timestamp($3::bigint / 1000.0::float8)) on conflict do nothing
"""
# As old as this a refresh token would have run out unspent.
_FORGET_SPENT: Final = """
delete from spent_tokens
 where session_id = $1 and spent_at < to_timestamp($2::bigint / 1000.0::float8) - interval '60 days'
"""
# $5: a repetition after a lost answer finds its own moment in the rows, and names them again.
_REVOKE: Final = """
update sessions set revoked_at = to_timestamp($2::bigint / 1000.0::float8)
 where user_id = $1 and ($3::uuid[] is null or id = any($3::uuid[])) and id is distinct from $4::uuid
   and (revoked_at is null and expires_at > to_timestamp($2::bigint / 1000.0::float8)
        or $5::bool and revoked_at = to_timestamp($2::bigint / 1000.0::float8))
returning id::text
"""
# The password was checked before, without a lock and up to seconds ago. Changed meanwhile, it opens nothing any more:
# the login it opened would outlive the revocation that came with the change. `for share` waits for a change under way.
_STILL: Final = "select id::text from users where id = $1 and password_hash = $2 and status = 'active' for share"
# $2 also: a repetition after a lost answer finds what it wrote itself.
_SET_PASSWORD: Final = """
update users set password_hash = $2, updated_at = to_timestamp($3::bigint / 1000.0::float8)
 where id = $1 and ($4::text is null or password_hash in ($4, $2))
returning id::text
"""


class _LoginRow(NamedTuple):
    id: LoginId
    user_agent: str | None
    address: str | None
    created_at: WallTime
    last_used_at: WallTime
    expires_at: WallTime

    def view(self) -> LoginView:
        times = [iso(moment) for moment in (self.created_at, self.last_used_at, self.expires_at)]
        return LoginView(self.id, self.user_agent, self.address, times[0], times[1], times[2])


class PostgresAccounts:
    """Reads go to the pool as they are; writes want the token of the user's own actor."""

    def __init__(self, postgres: Postgres, identity: NodeIdentity, clock: Clock) -> None:
        self._postgres = postgres
        self._identity = identity
        self._clock = clock

    # -- reads --------------------------------------------------------------------------------------------------------

    async def credentials(self, email: str) -> Credentials | None:
        sql = _CREDENTIALS + "email_key = $1"
        return await self._postgres.fetchrow(_credentials, sql, email_key(email))

    async def credentials_of(self, id: UserId) -> Credentials | None:
        return await self._postgres.fetchrow(_credentials, _CREDENTIALS + "id = $1", id)

    async def login_of_token(self, token_hash: bytes) -> tuple[UserId, LoginId] | None:
        return await self._postgres.fetchrow(_owner, _TOKEN_OWNER, token_hash)

    async def logins(self, id: UserId) -> list[LoginView]:
        return [row.view() for row in await self._postgres.fetch(_LoginRow, _LOGINS, id, self._clock.now())]

    async def revoked_since(self, moment: WallTime) -> list[tuple[UserId, LoginId]]:
        return await self._postgres.fetch(_owner, _REVOKED, moment)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def register(self, token: WriteToken, id: UserId, command: Register) -> Account:
        variants = () if command.username_chosen else username_variants(command.username, id)
        number = self._identity.next_number()

        async def work(statements: Statements) -> Account:
            known = await statements.fetchrow(_credentials, _CREDENTIALS + "id = $1", id)
            if known is not None:  # an earlier attempt did commit
                return known.account
            key = email_key(command.email)
            for name in (command.username, *variants):
                values = (id, command.email, key, name, username_key(name), command.password_hash)
                if await statements.fetchval(str, _INSERT_USER, *values, command.login.created_at):
                    await statements.execute(_INSERT_LOGIN, *_login_values(id, command.login))
                    await statements.execute(_RECEIPT, self._identity.node, self._identity.incarnation, number, id)
                    return Account(id, name, command.email)
                # Both may be taken; then it is the e-mail that matters, because no other name would help.
                if await statements.fetchval(str, "select id::text from users where email_key = $1", key):
                    raise KithError(ErrorCode.EMAIL_TAKEN, details={"field": "email"})
            raise KithError(ErrorCode.USERNAME_TAKEN, details={"field": "username"})

        return await self._write(token, work)

    async def open_login(self, token: WriteToken, id: UserId, login: NewLogin, checked: str | None = None) -> Account:
        async def work(statements: Statements) -> Account:
            if checked is not None and await statements.fetchval(str, _STILL, id, checked) is None:
                raise KithError(ErrorCode.INVALID_CREDENTIALS)
            account = await _account(statements, id)
            await statements.execute(_FORGET_TOKENS, id, login.created_at)
            await statements.execute(_FORGET_LOGINS, id, login.created_at)
            await statements.execute(_INSERT_LOGIN, *_login_values(id, login))
            return account

        return await self._write(token, work)

    async def rotate_login(self, token: WriteToken, id: UserId, command: RotateLogin) -> Account | None:
        now = self._clock.now()

        async def work(statements: Statements) -> Account | None:
            hashes = (command.spent_hash, command.next_hash)
            if not await statements.fetchval(str, _ROTATE, command.login_id, id, *hashes, now, command.expires_at):
                return None
            await statements.execute(_SPEND, command.spent_hash, command.login_id, now)
            await statements.execute(_FORGET_SPENT, command.login_id, now)
            return await _account(statements, id)

        return await self._write(token, work)

    async def close_logins(
        self, token: WriteToken, id: UserId, logins: Sequence[LoginId] | None, keep: LoginId | None
    ) -> list[LoginId]:
        now, tried = self._clock.now(), count()
        wanted = None if logins is None else list(logins)

        async def work(statements: Statements) -> list[LoginId]:
            return await statements.fetch(LoginId, _REVOKE, id, now, wanted, keep, next(tried) > 0)

        return await self._write(token, work)

    async def change_password(self, token: WriteToken, id: UserId, command: ChangePassword) -> list[LoginId]:
        now, tried = self._clock.now(), count()

        async def work(statements: Statements) -> list[LoginId]:
            values = (id, command.password_hash, now, command.checked)
            if await statements.fetchval(str, _SET_PASSWORD, *values) is None:
                raise KithError(ErrorCode.INVALID_CREDENTIALS)
            return await statements.fetch(LoginId, _REVOKE, id, now, None, command.keep, next(tried) > 0)

        return await self._write(token, work)

    async def _write(self, token: WriteToken, work: Work[T]) -> T:
        if not token.valid:  # another activation may be writing by now
            raise KithError(ErrorCode.UNAVAILABLE, "This actor has ended", outcome="none")
        for pause in PAUSES:
            try:
                return await self._postgres.transaction(work)
            except DatabaseAwayError:
                await trio.sleep(pause)
        try:
            return await self._postgres.transaction(work)
        except DatabaseAwayError:
            raise KithError(ErrorCode.UNAVAILABLE, outcome="unknown") from None


def _login_values(id: UserId, login: NewLogin) -> tuple[object, ...]:
    return (login.id, id, login.token_hash, login.user_agent, login.address, login.created_at, login.expires_at)


async def _account(statements: Statements, id: UserId) -> Account:
    found = await statements.fetchrow(_credentials, _CREDENTIALS + "id = $1", id)
    if found is None:
        raise KithError(ErrorCode.USER_NOT_FOUND)
    return found.account


def _credentials(id: str, username: str, email: str, password_hash: str, status: str) -> Credentials:
    return Credentials(Account(UserId(id), username, email), password_hash, status)


def _owner(user: str, login: str) -> tuple[UserId, LoginId]:
    return UserId(user), LoginId(login)
