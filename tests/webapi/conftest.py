"""Web apps to call: on rows in memory, and where it matters on a real database, too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.sign_in_ports import IdentityProvider
from storage.accounts import PostgresAccounts
from storage.conversations import PostgresConversations
from storage.idempotency_keys import PostgresKeys
from storage.journal.journal import PostgresJournal
from storage.journal.waiting import JournalBounds
from storage.moderation import postgres_moderation
from storage.node import begin_incarnation
from storage.postgres import open_postgres
from storage.sign_in import PostgresSignIn
from storage.users import PostgresUsers
from tests.clocks import HandClock
from tests.webapi.node import Node, Person, Stores, memory_stores, open_node


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def node(clock: HandClock) -> AsyncIterator[Node]:
    async with open_node(memory_stores(clock), clock) as opened:
        yield opened


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else request.getfixturevalue("database_url")


@pytest.fixture
async def any_node(url: str | None, clock: HandClock) -> AsyncIterator[Node]:
    """The same test on both."""
    if url is None:
        async with open_node(memory_stores(clock), clock) as opened:
            yield opened
        return
    async with postgres_node(url, clock) as opened:
        yield opened


@asynccontextmanager
async def postgres_node(
    url: str, clock: HandClock, name: str = "node", provider: IdentityProvider | None = None
) -> AsyncIterator[Node]:
    async with open_postgres(url) as postgres:
        identity = await begin_incarnation(postgres, name)
        journal = PostgresJournal([postgres.dedicated()], identity, clock, JournalBounds(1_000, 1_000_000), _unobserved)
        stores = Stores(
            PostgresAccounts(postgres, identity, clock),
            PostgresUsers(postgres),
            PostgresConversations(postgres),
            journal,
            PostgresSignIn(postgres, identity, clock),
            PostgresKeys(postgres),
            postgres_moderation(postgres, identity),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            async with open_node(stores, clock, provider=provider) as opened:
                yield opened
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def two_nodes(url: str, clock: HandClock) -> AsyncIterator[tuple[Node, Node]]:
    """Two of them on one database, neither of which hears of the other but through it."""
    async with postgres_node(url, clock, "one") as one, postgres_node(url, clock, "two") as two:
        yield one, two


def _unobserved(seconds: float, rows: int, waited: float) -> None: ...


@pytest.fixture
async def anna(node: Node) -> Person:
    return await node.person("anna")


@pytest.fixture
async def ben(node: Node) -> Person:
    return await node.person("ben")
