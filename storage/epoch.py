"""Which history of the database this is, and what time it has: both are asked of PostgreSQL."""

import hashlib
from typing import Final

from actors.shapes.times import WallTime
from storage.postgres import Postgres

# A restored copy has the same system identifier; its timeline or, after `kith restored`, its generation differs.
_EPOCH: Final = """
select (select system_identifier from pg_control_system())::text || '/'
    || (select timeline_id from pg_control_checkpoint())::text || '/'
    || (select generation from deployment)::text
"""
_NOW: Final = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"


async def epoch_of(postgres: Postgres) -> str:
    """The same for all nodes of a deployment until its history forks; says nothing about the machine to outsiders."""
    told = await postgres.fetchval(str, _EPOCH)
    if told is None:
        raise AssertionError("the deployment has its one row from the first migration on")
    return hashlib.sha256(told.encode()).hexdigest()[:16]


async def database_now(postgres: Postgres) -> WallTime:
    now = await postgres.fetchval(int, _NOW)
    if now is None:
        raise AssertionError("a clock has a time")
    return WallTime(now)
