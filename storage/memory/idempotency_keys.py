"""Idempotency keys in memory: the twin of storage/idempotency_keys.py."""

from actors.shapes.idempotency import KeptAnswer, Keyed, KeyRow, KeyUsedError
from actors.shapes.times import WallTime
from storage.memory.tables import MemoryTables


class MemoryKeys:
    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def find(self, owner: str, key: str, now: WallTime) -> KeptAnswer | None:
        row = self._tables.keys.get((owner, key))
        if row is None or not self._tables.uses(Keyed(owner, key, "", now)):
            return None
        return KeptAnswer(row.keyed.fingerprint, row.outcome)


def check_key(tables: MemoryTables, keyed: Keyed | None) -> None:
    """Asked first. Raises KeyUsedError."""
    if keyed is not None and tables.uses(keyed):
        raise KeyUsedError


def keep_key(tables: MemoryTables, keyed: Keyed | None, outcome: str) -> None:
    """Called with the effect; together they are what `claim_key` is in a transaction."""
    if keyed is not None:
        tables.keys[keyed.owner, keyed.key] = KeyRow(keyed, outcome)
