"""Who is an admin and who is suspended, in PostgreSQL: the port `StandingStore`.

A change of somebody's standing is one transaction: his row, his logins, the audit row, and the flush row by which other
nodes learn of it. The functions are for whoever changes it as a part of something larger.
"""

from typing import Final, NamedTuple

from msgspec import UNSET

from actors.ports import WriteToken
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.moderation import (
    Act,
    ActionDetails,
    ActionId,
    Restore,
    SignOut,
    StandingChanged,
    Suspend,
    Suspension,
)
from actors.shapes.times import WallTime, iso
from storage.account_rows import tell_nodes, write
from storage.audit import Done, is_recorded, record
from storage.message_rows import milliseconds
from storage.node import NodeIdentity
from storage.postgres import Postgres, Statements
from storage.waking import NOBODY, Waking

_IS_ADMIN: Final = "select 1 from users where id = $1 and is_admin and status = 'active'"
_SUSPENSION: Final = f"""
select suspension_id::text, suspended_reason, {milliseconds("suspended_until")}
  from users where id = $1 and status = 'suspended'
"""
# It waits for the logins that are being opened (they share the row), so that none of them outlives the suspension.
_LOCK: Final = f"""
select rev, status, is_admin, suspension_id::text, {milliseconds("suspended_until")}
  from users where id = $1 and status <> 'deleted' for no key update
"""
_SUSPEND: Final = """
update users set status = 'suspended', suspension_id = $3,
       suspended_until = to_timestamp($4::bigint / 1000.0::float8), suspended_reason = $5, rev = $2 + 1,
       changed_xid = pg_current_xact_id(), updated_at = to_timestamp($6::bigint / 1000.0::float8)
 where id = $1
"""
_RESTORE: Final = """
update users set status = 'active', suspension_id = null, suspended_until = null, suspended_reason = null, rev = $2 + 1,
       changed_xid = pg_current_xact_id(), updated_at = to_timestamp($3::bigint / 1000.0::float8)
 where id = $1
"""
_REVOKE: Final = """
update sessions set revoked_at = to_timestamp($2::bigint / 1000.0::float8)
 where user_id = $1 and revoked_at is null and expires_at > to_timestamp($2::bigint / 1000.0::float8)
returning id::text
"""
_REVOKED_THEN: Final = """
select id::text from sessions where user_id = $1 and revoked_at = to_timestamp($2::bigint / 1000.0::float8)
"""


class UserHead(NamedTuple):
    rev: int
    status: str
    is_admin: bool
    suspension_id: ActionId | None
    suspended_until: WallTime | None


async def lock_user(statements: Statements, id: UserId) -> UserHead:
    head = await statements.fetchrow(UserHead, _LOCK, id)
    if head is None:
        raise KithError(ErrorCode.USER_NOT_FOUND)
    return head


