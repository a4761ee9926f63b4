"""Deletes flush rows older than an hour: nobody reads them any more, a node that fell further behind starts over."""

import logging
from typing import Final

import trio

from storage.database_errors import DatabaseError
from storage.postgres import Postgres

_log = logging.getLogger(__name__)

KEEP: Final = "1 hour"
BATCH: Final = 1_000
EVERY_SECONDS: Final = 60.0

# Small batches, so that no transaction is open for long; rows that another node is deleting are left to it. By xid,
# which has the index and the same order as time, but for commits that cross: hence the margin of a batch, no more.
_DELETE: Final = """
with old as (
  select ctid from flushes where xid in (
    select xid from flushes order by xid limit $1
  ) and at < now() - $2::text::interval
  for update skip locked
)
delete from flushes f using old where f.ctid = old.ctid
"""


async def delete_old_flushes(postgres: Postgres) -> int:
    """Delete what is too old and say how many rows that was."""
    total = 0
    while True:
        status = await postgres.execute(_DELETE, BATCH, KEEP)
        deleted = int(status.rpartition(" ")[2])
        total += deleted
        if deleted < BATCH:
            return total


async def forget_old_flushes(postgres: Postgres) -> None:
    """Once a minute, for as long as the node lives; PostgreSQL being away is no reason to end."""
    while True:
        await trio.sleep(EVERY_SECONDS)
        try:
            await delete_old_flushes(postgres)
        except DatabaseError as error:
            _log.warning("old flush rows were not deleted: %s", error)
