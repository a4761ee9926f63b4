"""`kith seed`: writes the demo world in one transaction; everybody's password is DEMO_PASSWORD.

What is made is made between people who were born in this run: somebody who has one of the names is left alone.
"""

import uuid
from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec.json import encode
from nacl.pwhash import argon2id

from actors.passwords import PasswordOptions
from storage.postgres import Statements, run_once
from storage.seed_people import BLOCKS, MUTES, PEOPLE, close_friends, follows
from storage.seed_stories import DAY_MINUTES, REACTIONS, STORIES, Tale, may_see
from storage.seed_talks import GROUPS, TALKS

DEMO_PASSWORD: Final = "kith-demo-2026"

# Ids are made of names, so that a second run finds what the first one made.
_NAMES: Final = uuid.UUID("5eed5eed-5eed-5eed-8eed-5eed5eed5eed")

Row = dict[str, str | int | bool | list[str] | None]


class Seeded(NamedTuple):
    users: int
    follows: int
    conversations: int
    messages: int
    stories: int


def seeded_id(name: str) -> str:
    return str(uuid.uuid5(_NAMES, name))


def chance(name: str, sides: int) -> int:
    """A die that falls the same way for the same name."""
    return uuid.uuid5(_NAMES, f"chance of {name}").int % sides


_USERS: Final = """
insert into users (id, email, email_key, username, username_key, display_name, bio, interests, password_hash,
                   created_at, updated_at, last_seen_at)
select id, email, email, username, username, display_name, bio, interests, $2,
       now() - days * interval '1 day', now() - days * interval '1 day', now() - seen * interval '1 minute'
  from json_to_recordset($1::text::json)
       as p(id uuid, email text, username text, display_name text, bio text, interests text[], days int, seen int)
on conflict do nothing
returning username
"""

_PAIRS: Final = {
    "follows": "(id, follower_id, following_id, created_at)",
    "blocks": "(id, blocker_id, blocked_id, created_at)",
    "mutes": "(id, muter_id, muted_id, created_at)",
}
_PAIR: Final = """
insert into {table} {columns}
select id, a, b, now() - hours * interval '1 hour'
  from json_to_recordset($1::text::json) as p(id uuid, a uuid, b uuid, hours int)
"""
_CLOSE_FRIENDS: Final = """
insert into close_friends (user_id, close_friend_id, created_at)
select a, b, now() - hours * interval '1 hour' from json_to_recordset($1::text::json) as p(a uuid, b uuid, hours int)
"""
# Counted, not added up by hand: the counters are right because they say what is there.
_COUNT: Final = """
update users u
   set follower_count = (select count(*) from follows where following_id = u.id and ended_at is null),
       following_count = (select count(*) from follows where follower_id = u.id and ended_at is null)
 where id = any($1::uuid[])
"""

_CONVERSATIONS: Final = """
insert into conversations (id, type, name, description, created_by, direct_low, direct_high, member_count, seq, rev,
                           last_message_id, last_message_at, created_at, updated_at)
select t.id, t.type, t.name, t.description, t.members[1],
       case t.type when 'direct' then least(t.members[1], t.members[2]) end,
       case t.type when 'direct' then greatest(t.members[1], t.members[2]) end,
       cardinality(t.members), t.messages, t.messages + 1, t.last_id,
       now() - t.ended * interval '1 minute', now() - t.began * interval '1 minute',
       now() - t.ended * interval '1 minute'
  from json_to_recordset($1::text::json)
       as t(id uuid, type text, name text, description text, members uuid[], messages bigint, last_id uuid, began int,
            ended int)
"""

_MEMBERS: Final = """
insert into conversation_members (conversation_id, user_id, role, joined_rev, rev, joined_at, last_read_seq,
                                  delivered_seq, last_read_at)
select c.id, m.user_id, m.role, 1, 1, c.created_at, m.read, c.seq, c.last_message_at
  from json_to_recordset($1::text::json) as m(conversation_id uuid, user_id uuid, role text, read bigint)
  join conversations c on c.id = m.conversation_id
"""

_MESSAGES: Final = """
insert into messages (conversation_id, seq, rev, created_rev, id, sender_id, client_id, created_at, body)
select conversation_id, seq, seq + 1, seq + 1, id, sender_id, id, now() - ago * interval '1 minute', body
  from json_to_recordset($1::text::json)
       as m(conversation_id uuid, seq bigint, id uuid, sender_id uuid, ago int, body text)
"""

