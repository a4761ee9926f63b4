"""Idempotency keys in a flush, beside whatever was done under them; and the probe that names those in use."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.json import Encoder

from actors.ports import Beside, Unit
from actors.shapes.idempotency import KeyName
from actors.shapes.times import WallTime
from storage.journal.rider import RiderFragment, Riding

# A key in use is passed over and so missing, which takes the flush back; one older than a day is free. `moved` is there
# before the first key is: a flush that waits for another one's key has everything else it needs, and the order by key
# keeps two that want the same ones from waiting for each other in a circle.
_CTES: Final = """
k_want as materialized (
  select w.* from json_to_recordset({0}::text::json)
    as w(unit uuid, owner uuid, key text, fingerprint text, outcome text, at bigint)
    join moved on moved.id = w.unit
),
k_held as (
  insert into idempotency_keys as k (owner, key, fingerprint, outcome, created_at)
  select distinct on (w.owner, w.key) w.owner, w.key, w.fingerprint, w.outcome, to_timestamp(w.at / 1000.0::float8)
    from k_want w
   order by w.owner, w.key
  on conflict (owner, key) do update
     set fingerprint = excluded.fingerprint, outcome = excluded.outcome, created_at = excluded.created_at
   where k.created_at <= excluded.created_at - interval '24 hours'
  returning 1
)"""

USED: Final = """
select w.owner::text, w.key
  from unnest($1::uuid[], $2::text[], $3::bigint[]) w(owner, key, at)
  join idempotency_keys k on k.owner = w.owner and k.key = w.key
 where k.created_at > to_timestamp(w.at / 1000.0::float8) - interval '24 hours'
"""


class UsedKey(Struct, frozen=True):
    owner: str
    key: str


class _Key(Struct, frozen=True):
    unit: str
    owner: str
    key: str
    fingerprint: str
    outcome: str
    at: WallTime


class KeyRider:
    letter = "k"
    fragment = RiderFragment(_CTES, "(select count(*) from k_held)", "(select count(*) from k_want)")

    def __init__(self) -> None:
        self._encode = Encoder().encode

    def rows(self, beside: Beside) -> int:
        return len(beside.keys)

    def document(self, riding: Riding) -> str:
        rows = [
            _Key(unit, row.keyed.owner, row.keyed.key, row.keyed.fingerprint, row.outcome, row.keyed.at)
            for unit, beside in riding
            for row in beside.keys
        ]
        return self._encode(rows).decode()


def keys_of(units: Iterable[Unit]) -> tuple[list[str], list[str], list[int]]:
    """Owner, key and time of every key, as three columns."""
    keyed = [row.keyed for unit in units if unit.beside is not None for row in unit.beside.keys]
    return [k.owner for k in keyed], [k.key for k in keyed], [k.at for k in keyed]


def names_of(unit: Unit) -> frozenset[KeyName]:
    return frozenset((row.keyed.owner, row.keyed.key) for row in unit.beside.keys) if unit.beside else frozenset()
