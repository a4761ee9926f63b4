"""`kith seed` makes a world that is true in every count, once, and leaves everybody else alone."""

import time
from typing import NamedTuple

import pytest
from nacl.pwhash import argon2id

from actors.shapes.ids import ConversationId, UserId
from storage.accounts import PostgresAccounts
from storage.conversations import PostgresConversations
from storage.node import begin_incarnation
from storage.postgres import Postgres, open_postgres
from storage.seed import DEMO_PASSWORD, Seeded, seed, seeded_id
from storage.seed_people import BLOCKS, PEOPLE, close_friends, follows
from storage.seed_stories import STORIES
from storage.seed_talks import GROUPS, TALKS
from tests.clocks import HandClock
from tests.storage.worlds import add_user, new_id
from tests.system.test_lost_commit import check_gapless

MESSAGES = sum(map(len, TALKS.values())) + sum(len(group.lines) for group in GROUPS)

# Each asks for rows that must not be there, and names one of them.
WRONG = {
    "a counter of followers or followed": """
        select username from users u
         where follower_count <> (select count(*) from follows where following_id = u.id and ended_at is null)
            or following_count <> (select count(*) from follows where follower_id = u.id and ended_at is null)""",
    "a counter of views or reactions": """
        select text from stories s
         where view_count <> (select count(*) from story_views where story_id = s.id)
            or reaction_count <> (select count(*) from story_reactions where story_id = s.id)""",
    "a number of members": """
        select id::text from conversations c
         where member_count <> (select count(*) from conversation_members where conversation_id = c.id)""",
    "a last message": """
        select c.id::text from conversations c join messages m on m.id = c.last_message_id
         where m.seq <> c.seq or m.created_at <> c.last_message_at""",
    "a message before the one before it, before its conversation, or of the future": """
        select m.body from messages m join conversations c on c.id = m.conversation_id
          left join messages n on n.conversation_id = m.conversation_id and n.seq = m.seq - 1
         where n.created_at >= m.created_at or m.created_at <= c.created_at or m.created_at > now()""",
    "a message of somebody who is no member": """
        select body from messages m where not exists (
            select from conversation_members where conversation_id = m.conversation_id and user_id = m.sender_id)""",
    "a message that its own author has not read": """
        select body from messages m join conversation_members p
            on p.conversation_id = m.conversation_id and p.user_id = m.sender_id where m.seq > p.last_read_seq""",
    "a view by somebody who may not see the story": """
        select s.text from story_views v join stories s on s.id = v.story_id
         where v.viewer_id = s.author_id or not case s.visibility
               when 'public' then true
               when 'followers' then exists (
                   select from follows where follower_id = v.viewer_id and following_id = s.author_id)
               when 'close_friends' then exists (
                   select from close_friends where user_id = s.author_id and close_friend_id = v.viewer_id)
               else false end
            or s.audience and not exists (select from story_audience where story_id = s.id and user_id = v.viewer_id)
            or exists (select from blocks where (blocker_id, blocked_id) in
                   ((v.viewer_id, s.author_id), (s.author_id, v.viewer_id)))""",
    "a view while the story was not there": """
        select s.text from story_views v join stories s on s.id = v.story_id
         where v.viewed_at < s.created_at or v.viewed_at > least(s.expires_at, now())""",
    "a reaction of somebody who has not seen it": """
        select emoji from story_reactions r where not exists (
            select from story_views where story_id = r.story_id and viewer_id = r.user_id)""",
    "a follow or a talk between two of whom one blocks the other": """
        select b.id::text from blocks b where exists (select from follows where
            (follower_id, following_id) in ((b.blocker_id, b.blocked_id), (b.blocked_id, b.blocker_id)))
            or exists (select from conversations where type = 'direct'
                and (direct_low, direct_high) in ((b.blocker_id, b.blocked_id), (b.blocked_id, b.blocker_id)))""",
    "a story that lasts other than a day, or has ended unnoted": """
        select text from stories where expires_at - created_at <> interval '1 day'
            or (expires_at <= now()) <> (expired_at is not null)""",
}