_STORIES: Final = """
insert into stories (id, author_id, kind, text, visibility, audience, view_count, reaction_count, created_at,
                     expires_at, expired_at)
select id, author_id, 'text', text, visibility, audience, views, reactions, now() - ago * interval '1 minute',
       now() + (1440 - ago) * interval '1 minute',
       case when ago >= 1440 then now() + (1440 - ago) * interval '1 minute' end
  from json_to_recordset($1::text::json)
       as s(id uuid, author_id uuid, text text, visibility text, audience boolean, views int, reactions int, ago int)
"""
_AUDIENCE: Final = """
insert into story_audience select story_id, user_id
  from json_to_recordset($1::text::json) as a(story_id uuid, user_id uuid)
"""
_VIEWS: Final = """
insert into story_views (story_id, viewer_id, viewed_at, view_duration_seconds)
select story_id, viewer_id, now() - ago * interval '1 minute', seconds
  from json_to_recordset($1::text::json) as v(story_id uuid, viewer_id uuid, ago int, seconds int)
"""
_REACTIONS: Final = """
insert into story_reactions (story_id, user_id, emoji, created_at)
select story_id, viewer_id, emoji, now() - ago * interval '1 minute'
  from json_to_recordset($1::text::json) as v(story_id uuid, viewer_id uuid, emoji text, ago int)
"""

# Like every writer, so that nodes which are running learn of it.
_RECEIPT: Final = """
insert into flushes (node, incarnation, n, heads)
select 'seed', pg_current_xact_id()::text::bigint, 1, jsonb_agg(jsonb_build_array('c', id, 0, rev))
  from conversations where id = any($1::uuid[]) having count(*) > 0
"""


async def seed(database_url: str) -> Seeded:
    """Make what is missing; a second run makes nothing."""
    options = PasswordOptions()
    hashed = argon2id.str(DEMO_PASSWORD.encode(), opslimit=options.passes, memlimit=options.memory).decode()

    async def work(database: Statements) -> Seeded:
        async with database.transaction():
            born = frozenset(await database.fetch(str, _USERS, _json(_people()), hashed))
            followed = await _write_graph(database, born)
            conversations, messages = await _write_talks(database, born)
            stories = await _write_stories(database, born)
            return Seeded(len(born), followed, conversations, messages, stories)

    return await run_once(database_url, work)


async def _write_graph(database: Statements, born: frozenset[str]) -> int:
    pairs = {
        "follows": _pairs("follows", follows(), born),
        "blocks": _pairs("blocks", BLOCKS, born),
        "mutes": _pairs("mutes", MUTES, born),
    }
    for table, rows in pairs.items():
        await database.execute(_PAIR.format(table=table, columns=_PAIRS[table]), _json(rows))
    await database.execute(_CLOSE_FRIENDS, _json(_pairs("trusts", close_friends(), born)))
    await database.execute(_COUNT, [seeded_id(name) for name in born])
    return len(pairs["follows"])


async def _write_talks(database: Statements, born: frozenset[str]) -> tuple[int, int]:
    talks = [talk for talk in _talks() if set(talk.members) <= born]
    messages = [row for talk in talks for row in talk.messages()]
    await database.execute(_CONVERSATIONS, _json([talk.row() for talk in talks]))
    await database.execute(_MEMBERS, _json([row for talk in talks for row in talk.memberships()]))
    await database.execute(_MESSAGES, _json(messages))
    await database.execute(_RECEIPT, [talk.id for talk in talks])
    return len(talks), len(messages)


async def _write_stories(database: Statements, born: frozenset[str]) -> int:
    tales = [tale for tale in STORIES if tale.author in born]
    views = {tale: [name for name in sorted(born) if _has_seen(name, tale)] for tale in tales}
    rows = [row for tale in tales for row in _views(tale, views[tale])]
    reactions = [row for row in rows if row["emoji"]]
    stories = []
    for tale in tales:
        mine = [row for row in reactions if row["story_id"] == _story_id(tale)]
        stories.append(_story(tale, len(views[tale]), len(mine)))
    await database.execute(_STORIES, _json(stories))
    audience: list[Row] = [
        {"story_id": _story_id(tale), "user_id": seeded_id(name)}
        for tale in tales
        for name in tale.audience.split()
        if name in born
    ]
    await database.execute(_AUDIENCE, _json(audience))
    await database.execute(_VIEWS, _json(rows))
    await database.execute(_REACTIONS, _json(reactions))
    return len(stories)


def _json(rows: list[Row]) -> str:
    return encode(rows).decode()


def _people() -> list[Row]:
    return [
        {
            "id": seeded_id(name),
            "email": f"{name}@example.org",
            "username": name,
            "display_name": soul.name,
            "bio": soul.bio,
            "interests": list(soul.interests),
            "days": 120 + chance(f"{name} joined", 300),
            "seen": 3 + chance(f"{name} seen", 2 * DAY_MINUTES),
        }
        for name, soul in PEOPLE.items()
    ]


