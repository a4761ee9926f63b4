"""Reads of users: it implements UserStore."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Profile, UserState
from storage.message_rows import milliseconds
from storage.postgres import Postgres

_LOAD: Final = "select id::text, rev, username, display_name, limits, status from users where id = any($1::uuid[])"

# A user in no conversation has one row, too: he exists.
_HEADS: Final = """
select u.id::text, c.id::text, c.rev
  from users u
  left join conversation_members m on m.user_id = u.id and m.left_rev is null
  left join conversations c on c.id = m.conversation_id
 where u.id = any($1::uuid[])
"""

_PROFILES: Final = f"""
select id::text, username, display_name, avatar_url, bio, interests, follower_count, following_count,
       {milliseconds("created_at")}, email
  from users where id = any($1::uuid[]) and status <> 'deleted'
"""

_BLOCKS: Final = """
select blocker_id::text, blocked_id::text from blocks
 where (blocker_id, blocked_id) in (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))
"""


class _HeadRow(Struct, frozen=True, gc=False):
    user_id: UserId
    conversation_id: ConversationId | None
    rev: int


class _ProfileRow(Struct, frozen=True):
    id: UserId
    username: str
    display_name: str | None
    avatar_url: str | None
    bio: str | None
    interests: list[str]
    follower_count: int
    following_count: int
    created_at: WallTime
    email: str

    @property
    def shown(self) -> Profile:
        return Profile(
            id=self.id,
            username=self.username,
            display_name=self.display_name,
            avatar_url=self.avatar_url,
            bio=self.bio,
            interests=tuple(self.interests),
            follower_count=self.follower_count,
            following_count=self.following_count,
            created_at=iso(self.created_at),
            email=self.email,
        )


class PostgresUsers:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def load(self, ids: Sequence[UserId]) -> dict[UserId, UserState]:
        rows = await self._postgres.fetch(UserState, _LOAD, ids)
        return {row.id: row for row in rows}

    async def heads(self, ids: Sequence[UserId]) -> dict[UserId, tuple[int, dict[ConversationId, int]]]:
        heads: dict[UserId, tuple[int, dict[ConversationId, int]]] = {}
        for row in await self._postgres.fetch(_HeadRow, _HEADS, ids):
            # No notifications are stored yet, so none is unread.
            _, revs = heads.setdefault(row.user_id, (0, {}))
            if row.conversation_id is not None:
                revs[row.conversation_id] = row.rev
        return heads

    async def profiles(self, ids: Sequence[UserId]) -> dict[UserId, Profile]:
        return {row.id: row.shown for row in await self._postgres.fetch(_ProfileRow, _PROFILES, ids)}

    async def block_between(self, a: UserId, b: UserId) -> frozenset[tuple[UserId, UserId]]:
        return frozenset(await self._postgres.fetch(_block, _BLOCKS, a, b))


def _block(blocker: UserId, blocked: UserId) -> tuple[UserId, UserId]:
    return blocker, blocked
