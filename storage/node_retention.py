"""Forgets the nodes that have not lived for a day: a container has a new name with every start, and each left a row."""

import logging
from typing import Final

import trio

from storage.database_errors import DatabaseError
from storage.postgres import Postgres

_log = logging.getLogger(__name__)

# Longer than flush rows are kept: whoever comes back under the name meets none of that node's.
KEEP: Final = "1 day"
EVERY_SECONDS: Final = 3_600.0

_DELETE: Final = "delete from nodes where seen < now() - $1::text::interval"


async def delete_gone_nodes(postgres: Postgres) -> int:
    """Say how many there were. One that lives all the same enters itself again within a second (storage/sweep.py)."""
    return int((await postgres.execute(_DELETE, KEEP)).rpartition(" ")[2])


async def forget_gone_nodes(postgres: Postgres) -> None:
    """Once an hour, for as long as the node lives; PostgreSQL being away is no reason to end."""
    while True:
        await trio.sleep(EVERY_SECONDS)
        try:
            await delete_gone_nodes(postgres)
        except DatabaseError as error:
            _log.warning("nodes that are gone were not forgotten: %s", error)
