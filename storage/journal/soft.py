"""The soft class: what is written behind about once a second, and may lose its last second.

It holds only what nobody was promised: when a login was last used, when a user was last seen.
"""

import logging
from typing import Final, TypeVar

import trio

from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from storage.database_errors import DatabaseError
from storage.postgres import Postgres

NotedId = TypeVar("NotedId", bound=str)
_log = logging.getLogger(__name__)

EVERY: Final = Seconds(1.0)
# Beyond this many different rows new ones are dropped: PostgreSQL is away, and none of them was promised.
BOUND: Final = 200_000

# In id order and past locked rows, like every write of ours. It returns the rows that were locked, to be written next
# time; rows that are gone are forgotten.
_WRITE: Final = """
with wanted as materialized (select * from unnest($1::uuid[], $2::bigint[]) w(id, at)),
locked as materialized (
  select t.id, w.at from {table} t join wanted w on w.id = t.id order by t.id for no key update of t skip locked
),
written as (
  update {table} t set {column} = greatest(t.{column}, to_timestamp(l.at / 1000.0::float8))
    from locked l where t.id = l.id
  returning t.id
)
select t.id::text from {table} t join wanted using (id) where not exists (select from written where written.id = t.id)
"""
_LOGINS: Final = _WRITE.format(table="sessions", column="last_used_at")
_USERS: Final = _WRITE.format(table="users", column="last_seen_at")


class SoftWrites:
    """Whoever notes something returns at once; the latest note of a row is the one that is written."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._logins: dict[LoginId, WallTime] = {}
        self._users: dict[UserId, WallTime] = {}
        self.written = 0
        self.dropped = 0

    def login_used(self, login: LoginId, at: WallTime) -> None:
        if login in self._logins or len(self._logins) < BOUND:
            self._logins[login] = at
        else:
            self.dropped += 1

    def user_seen(self, user: UserId, at: WallTime) -> None:
        if user in self._users or len(self._users) < BOUND:
            self._users[user] = at
        else:
            self.dropped += 1

    @property
    def waiting(self) -> int:
        return len(self._logins) + len(self._users)

    async def run(self, every: Seconds = EVERY) -> None:
        """Write about once a second, until cancelled; `flush` once more at the end of an ordered stop."""
        while True:
            await trio.sleep(every)
            try:
                await self.flush()
            except DatabaseError as error:
                _log.warning("last-seen times wait for the database: %s", error)

    async def flush(self) -> None:
        logins, self._logins = self._logins, {}
        users, self._users = self._users, {}
        try:
            logins = await self._write(_LOGINS, logins)
            users = await self._write(_USERS, users)
        finally:
            # What could not be written waits for the next time, unless something newer was noted meanwhile.
            self._logins = logins | self._logins
            self._users = users | self._users

    async def _write(self, sql: str, notes: dict[NotedId, WallTime]) -> dict[NotedId, WallTime]:
        """Write them, and return those that must wait."""
        if not notes:
            return {}
        locked = set(await self._postgres.fetch(str, sql, list(notes), list(notes.values())))
        self.written += len(notes) - len(locked)
        return {id: at for id, at in notes.items() if id in locked}
