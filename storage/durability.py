"""Reads what PostgreSQL promises: an acknowledgement is worth what fsync makes of it."""

import logging
from typing import Final

from msgspec import Struct

from storage.database_errors import UnsafeSettingsError
from storage.postgres import Postgres

_log = logging.getLogger(__name__)

_READ: Final = """
select current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
       current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
       current_setting('server_version_num')::int, pg_is_in_recovery()
"""

OLDEST_SERVER: Final = 150000


class Durability(Struct, frozen=True):
    """The settings in force; printed by `kith doctor` and written into every result of a measurement."""

    fsync: bool
    full_page_writes: bool
    synchronous_commit: str  # of our own sessions, which set it to `on` whatever the server's default is
    synchronous_standby_names: str
    server_version: int
    standby: bool

    @property
    def problems(self) -> list[str]:
        found = []
        if not self.fsync:
            found.append("fsync is off: a power cut takes back what was acknowledged")
        if not self.full_page_writes:
            found.append("full_page_writes is off: a crash can tear pages that hold acknowledged rows")
        return found


async def read_durability(postgres: Postgres) -> Durability:
    found = await postgres.fetchrow(Durability, _READ)
    if found is None:
        raise AssertionError("a select without from has one row")
    return found


async def check_durability(postgres: Postgres, *, unsafe: bool = False) -> Durability:
    """Refuse a server that would make us acknowledge what is not on disk, unless told to go on."""
    found = await read_durability(postgres)
    if found.standby:
        raise UnsafeSettingsError("DATABASE_URL names a standby: Kith writes, and cursors are not read from standbys")
    if found.server_version < OLDEST_SERVER:
        raise UnsafeSettingsError(f"PostgreSQL 15 or newer is needed, this is {found.server_version // 10000}")
    if found.problems and not unsafe:
        raise UnsafeSettingsError("; ".join(found.problems) + " (--unsafe goes on all the same)")
    for problem in found.problems:
        _log.warning("unsafe: %s", problem)
    return found