def _pairs(what: str, pairs: set[tuple[str, str]] | tuple[tuple[str, str], ...], born: frozenset[str]) -> list[Row]:
    """Older than any talk, younger than any account."""
    return [
        {
            "id": seeded_id(f"{a} {what} {b}"),
            "a": seeded_id(a),
            "b": seeded_id(b),
            "hours": 24 * 10 + chance(f"{a} {what} {b}", 24 * 100),
        }
        for a, b in sorted(pairs)
        if a in born and b in born
    ]


class _Talk(NamedTuple):
    """A conversation; `ended` is how many minutes ago its last line was said."""

    name: str
    title: str | None
    description: str | None
    members: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    ended: int

    @property
    def id(self) -> str:
        return seeded_id(self.name)

    def ago(self) -> list[int]:
        """How many minutes ago each line was said: some lines, then a pause, and so on over some days."""
        when, times = self.ended, [self.ended]
        for n in range(len(self.lines), 1, -1):
            pauses = self.title is not None and chance(f"{self.name} pauses {n}", 3) == 0
            when += 120 + chance(f"{self.name} {n}", 1_000) if pauses else 1 + chance(f"{self.name} {n}", 6)
            times.append(when)
        return times[::-1]

    def row(self) -> Row:
        return {
            "id": self.id,
            "type": "direct" if self.title is None else "group",
            "name": self.title,
            "description": self.description,
            "members": [seeded_id(name) for name in self.members],
            "messages": len(self.lines),
            "last_id": seeded_id(f"{self.name} {len(self.lines)}"),
            "began": self.ago()[0] + 5,
            "ended": self.ended,
        }

    def memberships(self) -> Iterator[Row]:
        roles = ("member",) * len(self.members) if self.title is None else ("owner", "admin")
        said = len(self.lines)
        for n, name in enumerate(self.members):
            last = max((seq for seq, (who, _) in enumerate(self.lines, 1) if who == name), default=0)
            # Some have not looked in for a while; nobody has missed what he has answered to.
            unread = chance(f"{name} missed {self.name}", 4) if chance(f"{name} reads {self.name}", 2) else 0
            role = roles[n] if n < len(roles) else "member"
            read = max(last, said - unread)
            yield {"conversation_id": self.id, "user_id": seeded_id(name), "role": role, "read": read}

    def messages(self) -> Iterator[Row]:
        for seq, ((who, text), ago) in enumerate(zip(self.lines, self.ago(), strict=True), 1):
            id, sender = seeded_id(f"{self.name} {seq}"), seeded_id(who)
            row: Row = {"conversation_id": self.id, "seq": seq, "id": id, "sender_id": sender, "ago": ago, "body": text}
            yield row


def _talks() -> list[_Talk]:
    direct = [
        _Talk(f"{a} and {b}", None, None, (a, b), tuple(((a, b)[n % 2], text) for n, text in enumerate(texts)), 0)
        for (a, b), texts in TALKS.items()
    ]
    groups = [_Talk(group.name, group.name, group.description, group.members, group.lines, 0) for group in GROUPS]
    return [talk._replace(ended=_ended(talk.name)) for talk in direct + groups]


def _ended(name: str) -> int:
    """How many minutes ago a talk ended: many of them today, some days ago."""
    return 3 + chance(f"{name} ended", 1_000) ** 2 * 5 * DAY_MINUTES // 1_000_000


def _story_id(tale: Tale) -> str:
    return seeded_id(f"story of {tale.author}: {tale.text}")


def _story(tale: Tale, views: int, reactions: int) -> Row:
    return {
        "id": _story_id(tale),
        "author_id": seeded_id(tale.author),
        "text": tale.text,
        "visibility": tale.visibility,
        "audience": bool(tale.audience),
        "views": views,
        "reactions": reactions,
        "ago": tale.minutes_ago,
    }


def _has_seen(name: str, tale: Tale) -> bool:
    return may_see(name, tale) and chance(f"{name} sees {tale.text}", 5) > 1


def _views(tale: Tale, names: list[str]) -> Iterator[Row]:
    """A view while the story was there, and what some of the viewers felt."""
    lived = min(tale.minutes_ago, DAY_MINUTES)
    for name in names:
        mood = chance(f"{name} feels {tale.text}", 3 * len(REACTIONS))
        yield {
            "story_id": _story_id(tale),
            "viewer_id": seeded_id(name),
            "ago": tale.minutes_ago - chance(f"{name} opens {tale.text}", lived),
            "seconds": 2 + chance(f"{name} stays at {tale.text}", 14),
            "emoji": REACTIONS[mood] if mood < len(REACTIONS) else None,
        }
