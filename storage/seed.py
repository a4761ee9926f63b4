"""A few people and their conversations, to look at on a fresh machine; everybody's password is DEMO_PASSWORD."""

import uuid
from typing import Final, NamedTuple

from msgspec.json import encode
from nacl.pwhash import argon2id

from actors.passwords import PasswordOptions
from storage.postgres import Statements, run_once

DEMO_PASSWORD: Final = "kith-demo-2026"

# Ids are made of names, so that a second run finds what the first one made.
_NAMES: Final = uuid.UUID("5eed5eed-5eed-5eed-8eed-5eed5eed5eed")

PEOPLE: Final = {
    "anna": ("Anna", "Sings in the morning, mends bicycles in the afternoon."),
    "bert": ("Bert", "Bakes bread. Will trade it for stories."),
    "carla": ("Carla", None),
    "dario": ("Dario", "Night trains and slow ferries."),
    "elif": ("Elif", "Keeps bees."),
    "farid": ("Farid", None),
    "greta": ("Greta", "Plays the cello, mostly in tune."),
    "hugo": ("Hugo", "Was here first."),
}

TALKS: Final = {
    ("anna", "bert"): ("Is there bread left?", "Two loaves. One is yours.", "You are a good man, Bert.", "I know."),
    ("anna", "carla"): ("Are you coming to choir?", "At seven?", "At seven."),
    ("anna", "dario"): ("Where are you today?", "On a ferry to Ancona. The sea is flat as a table."),
    ("bert", "carla"): ("Your bicycle is ready.", "That was quick!"),
    ("bert", "elif"): ("Honey for bread?", "Always. Three jars?", "Three jars it is."),
    ("carla", "dario"): ("Bring me a postcard.", "Already in the post."),
    ("carla", "greta"): ("I heard you practise.", "Sorry!", "No, it was lovely."),
    ("dario", "farid"): ("The night train still runs.", "Then I am coming, too.", "Platform 4, 22:10."),
    ("elif", "farid"): ("The bees have swarmed.", "Do you need a ladder?", "Yes, and a calm friend."),
    ("elif", "greta"): ("Will you play at the market?", "If it does not rain."),
    ("farid", "hugo"): ("Who was here first?", "I was."),
    ("greta", "hugo"): ("Do you have the old score?", "Somewhere. Give me a day.", "Take two."),
}


class Seeded(NamedTuple):
    users: int
    conversations: int
    messages: int


def seeded_id(name: str) -> str:
    return str(uuid.uuid5(_NAMES, name))


_USERS: Final = """
insert into users (id, email, email_key, username, username_key, display_name, bio, password_hash)
select id, email, email, username, username, display_name, bio, $2
  from json_to_recordset($1::text::json) as p(id uuid, email text, username text, display_name text, bio text)
on conflict do nothing
"""

# Only between people of ours who are there: somebody else may have taken one of the names before.
_CONVERSATIONS: Final = """
insert into conversations (id, type, created_by, direct_low, direct_high, member_count, seq, rev, last_message_id,
                           last_message_at, created_at, updated_at)
select t.id, 'direct', t.a, least(t.a, t.b), greatest(t.a, t.b), 2, t.messages, t.messages + 1, t.last_id,
       now() - interval '1 minute', now() - interval '1 day', now() - interval '1 minute'
  from json_to_recordset($1::text::json) as t(id uuid, a uuid, b uuid, messages bigint, last_id uuid)
 where exists (select from users where id = t.a) and exists (select from users where id = t.b)
on conflict do nothing
returning id::text
"""

_MEMBERS: Final = """
insert into conversation_members (conversation_id, user_id, joined_rev, rev, joined_at)
select c.id, u.id, 1, 1, c.created_at
  from conversations c cross join lateral (values (c.direct_low), (c.direct_high)) u(id)
 where c.id = any($1::uuid[])
"""

_MESSAGES: Final = """
insert into messages (conversation_id, seq, rev, created_rev, id, sender_id, client_id, created_at, body)
select m.conversation_id, m.seq, m.seq + 1, m.seq + 1, m.id, m.sender_id, m.id,
       c.last_message_at - (c.seq - m.seq) * interval '1 minute', m.body
  from json_to_recordset($1::text::json) as m(conversation_id uuid, seq bigint, id uuid, sender_id uuid, body text)
  join conversations c on c.id = m.conversation_id
 where m.conversation_id = any($2::uuid[])
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
            users = await database.execute(_USERS, encode(_people()).decode(), hashed)
            born = await database.fetch(str, _CONVERSATIONS, encode(_talks()).decode())
            await database.execute(_MEMBERS, born)
            messages = await database.execute(_MESSAGES, encode(_messages()).decode(), born)
            await database.execute(_RECEIPT, born)
            return Seeded(_count(users), len(born), _count(messages))

    return await run_once(database_url, work)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])


def _people() -> list[dict[str, str | None]]:
    return [
        {
            "id": seeded_id(name),
            "email": f"{name}@example.org",
            "username": name,
            "display_name": display_name,
            "bio": bio,
        }
        for name, (display_name, bio) in PEOPLE.items()
    ]


def _talks() -> list[dict[str, str | int]]:
    return [
        {
            "id": seeded_id(f"{a} and {b}"),
            "a": seeded_id(a),
            "b": seeded_id(b),
            "messages": len(texts),
            "last_id": seeded_id(f"{a} and {b} {len(texts)}"),
        }
        for (a, b), texts in TALKS.items()
    ]


def _messages() -> list[dict[str, str | int]]:
    return [
        {
            "conversation_id": seeded_id(f"{a} and {b}"),
            "seq": seq,
            "id": seeded_id(f"{a} and {b} {seq}"),
            "sender_id": seeded_id((a, b)[(seq - 1) % 2]),
            "body": text,
        }
        for (a, b), texts in TALKS.items()
        for seq, text in enumerate(texts, 1)
    ]
