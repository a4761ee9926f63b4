"""Idempotency keys in PostgreSQL: looked up, claimed in transactions beside the journal, forgotten after a day."""

import logging
from typing import Final

import trio

from actors.ports import Clock
from actors.shapes.idempotency import KEPT_HOURS, KeptAnswer, Keyed, KeyUsedError
from actors.shapes.times import WallTime
from storage.database_errors import DatabaseError
from storage.postgres import Postgres, Statements

_log = logging.getLogger(__name__)

BATCH: Final = 1_000
EVERY_SECONDS: Final = 60.0

# The boundary is asked in the words that the flush uses (key_rider.py), so that no key is free here and in use there.
_FIND: Final = f"""
select fingerprint, outcome from idempotency_keys
 where owner = $1::uuid and key = $2
   and created_at > to_timestamp($3::bigint / 1000.0::float8) - interval '{KEPT_HOURS} hours'
"""
_CLAIM: Final = f"""
insert into idempotency_keys as k (owner, key, fingerprint, outcome, created_at)
values ($1::uuid, $2, $3, $4, to_timestamp($5::bigint / 1000.0::float8))
on conflict (owner, key) do update
   set fingerprint = excluded.fingerprint, outcome = excluded.outcome, created_at = excluded.created_at
 where k.created_at <= excluded.created_at - interval '{KEPT_HOURS} hours'
returning key
"""
# As flush_retention.py: small batches, and rows that another node is deleting are left to it.
_FORGET: Final = f"""
with old as (
  select ctid from idempotency_keys
   where created_at <= to_timestamp($2::bigint / 1000.0::float8) - interval '{KEPT_HOURS} hours'
   order by created_at limit $1
  for update skip locked
)
delete from idempotency_keys k using old where k.ctid = old.ctid
"""


class PostgresKeys:
    """Implements actors.ports.KeyStore."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, owner: str, key: str, now: WallTime) -> KeptAnswer | None:
        return await self._postgres.fetchrow(KeptAnswer, _FIND, owner, key, now)


async def claim_key(statements: Statements, keyed: Keyed | None, outcome: str) -> None:
    """Write the key in this transaction, before anything that another request with the same key would wait for: it then
    waits here, and finds what this one answered. Raises KeyUsedError, which takes the transaction back."""
    if keyed is not None:
        values = (keyed.owner, keyed.key, keyed.fingerprint, outcome, keyed.at)
        if await statements.fetchval(str, _CLAIM, *values) is None:
            raise KeyUsedError


async def delete_old_keys(postgres: Postgres, now: WallTime) -> int:
    """Delete what is too old and say how many rows that was."""
    total = 0
    while True:
        deleted = int((await postgres.execute(_FORGET, BATCH, now)).rpartition(" ")[2])
        total += deleted
        if deleted < BATCH:
            return total


async def forget_old_keys(postgres: Postgres, clock: Clock) -> None:
    """Once a minute, for as long as the node lives; PostgreSQL being away is no reason to end."""
    while True:
        await trio.sleep(EVERY_SECONDS)
        try:
            await delete_old_keys(postgres, clock.now())
        except DatabaseError as error:
            _log.warning("old idempotency keys were not deleted: %s", error)
