"""One-time codes and identities at a provider in PostgreSQL: the port `SignInStore`."""

from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple

from actors.ports import Clock, WriteToken
from actors.rules.accounts import NO_PASSWORD, username_variants
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import IdentityId, UserId
from actors.shapes.sign_in import (
    CodeSpent,
    FlowSpent,
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
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Account
from storage.account_rows import (
    CREDENTIALS,
    Newcomer,
    account_of,
    check_still,
    credentials_row,
    insert_login,
    write,
)
from storage.message_rows import milliseconds
from storage.node import NodeIdentity
from storage.postgres import Postgres, Statements
from storage.waking import NOBODY, Waking

_TOTP: Final = f"""
select secret, confirmed_at is not null, last_step, failures, {milliseconds("paused_until")},
       (select count(*)::int from recovery_codes r where r.user_id = t.user_id and r.used_at is null)
  from totp t where user_id = $1
"""
_BEGIN: Final = """
insert into totp (user_id, secret, created_at) values ($1, $2, to_timestamp($3::bigint / 1000.0::float8))
on conflict (user_id) do update
   set secret = excluded.secret, last_step = 0, failures = 0, paused_until = null, created_at = excluded.created_at
 where totp.confirmed_at is null
returning user_id::text
"""
# The pause follows from the failures, so these two are all that there is to compare. Of two nodes that are shown the
# same code at once, both find it right and one of them finds this row unchanged.
_GUARD: Final = """
update totp
   set last_step = $4, failures = $5, paused_until = to_timestamp($6::bigint / 1000.0::float8),
       secret = coalesce($7, secret)
 where user_id = $1 and last_step = $2 and failures = $3 and (confirmed_at is not null) = $8
returning user_id::text
"""
_USE_RECOVERY: Final = """
update recovery_codes set used_at = to_timestamp($3::bigint / 1000.0::float8)
 where user_id = $1 and code_hash = $2 and used_at is null
returning user_id::text
"""
_CONFIRM: Final = "update totp set confirmed_at = to_timestamp($2::bigint / 1000.0::float8) where user_id = $1"
_HAS_RECOVERY: Final = "select user_id::text from recovery_codes where user_id = $1 and code_hash = $2"
_SET_RECOVERY: Final = "insert into recovery_codes (user_id, code_hash) select $1, unnest($2::bytea[])"

_IDENTITY: Final = f"""
select id::text, user_id::text, issuer, email, {milliseconds("created_at")}
  from identities where issuer = $1 and subject = $2
"""
_IDENTITIES: Final = f"""
select id::text, user_id::text, issuer, email, {milliseconds("created_at")}
  from identities where user_id = $1 order by created_at, id
"""
_LINK: Final = """
insert into identities (id, user_id, issuer, subject, email, created_at)
values ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0::float8))
on conflict do nothing
returning id::text
"""
# The user first and his identity behind it, in the order of `unlink`, so that the two never wait for each other.
_STILL_ACTIVE: Final = "select id::text from users where id = $1 and status = 'active' for share"
# Whoever spends something that is good once takes his row first: a repetition whose first attempt is still committing
# waits here, and finds what that wrote. It waited at the code or the flow, and found them spent.
_LOCK: Final = "select id::text from users where id = $1 for no key update"
_STILL_OWNER: Final = "select id::text from identities where issuer = $1 and subject = $2 and user_id = $3"
# Locked rows are somebody else's to delete: two that clean up at once never wait for each other. Longer than clocks
# differ, for a row must outlive the last node that would still take its flow.
_FORGET_FLOWS: Final = """
delete from spent_flows where id in
 (select id from spent_flows where expires_at < to_timestamp($1::bigint / 1000.0::float8) - interval '10 minutes'
   order by expires_at limit 100 for update skip locked)
"""
_SPEND: Final = """
insert into spent_flows (id, expires_at) values ($1, to_timestamp($2::bigint / 1000.0::float8))
on conflict do nothing returning id::text
"""


class _TotpRow(NamedTuple):
    sealed: bytes
    active: bool
    last_step: int
    failures: int
    paused_until: WallTime | None
    recovery_left: int

    @property
    def shown(self) -> Totp:
        return Totp(
            self.sealed, self.active, Guard(self.last_step, self.failures, self.paused_until), self.recovery_left
        )


class PostgresSignIn:
    """Reads go to the pool as they are; writes want the token of the user's own actor."""

    def __init__(self, postgres: Postgres, identity: NodeIdentity, clock: Clock, waking: Waking = NOBODY) -> None:
        self._postgres = postgres
        self._identity = identity
        self._clock = clock
        self._waking = waking

    # -- one-time codes -----------------------------------------------------------------------------------------------

    async def totp(self, id: UserId) -> Totp | None:
        row = await self._postgres.fetchrow(_TotpRow, _TOTP, id)
        return None if row is None else row.shown

    async def begin_totp(self, token: WriteToken, id: UserId, sealed: bytes, checked: str) -> bool:
        now = self._clock.now()

        async def work(statements: Statements) -> bool:
            await check_still(statements, id, checked)
            return await statements.fetchval(str, _BEGIN, id, sealed, now) is not None

        return await write(self._postgres, token, work)

    async def confirm_totp(self, token: WriteToken, id: UserId, proof: Proof, recovery: Sequence[bytes]) -> bool:
        now = self._clock.now()

        async def work(statements: Statements) -> bool:
            await statements.fetchval(str, _LOCK, id)
            if await _recovery_stands(statements, id, recovery):
                return True
            if not await _prove(statements, id, proof, active=False):
                return False
            await statements.execute(_CONFIRM, id, now)
            await statements.execute(_SET_RECOVERY, id, list(recovery))
            return True

        return await write(self._postgres, token, work)

    async def note_failure(self, token: WriteToken, id: UserId, before: Guard, after: Guard) -> bool:
        async def work(statements: Statements) -> bool:
            known = await statements.fetchrow(_TotpRow, _TOTP, id)
            return known is not None and await _prove(statements, id, CodeSpent(before, after), active=known.active)

        return await write(self._postgres, token, work)

    async def spend_code(self, token: WriteToken, id: UserId, proof: Proof) -> bool:
        async def work(statements: Statements) -> bool:
            return await self._proved(statements, id, proof)

        return await write(self._postgres, token, work)

    async def disable_totp(self, token: WriteToken, id: UserId, proof: Proof, checked: str) -> bool:
        async def work(statements: Statements) -> bool:
            await statements.fetchval(str, _LOCK, id)
            await check_still(statements, id, checked)
            if await statements.fetchrow(_TotpRow, _TOTP, id) is None:  # an earlier attempt, or another node
                return True
            if not await self._proved(statements, id, proof):
                return False
            await statements.execute("delete from totp where user_id = $1", id)
            return True

        return await write(self._postgres, token, work)

    async def renew_recovery(
        self, token: WriteToken, id: UserId, proof: Proof, recovery: Sequence[bytes], checked: str
    ) -> bool:
        async def work(statements: Statements) -> bool:
            await statements.fetchval(str, _LOCK, id)
            await check_still(statements, id, checked)
            if await _recovery_stands(statements, id, recovery):
                return True
            if not await self._proved(statements, id, proof):
                return False
            await statements.execute("delete from recovery_codes where user_id = $1", id)
            await statements.execute(_SET_RECOVERY, id, list(recovery))
            return True

        return await write(self._postgres, token, work)

    async def _proved(self, statements: Statements, id: UserId, proof: Proof) -> bool:
        if isinstance(proof, CodeSpent):
            return await _prove(statements, id, proof, active=True)
        return await statements.fetchval(str, _USE_RECOVERY, id, proof.code_hash, self._clock.now()) is not None

    # -- signing in ---------------------------------------------------------------------------------------------------

    async def open_login(self, token: WriteToken, id: UserId, opening: Opening) -> Account | None:
        login, identity = opening.login, opening.identity
        crowded = False

        async def work(statements: Statements) -> Account | None:
            nonlocal crowded
            await statements.fetchval(str, _LOCK, id)
            if await statements.fetchval(str, "select id::text from sessions where id = $1", login.id):
                return await account_of(statements, id)  # an earlier attempt did commit
            if opening.checked is not None:
                await check_still(statements, id, opening.checked)
            if identity is not None:
                await _check_owner(statements, id, identity)
            if opening.proof is not None and not await self._proved(statements, id, opening.proof):
                return None
            if opening.flow is not None:
                await self._spend(statements, opening.flow)
            account = await account_of(statements, id)
            crowded = await insert_login(statements, id, login) or crowded
            return account

        opened = await write(self._postgres, token, work)
        if crowded:
            self._waking.logins_ended()
        return opened

    async def register(self, token: WriteToken, id: UserId, command: RegisterWithIdentity) -> Account:
        names = (command.username, *username_variants(command.username, id))
        newcomer = Newcomer(self._identity, id, command.email, NO_PASSWORD)
        at = command.login.created_at

        async def work(statements: Statements) -> Account:
            known = await statements.fetchrow(credentials_row, CREDENTIALS + "id = $1", id)
            if known is not None:  # an earlier attempt did commit
                return known.account
            try:
                await self._spend(statements, command.flow)
            except KithError:
                # It has waited for whoever spent it. That may be an earlier attempt, whose user is there by now.
                known = await statements.fetchrow(credentials_row, CREDENTIALS + "id = $1", id)
                if known is None:
                    raise
                return known.account
            account = await newcomer.insert(statements, names, at)
            link = LinkIdentity(command.identity_id, command.identity, command.flow, at)
            if not await statements.fetchval(str, _LINK, *_link_values(id, link)):
                raise KithError(ErrorCode.INVALID_CREDENTIALS, details={"field": "flow"})
            await insert_login(statements, id, command.login)
            return account

        return await write(self._postgres, token, work)

    async def _spend(self, statements: Statements, flow: FlowSpent) -> None:
        await statements.execute(_FORGET_FLOWS, self._clock.now())
        if await statements.fetchval(str, _SPEND, flow.id, flow.expires_at) is None:
            raise KithError(ErrorCode.INVALID_CREDENTIALS, details={"field": "flow"})

    # -- identities ---------------------------------------------------------------------------------------------------

    async def owner(self, issuer: str, subject: str) -> UserId | None:
        found = await self._postgres.fetchrow(_owned, _IDENTITY, issuer, subject)
        return None if found is None else found[0]

    async def identities(self, id: UserId) -> list[IdentityView]:
        return [view for _, view in await self._postgres.fetch(_owned, _IDENTITIES, id)]

    async def link(self, token: WriteToken, id: UserId, command: LinkIdentity) -> tuple[IdentityView, bool]:
        key = (command.identity.issuer, command.identity.subject)

        async def work(statements: Statements) -> tuple[IdentityView, bool]:
            await statements.fetchval(str, _LOCK, id)
            found = await statements.fetchrow(_owned, _IDENTITY, *key)
            if found is None or found[1].id != command.id:  # else an earlier attempt did commit
                await self._spend(statements, command.flow)
                await statements.fetchval(str, _LINK, *_link_values(id, command))
                found = await statements.fetchrow(_owned, _IDENTITY, *key)
            if found is None or found[0] != id:
                raise KithError(ErrorCode.FORBIDDEN, "This sign-in belongs to another account")
            return found[1], found[1].id == command.id

        return await write(self._postgres, token, work)

    async def unlink(self, token: WriteToken, id: UserId, command: UnlinkIdentity) -> None:
        tried = count()

        async def work(statements: Statements) -> None:
            # Locked, so that of two that take away each the other's last way in one comes second and sees it.
            sql = "select password_hash from users where id = $1 for update"
            password_hash = await statements.fetchval(str, sql, id)
            sql = "delete from identities where id = $1 and user_id = $2 returning id::text"
            again = next(tried) > 0
            if await statements.fetchval(str, sql, command.id, id) is None and not again:
                raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such identity")
            sql = "select count(*) from identities where user_id = $1 and issuer = $2"
            others = await statements.fetchval(int, sql, id, command.issuer)
            if password_hash == NO_PASSWORD and not others:
                raise KithError(ErrorCode.FORBIDDEN, "This is the only way into the account: set a password first")

        await write(self._postgres, token, work)


async def _prove(statements: Statements, id: UserId, proof: Proof, *, active: bool) -> bool:
    assert isinstance(proof, CodeSpent)
    before, after = proof.before, proof.after
    values = (before.last_step, before.failures, after.last_step, after.failures, after.paused_until, proof.resealed)
    return await statements.fetchval(str, _GUARD, id, *values, active) is not None


async def _check_owner(statements: Statements, id: UserId, identity: ProviderIdentity) -> None:
    active = await statements.fetchval(str, _STILL_ACTIVE, id)
    if active is None or await statements.fetchval(str, _STILL_OWNER, identity.issuer, identity.subject, id) is None:
        raise KithError(ErrorCode.INVALID_CREDENTIALS)


async def _recovery_stands(statements: Statements, id: UserId, recovery: Sequence[bytes]) -> bool:
    """Whether an earlier attempt did commit."""
    return await statements.fetchval(str, _HAS_RECOVERY, id, recovery[0]) is not None


def _link_values(id: UserId, link: LinkIdentity) -> tuple[object, ...]:
    return (link.id, id, link.identity.issuer, link.identity.subject, link.identity.email, link.at)


def _owned(id: str, user: str, issuer: str, email: str | None, created_at: WallTime) -> tuple[UserId, IdentityView]:
    return UserId(user), IdentityView(IdentityId(id), issuer, email, iso(created_at))