class Standings:
    """The changes themselves, inside the transaction of whoever calls them; that part runs on the asyncio side."""

    def __init__(self, identity: NodeIdentity, waking: Waking = NOBODY) -> None:
        self._identity = identity
        self._waking = waking

    def committed(self, changed: StandingChanged) -> StandingChanged:
        """Wake the other nodes: whoever is suspended leaves them now, and not when they look next by themselves."""
        if changed.status is not None:
            self._waking.flushed()
        if changed.ended:
            self._waking.logins_ended()
        return changed

    async def suspend(self, statements: Statements, id: UserId, by: Act, command: Suspend) -> StandingChanged:
        """Everything but the audit row, which names the measure by the same id."""
        head = await lock_user(statements, id)
        if head.is_admin:
            raise KithError(ErrorCode.FORBIDDEN, "An admin is not suspended: first the operator revokes that right")
        await statements.execute(_SUSPEND, id, head.rev, by.id, command.until, command.reason, by.at)
        ended = await statements.fetch(LoginId, _REVOKE, id, by.at)
        await self._tell_nodes(statements, id, head.rev)
        return StandingChanged(tuple(ended), "suspended", head.rev + 1)

    async def restore(self, statements: Statements, id: UserId, by: Act, only: ActionId | None) -> StandingChanged:
        """Unless he is not suspended, or not by the measure `only`, or by time and his time is not over."""
        head = await lock_user(statements, id)
        early = by.actor == "time" and (head.suspended_until is None or head.suspended_until > by.at)
        if head.status != "suspended" or early or (only is not None and head.suspension_id != only):
            return StandingChanged()
        await statements.execute(_RESTORE, id, head.rev, by.at)
        await self._tell_nodes(statements, id, head.rev)
        return StandingChanged((), "active", head.rev + 1)

    async def sign_out(self, statements: Statements, id: UserId, by: Act) -> StandingChanged:
        await lock_user(statements, id)
        return StandingChanged(tuple(await statements.fetch(LoginId, _REVOKE, id, by.at)))

    async def is_done(self, statements: Statements, id: UserId, by: Act) -> bool:
        """Whether an earlier attempt did commit; behind the user's lock, for it may be committing at this moment."""
        await lock_user(statements, id)
        return await is_recorded(statements, by)

    async def found_again(self, statements: Statements, id: UserId, by: Act) -> StandingChanged:
        """What an earlier attempt did, whose answer was lost."""
        head = await lock_user(statements, id)
        ended = await statements.fetch(LoginId, _REVOKED_THEN, id, by.at)
        return StandingChanged(tuple(ended), "suspended" if head.status == "suspended" else "active", head.rev)

    async def _tell_nodes(self, statements: Statements, id: UserId, old_rev: int) -> None:
        writer = (self._identity.node, self._identity.incarnation, self._identity.next_number())
        await tell_nodes(statements, writer, id, old_rev)


class PostgresStanding:
    def __init__(self, postgres: Postgres, standings: Standings) -> None:
        self._postgres = postgres
        self._standings = standings

    async def is_admin(self, id: UserId) -> bool:
        return await self._postgres.fetchval(int, _IS_ADMIN, id) is not None

    async def suspension_of(self, id: UserId) -> Suspension | None:
        return await self._postgres.fetchrow(Suspension, _SUSPENSION, id)

    async def suspend(self, token: WriteToken, id: UserId, command: Suspend) -> StandingChanged:
        by = command.by

        async def work(statements: Statements) -> StandingChanged:
            if await self._standings.is_done(statements, id, by):
                return await self._standings.found_again(statements, id, by)
            changed = await self._standings.suspend(statements, id, by, command)
            details = suspension_details(command.until, changed)
            await record(statements, by, Done("suspend_user", "user", id, id, reason=command.reason, details=details))
            return changed

        return self._standings.committed(await write(self._postgres, token, work))

    async def restore(self, token: WriteToken, id: UserId, command: Restore) -> StandingChanged:
        by = command.by

        async def work(statements: Statements) -> StandingChanged:
            if await self._standings.is_done(statements, id, by):
                return await self._standings.found_again(statements, id, by)
            changed = await self._standings.restore(statements, id, by, None)
            if changed.status is not None:
                await record(statements, by, Done("restore_user", "user", id, id, reason=command.reason))
            return changed

        return self._standings.committed(await write(self._postgres, token, work))

    async def sign_out(self, token: WriteToken, id: UserId, command: SignOut) -> StandingChanged:
        by = command.by

        async def work(statements: Statements) -> StandingChanged:
            if await self._standings.is_done(statements, id, by):
                return StandingChanged((await self._standings.found_again(statements, id, by)).ended)
            changed = await self._standings.sign_out(statements, id, by)
            details = ActionDetails(ended_sessions=len(changed.ended))
            await record(statements, by, Done("sign_out_user", "user", id, id, reason=command.reason, details=details))
            return changed

        return self._standings.committed(await write(self._postgres, token, work))


def suspension_details(until: WallTime | None, changed: StandingChanged) -> ActionDetails:
    return ActionDetails(until=UNSET if until is None else iso(until), ended_sessions=len(changed.ended))
