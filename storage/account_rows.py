"""The statements that every way into an account shares: a user's row, a login's row, and a write that survives a lost
answer.

What stands here runs on the asyncio side, inside the transaction of whoever calls it.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import trio

from actors.ports import WriteToken
from actors.rules.accounts import LOGINS_MOST, email_key, username_key
from actors.shapes.errors import ErrorCode, KithError, Outcome
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime
from actors.shapes.users import Account, Credentials, NewLogin
from storage.database_errors import DatabaseAwayError, StatementFailedError
from storage.node import NodeIdentity
from storage.postgres import Postgres, Statements, Work

T = TypeVar("T")

# Together under a second: an actor waits meanwhile, and with it everything of this one user.
PAUSES: Final = (0.02, 0.1, 0.5)

CREDENTIALS: Final = "select id::text, username, email, password_hash, status from users where "
_INSERT_USER: Final = """
insert into users (id, email, email_key, username, username_key, password_hash, rev, created_at, updated_at)
select $1, $2, $3, $4, $5, $6, 1, t, t from to_timestamp($7::bigint / 1000.0::float8) t
on conflict do nothing
returning id::text
"""
_RECEIPT: Final = """
insert into flushes (node, incarnation, n, heads)
values ($1, $2, $3, jsonb_build_array(jsonb_build_array('u', $4::text, $5::bigint, $5::bigint + 1)))
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
# One too many ends those that were used least lately; nodes find them among the revoked. Not with an offset in the
# statement that locks: PostgreSQL would lock what the offset skips, too.
_MAKE_ROOM: Final = f"""
update sessions set revoked_at = to_timestamp($2::bigint / 1000.0::float8) where id in (
  select id from sessions where id in (
    select id from sessions
     where user_id = $1 and revoked_at is null and expires_at > to_timestamp($2::bigint / 1000.0::float8)
     order by last_used_at desc, id desc offset {LOGINS_MOST - 1}
  ) for update skip locked
)
returning id::text
"""
# The password was checked before, without a lock and up to seconds ago. Changed meanwhile, it opens nothing any more:
# the login it opened would outlive the revocation that came with the change. `for share` waits for a change under way.
_STILL: Final = "select id::text from users where id = $1 and password_hash = $2 and status = 'active' for share"

# Waits for a suspension under way, and a suspension for it: then the new login is there to be revoked.
_STANDING: Final = "select status from users where id = $1 for share"


async def tell_nodes(statements: Statements, writer: tuple[str, int, int], id: UserId, old_rev: int) -> None:
    """The flush row of a user whose revision rises by one; `writer`: node, incarnation and number."""
    await statements.execute(_RECEIPT, *writer, id, old_rev)


def credentials_row(id: str, username: str, email: str, password_hash: str, status: str) -> Credentials:
    return Credentials(Account(UserId(id), username, email), password_hash, status)


async def account_of(statements: Statements, id: UserId) -> Account:
    found = await statements.fetchrow(credentials_row, CREDENTIALS + "id = $1", id)
    if found is None:
        raise KithError(ErrorCode.USER_NOT_FOUND)
    return found.account


async def check_still(statements: Statements, id: UserId, checked: str) -> None:
    if await statements.fetchval(str, _STILL, id, checked) is None:
        raise KithError(ErrorCode.INVALID_CREDENTIALS)


async def insert_login(statements: Statements, id: UserId, login: NewLogin) -> bool:
    """Whether others had to end for it. Raises FORBIDDEN when he is suspended: every way in comes through here, so none
    can be forgotten."""
    if await statements.fetchval(str, _STANDING, id) == "suspended":
        raise KithError(ErrorCode.FORBIDDEN, "This account is suspended", details={"status": "suspended"})
    await statements.execute(_FORGET_TOKENS, id, login.created_at)
    await statements.execute(_FORGET_LOGINS, id, login.created_at)
    ended = []
    if not await statements.fetchval(str, "select id::text from sessions where id = $1", login.id):
        ended = await statements.fetch(LoginId, _MAKE_ROOM, id, login.created_at)
    values = (login.id, id, login.token_hash, login.user_agent, login.address, login.created_at, login.expires_at)
    await statements.execute(_INSERT_LOGIN, *values)
    return bool(ended)


class Newcomer:
    """A user's row that is about to be, with the number of the flush row that tells of it."""

    def __init__(self, identity: NodeIdentity, id: UserId, email: str, password_hash: str) -> None:
        self._identity = identity
        self._number = identity.next_number()  # once: a repeated attempt writes the same row
        self._id = id
        self._email = email
        self._password_hash = password_hash

    async def insert(self, statements: Statements, names: Sequence[str], at: WallTime) -> Account:
        """Under the first name that is free. Raises EMAIL_TAKEN or USERNAME_TAKEN."""
        key = email_key(self._email)
        for name in names:
            values = (self._id, self._email, key, name, username_key(name), self._password_hash, at)
            if await statements.fetchval(str, _INSERT_USER, *values):
                writer = (self._identity.node, self._identity.incarnation, self._number)
                await tell_nodes(statements, writer, self._id, 0)
                return Account(self._id, name, self._email)
            # Both may be taken; then it is the e-mail that matters, because no other name would help.
            owner = await statements.fetchval(str, "select id::text from users where email_key = $1", key)
            if owner == self._id:  # an earlier attempt was about to commit, and this one has waited for it
                return await account_of(statements, self._id)
            if owner is not None:
                raise KithError(ErrorCode.EMAIL_TAKEN, details={"field": "email"})
        raise KithError(ErrorCode.USERNAME_TAKEN, details={"field": "username"})


async def write(postgres: Postgres, token: WriteToken, work: Work[T]) -> T:
    """Run `work` in a transaction, again if its answer was lost: it must recognise what it wrote itself."""
    if not token.valid:  # another activation may be writing by now
        raise KithError(ErrorCode.UNAVAILABLE, "This actor has ended", outcome="none")
    outcome: Outcome = "none"
    for pause in (*PAUSES, None):
        try:
            return await postgres.transaction(work)
        except DatabaseAwayError:
            outcome = "unknown"  # for good: that a later attempt fails says nothing about this one
        except StatementFailedError as error:
            if not error.of_the_world:
                error.outcome = outcome
                raise
            if not error.rolled_back:  # a lock that is held, a disk that is full: nobody waits for that four times
                break
        if pause is not None:
            await trio.sleep(pause)
    raise KithError(ErrorCode.UNAVAILABLE, outcome=outcome)
