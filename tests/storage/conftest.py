"""A world in memory, one in PostgreSQL, and both in turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.shapes.times import Seconds
from storage.journal.journal import PostgresJournal
from storage.node import begin_incarnation
from storage.postgres import open_postgres
from tests.clocks import HandClock
from tests.conftest import Server
from tests.storage.worlds import MemoryWorld, PostgresWorld, World


@asynccontextmanager
async def postgres_world(url: str, node: str = "node", lanes: int = 2) -> AsyncIterator[PostgresWorld]:
    async with open_postgres(url) as postgres, trio.open_nursery() as nursery:
        lines = [postgres.dedicated() for _ in range(lanes)]
        journal = PostgresJournal(lines, await begin_incarnation(postgres, node), HandClock())
        await nursery.start(journal.run)
        yield PostgresWorld(postgres, journal)
        await journal.aclose(Seconds(1.0))


@pytest.fixture(scope="session")
def shared_database_url(database_server: Server, migrated_template: str) -> str:
    """One database for all tests of contracts: making one takes longer than such a test."""
    return database_server.url(database_server.create(migrated_template))


_EMPTY = "; ".join(
    f"delete from {table}"
    for table in (
        "spent_tokens",
        "sessions",
        "blocks",
        "idempotency_keys",
        "messages",
        "conversation_members",
        "conversations",
        "users",
        "flushes",
        "nodes",
    )
)


@pytest.fixture(params=["memory", "postgres"])
def world_url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else request.getfixturevalue("shared_database_url")


@pytest.fixture
async def world(world_url: str | None) -> AsyncIterator[World]:
    """Each test that asks for it runs twice."""
    if world_url is None:
        yield MemoryWorld()
        return
    async with postgres_world(world_url) as opened:
        await opened.postgres.execute(_EMPTY)
        yield opened


@pytest.fixture
async def pg_world(database_url: str) -> AsyncIterator[PostgresWorld]:
    async with postgres_world(database_url) as opened:
        yield opened
