"""Who is a platform admin: the one right that only the operator gives, by a transaction of the command line's own.

No actor writes it, because the right to become an admin must not be in reach of the network. Running nodes need not be
told: they ask the database for each request of an admin's. The flush row is for whoever else keeps the user in memory.
"""

from typing import Final, Literal, NamedTuple

from uuid_utils import uuid7

from actors.rules.accounts import email_key, username_key
from actors.shapes.ids import UserId, canonical
from actors.shapes.moderation import Act, ActionId
from actors.shapes.times import WallTime
from storage.account_rows import tell_nodes
from storage.audit import Done, record
from storage.pages import microseconds
from storage.postgres import Statements, run_once

_FIND: Final = """
select id::text, username, email, status, is_admin from users
 where status <> 'deleted' and (email_key = $1 or username_key = $2 or id = $3::uuid)
 for no key update
"""
_SET: Final = """
update users set is_admin = $2, rev = rev + 1, changed_xid = pg_current_xact_id(), updated_at = clock_timestamp()
 where id = $1
returning rev
"""
_ADMINS: Final = """
select id::text, username, email, status, is_admin from users where is_admin order by created_at, id
"""
_NOW: Final = f"select {microseconds('clock_timestamp()')}"

Outcome = Literal["done", "already", "nobody", "suspended"]


class Granted(NamedTuple):
    id: UserId
    username: str
    email: str
    status: str
    is_admin: bool


async def set_admin(url: str, person: str, is_admin: bool) -> tuple[Outcome, Granted | None]:
    """`person`: e-mail, username or id. Whose right is as wanted keeps it, and nothing is written."""

    async def work(statements: Statements) -> tuple[Outcome, Granted | None]:
        async with statements.transaction():
            keys = (email_key(person), username_key(person), canonical(person))
            found = await statements.fetchrow(Granted, _FIND, *keys)
            if found is None:
                return "nobody", None
            if found.is_admin == is_admin:
                return "already", found
            if is_admin and found.status == "suspended":
                return "suspended", found
            rev = await statements.fetchval(int, _SET, found.id, is_admin)
            now = await statements.fetchval(int, _NOW)
            assert rev is not None
            assert now is not None
            # Of no node: the name and the moment are nobody else's.
            await tell_nodes(statements, ("operator", now, 1), found.id, rev - 1)
            by = Act(ActionId(str(uuid7())), WallTime(now // 1_000), "operator")
            action: Literal["grant_admin", "revoke_admin"] = "grant_admin" if is_admin else "revoke_admin"
            await record(statements, by, Done(action, "user", found.id, found.id))
            return "done", found

    return await run_once(url, work)


async def admins(url: str) -> list[Granted]:
    async def work(statements: Statements) -> list[Granted]:
        return await statements.fetch(Granted, _ADMINS)

    return await run_once(url, work)
