"""`kith seed` makes a few people and conversations, once."""

from nacl.pwhash import argon2id

from actors.shapes.ids import ConversationId, UserId
from storage.accounts import PostgresAccounts
from storage.conversations import PostgresConversations
from storage.node import begin_incarnation
from storage.postgres import open_postgres
from storage.seed import DEMO_PASSWORD, PEOPLE, TALKS, Seeded, seed, seeded_id
from tests.clocks import HandClock
from tests.storage.worlds import add_user, new_id
from tests.system.test_lost_commit import check_gapless


async def test_it_makes_people_who_can_sign_in_and_talk(database_url: str) -> None:
    assert await seed(database_url) == Seeded(len(PEOPLE), len(TALKS), sum(map(len, TALKS.values())))
    async with open_postgres(database_url) as postgres:
        await check_gapless(postgres)
        accounts = PostgresAccounts(postgres, await begin_incarnation(postgres, "n"), HandClock())
        credentials = await accounts.credentials("anna@example.org")
        assert credentials is not None
        assert argon2id.verify(credentials.password_hash.encode(), DEMO_PASSWORD.encode())
        store = PostgresConversations(postgres)
        mine, _ = await store.page_of(UserId(seeded_id("anna")), None, 10)
        assert len(mine) == 3
        talk = ConversationId(seeded_id("anna and bert"))
        page = await store.history(talk, 1, None, None, 10)
        assert [shown.text for shown in page.messages[::-1]] == list(TALKS["anna", "bert"])
        assert [shown.sender_name for shown in page.messages[::-1]] == ["Anna", "Bert", "Anna", "Bert"]


async def test_twice_makes_nothing_new(database_url: str) -> None:
    await seed(database_url)
    assert await seed(database_url) == Seeded(0, 0, 0)


async def test_a_name_that_somebody_has_is_left_to_him(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        await add_user(postgres, UserId(new_id()), "anna")
        made = await seed(database_url)
        assert made.users == len(PEOPLE) - 1
        assert made.conversations == len([pair for pair in TALKS if "anna" not in pair])
        await check_gapless(postgres)
