"""Reads of users in memory: the twin of PostgresUsers."""

from collections.abc import Sequence

from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import iso
from actors.shapes.users import Profile, UserState
from storage.memory.tables import MemoryTables, UserRow


class MemoryUsers:
    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self.loads: list[list[UserId]] = []  # one entry per batch, for tests of batching

    async def load(self, ids: Sequence[UserId]) -> dict[UserId, UserState]:
        self.loads.append(list(ids))
        rows = [self._tables.users[id] for id in ids if id in self._tables.users]
        return {
            row.id: UserState(row.id, row.rev, row.username, row.display_name, row.limits, row.status) for row in rows
        }

    async def heads(self, ids: Sequence[UserId]) -> dict[UserId, tuple[int, dict[ConversationId, int]]]:
        return {
            id: (0, {table.id: table.rev for table, _ in self._tables.of_member(id)})
            for id in ids
            if id in self._tables.users
        }

    async def profiles(self, ids: Sequence[UserId]) -> dict[UserId, Profile]:
        rows = [self._tables.users[id] for id in ids if id in self._tables.users]
        return {row.id: _profile(row) for row in rows if row.status != "deleted"}

    async def block_between(self, a: UserId, b: UserId) -> frozenset[tuple[UserId, UserId]]:
        return frozenset(pair for pair in self._tables.blocks if set(pair) == {a, b})


def _profile(row: UserRow) -> Profile:
    return Profile(
        id=row.id,
        username=row.username,
        display_name=row.display_name,
        avatar_url=row.avatar_url,
        bio=row.bio,
        interests=row.interests,
        follower_count=0,
        following_count=0,
        created_at=iso(row.created_at),
        email=row.email,
    )
