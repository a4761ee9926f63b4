"""Users as admins see them, in PostgreSQL: the port `PeopleStore`."""

from typing import Final

from msgspec import Struct

from actors.rules.accounts import email_key, username_key
from actors.shapes.ids import UserId, canonical
from actors.shapes.moderation import Place, UserCounts, UserFilter, UserStatus, UserSummary
from actors.shapes.times import WallTime, iso
from storage.message_rows import iso_or_none, milliseconds
from storage.pages import BEFORE, Conditions, microseconds, page_of
from storage.postgres import Postgres

_COLUMNS: Final = f"""id::text, username, display_name, email, status, is_admin, {milliseconds("suspended_until")},
 {milliseconds("created_at")}, {milliseconds("last_seen_at")}, {microseconds("created_at")}"""
# Four ranges of four indexes; what that costs with a million users stands in docs/admin.md. The text behind the prefix
# sorts before U+10FFFF, which nobody has in a name.
_MATCHING: Final = """id in (
  select id from users where username_key collate "C" between {} and {}
  union all select id from users where email_key collate "C" between {} and {}
  union all select id from users where lower(display_name) collate "C" between lower({}::text) and lower({}::text)
  union all select {}::uuid)"""
_LAST: Final = "\U0010ffff"

_COUNTS: Final = """
select (select count(*) from sessions where user_id = $1 and revoked_at is null and expires_at > now()),
       (select count(*) from conversation_members where user_id = $1 and left_rev is null),
       u.follower_count, u.following_count,
       (select count(*) from blocks where blocked_id = $1),
       (select count(*) from reports where reporter_id = $1),
       (select count(*) from reports where user_id = $1),
       (select count(*) from reports where user_id = $1 and status = 'open')
  from users u where u.id = $1
"""


class _Row(Struct, frozen=True):
    id: UserId
    username: str
    display_name: str | None
    email: str
    status: UserStatus
    is_admin: bool
    suspended_until: WallTime | None
    created_at: WallTime
    last_seen_at: WallTime | None
    micros: int

    @property
    def place(self) -> Place:
        return self.micros, self.id

    @property
    def shown(self) -> UserSummary:
        return UserSummary(
            id=self.id,
            username=self.username,
            display_name=self.display_name,
            email=self.email,
            status=self.status,
            is_admin=self.is_admin,
            suspended_until=iso_or_none(self.suspended_until),
            created_at=iso(self.created_at),
            last_seen_at=iso_or_none(self.last_seen_at),
        )


class PostgresPeople:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, wanted: UserFilter, after: Place | None, limit: int) -> tuple[list[UserSummary], Place | None]:
        where = Conditions()
        if wanted.q:
            prefixes = (username_key(wanted.q), email_key(wanted.q), wanted.q)
            where.add(_MATCHING, *(end for p in prefixes for end in (p, p + _LAST)), canonical(wanted.q))
        if wanted.status is not None and wanted.status != "active":
            where.add("status <> 'active'")  # so that the index of these few is used, whatever the value
        where.equal("status", wanted.status)
        if wanted.admins:
            where.add("is_admin")
        where.place(BEFORE, "created_at", after)
        sql = f"select {_COLUMNS} from users {where} order by created_at desc, id desc limit {where.value(limit + 1)}"
        return page_of(await self._postgres.fetch(_Row, sql, *where.values), limit)

    async def summary(self, id: UserId) -> UserSummary | None:
        row = await self._postgres.fetchrow(_Row, f"select {_COLUMNS} from users where id = $1", id)
        return None if row is None else row.shown

    async def counts(self, id: UserId) -> UserCounts:
        counts = await self._postgres.fetchrow(UserCounts, _COUNTS, id)
        return counts or UserCounts(0, 0, 0, 0, 0, 0, 0, 0)
