"""Accounts and logins in PostgreSQL: the port `AccountStore`.

Each write is a transaction of its own. Only a registration changes what a user's clients show (`user.rev`), so only it
writes a flush row. A write whose answer was lost is repeated: ids, hashes and times make the repetition harmless.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple, TypeVar

from msgspec.json import encode

from actors.ports import Clock, WriteToken
from actors.rules.accounts import email_key, username_variants
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime, iso
from actors.shapes.users import (
    Account,
    ChangePassword,
    Credentials,
    LoginView,
    NewLogin,
    Register,
    Registered,
    RotateLogin,
)
from storage.account_rows import (
    CREDENTIALS,
    Newcomer,
    account_of,
    check_still,
    credentials_row,
    insert_login,
    write,
)
from storage.idempotency_keys import claim_key
from storage.node import NodeIdentity
from storage.postgres import Postgres, Statements
from storage.waking import NOBODY, Waking

T = TypeVar("T")

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

    def __init__(self, postgres: Postgres, identity: NodeIdentity, clock: Clock, waking: Waking = NOBODY) -> None:
        self._postgres = postgres
        self._identity = identity
        self._clock = clock
        self._waking = waking

    # -- reads --------------------------------------------------------------------------------------------------------

    async def credentials(self, email: str) -> Credentials | None:
        sql = CREDENTIALS + "email_key = $1"
        return await self._postgres.fetchrow(credentials_row, sql, email_key(email))

    async def credentials_of(self, id: UserId) -> Credentials | None:
        return await self._postgres.fetchrow(credentials_row, CREDENTIALS + "id = $1", id)

    async def login_of_token(self, token_hash: bytes) -> tuple[UserId, LoginId] | None:
        return await self._postgres.fetchrow(_owner, _TOKEN_OWNER, token_hash)

    async def logins(self, id: UserId) -> list[LoginView]:
        return [row.view() for row in await self._postgres.fetch(_LoginRow, _LOGINS, id, self._clock.now())]

    async def revoked_since(self, moment: WallTime) -> list[tuple[UserId, LoginId]]:
        return await self._postgres.fetch(_owner, _REVOKED, moment)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def register(self, token: WriteToken, id: UserId, command: Register) -> Account:
        variants = () if command.username_chosen else username_variants(command.username, id)
        newcomer = Newcomer(self._identity, id, command.email, command.password_hash)

        async def work(statements: Statements) -> Account:
            known = await statements.fetchrow(credentials_row, CREDENTIALS + "id = $1", id)
            if known is not None:  # an earlier attempt did commit
                return known.account
            # First, so that a repeat waits here and not at the e-mail, which would tell it that it is taken.
            await claim_key(statements, command.keyed, encode(Registered(id)).decode())
            account = await newcomer.insert(statements, (command.username, *variants), command.login.created_at)
            await insert_login(statements, id, command.login)
            return account

        return await write(self._postgres, token, work)

    async def open_login(self, token: WriteToken, id: UserId, login: NewLogin, checked: str | None = None) -> Account:
        crowded = False

        async def work(statements: Statements) -> Account:
            nonlocal crowded
            if checked is not None:
                await check_still(statements, id, checked)
            account = await account_of(statements, id)
            crowded = await insert_login(statements, id, login) or crowded  # a repetition finds its login there
            return account

        account = await write(self._postgres, token, work)
        if crowded:
            self._waking.logins_ended()
        return account

    async def rotate_login(self, token: WriteToken, id: UserId, command: RotateLogin) -> Account | None:
        now = self._clock.now()

        async def work(statements: Statements) -> Account | None:
            hashes = (command.spent_hash, command.next_hash)
            if not await statements.fetchval(str, _ROTATE, command.login_id, id, *hashes, now, command.expires_at):
                return None
            await statements.execute(_SPEND, command.spent_hash, command.login_id, now)
            await statements.execute(_FORGET_SPENT, command.login_id, now)
            return await account_of(statements, id)

        return await write(self._postgres, token, work)

    async def close_logins(
        self, token: WriteToken, id: UserId, logins: Sequence[LoginId] | None, keep: LoginId | None
    ) -> list[LoginId]:
        now, tried = self._clock.now(), count()
        wanted = None if logins is None else list(logins)

        async def work(statements: Statements) -> list[LoginId]:
            return await statements.fetch(LoginId, _REVOKE, id, now, wanted, keep, next(tried) > 0)

        return self._committed(await write(self._postgres, token, work))

    async def change_password(self, token: WriteToken, id: UserId, command: ChangePassword) -> list[LoginId]:
        now, tried = self._clock.now(), count()

        async def work(statements: Statements) -> list[LoginId]:
            values = (id, command.password_hash, now, command.checked)
            if await statements.fetchval(str, _SET_PASSWORD, *values) is None:
                raise KithError(ErrorCode.INVALID_CREDENTIALS)
            return await statements.fetch(LoginId, _REVOKE, id, now, None, command.keep, next(tried) > 0)

        return self._committed(await write(self._postgres, token, work))

    def _committed(self, ended: list[LoginId]) -> list[LoginId]:
        if ended:
            self._waking.logins_ended()
        return ended


def _owner(user: str, login: str) -> tuple[UserId, LoginId]:
    return UserId(user), LoginId(login)
