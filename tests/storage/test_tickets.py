"""The contract of SpentTickets, on PostgreSQL and on the twin in memory."""

import secrets
from collections.abc import AsyncIterator

import pytest
import trio

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import WallTime
from actors.shapes.users import TicketId, TicketStub
from actors.tickets import SpentTickets
from storage.memory.tickets import MemoryTickets
from storage.postgres import Postgres, open_postgres
from storage.tickets import PostgresTickets
from tests.clocks import ActorToken, HandClock

TOKEN = ActorToken()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else request.getfixturevalue("database_url")


@pytest.fixture
async def store(url: str | None, clock: HandClock) -> AsyncIterator[SpentTickets]:
    if url is None:
        yield MemoryTickets()
        return
    async with open_postgres(url) as opened:
        yield PostgresTickets(opened, clock)


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(database_url) as opened:
        yield opened


def ticket(clock: HandClock) -> TicketStub:
    return TicketStub(TicketId(secrets.token_bytes(24)), WallTime(clock.now() + 30_000))


async def test_a_ticket_is_spent_once(store: SpentTickets, clock: HandClock) -> None:
    one, other = ticket(clock), ticket(clock)
    assert [await store.spend(TOKEN, each) for each in (one, one, other, one)] == [True, False, True, False]


async def test_of_many_who_come_with_it_at_once_one_is_first(store: SpentTickets, clock: HandClock) -> None:
    one, won = ticket(clock), []

    async def come() -> None:
        won.append(await store.spend(TOKEN, one))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(come)
    assert sorted(won) == [False] * 9 + [True]


async def test_an_actor_that_has_ended_spends_nothing(store: SpentTickets, clock: HandClock) -> None:
    one, ended = ticket(clock), ActorToken()
    ended.valid = False
    with pytest.raises(KithError) as caught:
        await store.spend(ended, one)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert await store.spend(TOKEN, one)


async def test_it_stays_spent_for_minutes_after_its_end(store: SpentTickets, clock: HandClock) -> None:
    """Clocks differ, and a node whose clock is behind would still open it."""
    one = ticket(clock)
    assert await store.spend(TOKEN, one)
    clock.seconds += 600
    for _ in range(3):
        assert await store.spend(TOKEN, ticket(clock))
    assert not await store.spend(TOKEN, one)


async def test_old_rows_are_cleaned_up_by_who_comes_later(postgres: Postgres, clock: HandClock) -> None:
    store = PostgresTickets(postgres, clock)
    for _ in range(10):
        assert await store.spend(TOKEN, ticket(clock))
    clock.seconds += 3_600
    for _ in range(6):
        assert await store.spend(TOKEN, ticket(clock))
    assert await postgres.fetchval(int, "select count(*)::int from spent_tickets") == 6