async def check_world(postgres: Postgres) -> None:
    await check_gapless(postgres)
    for what, statement in WRONG.items():
        assert await postgres.fetch(str, statement) == [], what


class StoryTimes(NamedTuple):
    ended: bool
    minutes_left: float
    visibility: str


@pytest.mark.alone
async def test_everything_it_makes_adds_up(database_url: str) -> None:
    begun = time.perf_counter()
    made = await seed(database_url)
    assert time.perf_counter() - begun < 5.0
    assert made == Seeded(len(PEOPLE), len(follows()), len(TALKS) + len(GROUPS), MESSAGES, len(STORIES))
    assert len(PEOPLE) >= 24
    async with open_postgres(database_url) as postgres:
        await check_world(postgres)
        count = "select count(*) from "
        assert await postgres.fetchval(int, count + "close_friends") == len(close_friends())
        assert await postgres.fetchval(int, count + "blocks") == len(BLOCKS)
        left = "(extract(epoch from expires_at - now()) / 60)::float8"
        stories = await postgres.fetch(StoryTimes, f"select expires_at <= now(), {left}, visibility from stories")
        assert {story.visibility for story in stories} == {"public", "followers", "close_friends", "private"}
        assert any(story.ended for story in stories)
        assert any(0 < story.minutes_left < 60 for story in stories)
        assert (await postgres.fetchval(int, count + "story_views") or 0) > 50
        assert (await postgres.fetchval(int, count + "story_reactions") or 0) > 10
        # Believable: not everybody is followed back, not everybody has read everything, and it took days.
        mutual = {(a, b) for a, b in follows() if (b, a) in follows()}
        assert 0 < len(mutual) < len(follows())
        behind = "conversation_members p join conversations c on c.id = p.conversation_id where last_read_seq < c.seq"
        assert (await postgres.fetchval(int, count + behind) or 0) > 0
        days = "select count(distinct created_at::date) from messages"
        assert (await postgres.fetchval(int, days) or 0) > 3


async def test_they_can_sign_in_and_talk(database_url: str) -> None:
    await seed(database_url)
    async with open_postgres(database_url) as postgres:
        accounts = PostgresAccounts(postgres, await begin_incarnation(postgres, "n"), HandClock())
        credentials = await accounts.credentials("anna@example.org")
        assert credentials is not None
        assert argon2id.verify(credentials.password_hash.encode(), DEMO_PASSWORD.encode())
        store = PostgresConversations(postgres)
        mine, _ = await store.page_of(UserId(seeded_id("anna")), None, 10)
        assert {row.name for row in mine} == {None, "Choir", "Sunday market"}
        talk = ConversationId(seeded_id("anna and bert"))
        page = await store.history(talk, 1, None, None, 10)
        assert [shown.text for shown in page.messages[::-1]] == list(TALKS["anna", "bert"])
        assert [shown.sender_name for shown in page.messages[::-1]] == ["Anna Lindqvist", "Bert Osterhaus"] * 2
        roles = "select role from conversation_members where conversation_id = $1 order by role"
        choir = await postgres.fetch(str, roles, seeded_id("Choir"))
        assert choir == ["admin", *["member"] * 4, "owner"]


async def test_twice_makes_nothing_new(database_url: str) -> None:
    await seed(database_url)
    assert await seed(database_url) == Seeded(0, 0, 0, 0, 0)


async def test_a_name_that_somebody_has_is_left_to_him(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        other = UserId(new_id())
        await add_user(postgres, other, "anna")
        made = await seed(database_url)
        assert made.users == len(PEOPLE) - 1
        without = [*(pair for pair in TALKS if "anna" not in pair), *(g for g in GROUPS if "anna" not in g.members)]
        assert made.conversations == len(without)
        assert made.follows == len([pair for pair in follows() if "anna" not in pair])
        await check_world(postgres)
        touched = "select follower_count + following_count + rev from users where id = $1"
        assert await postgres.fetchval(int, touched, other) == 0
