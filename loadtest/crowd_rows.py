"""A crowd in the database: users, sessions, conversations and members, a batch in a transaction with its flush row."""

from collections.abc import Sequence
from typing import Final

import msgspec

from loadtest.crowd import Gathering, Person
from storage.postgres import Statements

USERS: Final = """
insert into users (id, email, email_key, username, username_key, password_hash, limits)
select u.id, u.email, u.email, u.username, u.username, $4, 'load'
  from unnest($1::uuid[], $2::text[], $3::text[]) as u(id, email, username)
"""
SESSIONS: Final = """
insert into sessions (id, user_id, token_hash, user_agent, expires_at)
select s.id, s.user_id, s.token_hash, 'kith-loadtest', now() + interval '30 days'
  from unnest($1::uuid[], $2::uuid[], $3::bytea[]) as s(id, user_id, token_hash)
"""
CONVERSATIONS: Final = """
insert into conversations (id, type, name, direct_low, direct_high, member_count, created_by, rev)
select c.id, c.type, case when c.type = 'group' then 'load test' end, c.low, c.high, c.members, c.created_by, 1
  from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::int[], $6::uuid[])
    as c(id, type, low, high, members, created_by)
"""
MEMBERS: Final = """
insert into conversation_members (conversation_id, user_id, role, joined_rev, rev)
select m.conversation_id, m.user_id, m.role, 1, 1
  from unnest($1::uuid[], $2::uuid[], $3::text[]) as m(conversation_id, user_id, role)
"""
# Every commit that changes a conversation says so in a flush row (ARCHITECTURE.md section 5): a node that holds sockets
# of these users learns of the conversations by its sweep.
FLUSH: Final = "insert into flushes (node, incarnation, n, heads) values ($1, 1, $2, $3::jsonb)"


async def write(database: Statements, batch: Sequence[Gathering], password_hash: str, prefix: str, n: int) -> None:
    """Inside the caller's transaction. Commits at least every second: an open one holds back every cursor."""
    people = [person for gathering in batch for person in gathering.members]
    ids = [person.user_id for person in people]
    names = [person.username for person in people]
    await database.execute(USERS, ids, [person.email for person in people], names, password_hash)
    hashes = [person.token_hash for person in people]
    await database.execute(SESSIONS, [person.login_id for person in people], ids, hashes)
    lows, highs = zip(*(_pair(gathering) for gathering in batch), strict=True)
    await database.execute(
        CONVERSATIONS,
        [gathering.id for gathering in batch],
        [gathering.type for gathering in batch],
        lows,
        highs,
        [len(gathering.members) for gathering in batch],
        [gathering.members[0].user_id for gathering in batch],
    )
    where = [gathering.id for gathering in batch for _ in gathering.members]
    roles = [_role(gathering, person) for gathering in batch for person in gathering.members]
    await database.execute(MEMBERS, where, ids, roles)
    heads = msgspec.json.encode([("c", gathering.id, 0, 1) for gathering in batch]).decode()
    await database.execute(FLUSH, f"provision-{prefix}", n, heads)


def _pair(gathering: Gathering) -> tuple[str | None, str | None]:
    if gathering.type == "group":
        return None, None
    low, high = sorted(person.user_id for person in gathering.members)  # as text they sort as PostgreSQL sorts them
    return low, high


def _role(gathering: Gathering, person: Person) -> str:
    return "owner" if gathering.type == "group" and person is gathering.members[0] else "member"
