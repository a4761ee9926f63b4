"""Keys in transactions that are not the journal's, on both stores; and the rows that are forgotten after a day."""

import uuid
from collections.abc import AsyncIterator

import pytest
import trio
from msgspec import json
from msgspec.structs import replace

from actors.ports import AccountStore, KeyStore
from actors.shapes.errors import ErrorCode
from actors.shapes.idempotency import KEPT_HOURS, REGISTRATION, Keyed, KeyUsedError
from actors.shapes.times import WallTime
from actors.shapes.users import Register, Registered
from storage.accounts import PostgresAccounts
from storage.database_errors import DatabaseAwayError
from storage.idempotency_keys import PostgresKeys, claim_key, delete_old_keys
from storage.memory.accounts import MemoryAccounts
from storage.memory.idempotency_keys import MemoryKeys
from storage.memory.tables import MemoryTables
from storage.node import begin_incarnation
from storage.postgres import Postgres, Statements, Work, open_postgres
from tests.clocks import START, HandClock
from tests.storage.test_accounts import TOKEN, code_of, registration, user_id

DAY_MS = KEPT_HOURS * 3_600_000


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else request.getfixturevalue("database_url")


@pytest.fixture
async def stores(url: str | None) -> AsyncIterator[tuple[AccountStore, KeyStore]]:
    clock = HandClock()
    if url is None:
        tables = MemoryTables()
        yield MemoryAccounts(tables, clock), MemoryKeys(tables)
        return
    async with open_postgres(url) as opened:
        identity = await begin_incarnation(opened, "node")
        yield PostgresAccounts(opened, identity, clock), PostgresKeys(opened)


def newcomer(email: str = "anna@example.org", name: str = "anna", key: str = "k", at: int = 0) -> Register:
    return replace(registration(HandClock(), email, name), keyed=Keyed(REGISTRATION, key, "f", WallTime(START + at)))


async def test_a_registration_keeps_its_key(stores: tuple[AccountStore, KeyStore]) -> None:
    accounts, keys = stores
    id = user_id()
    await accounts.register(TOKEN, id, newcomer())
    kept = await keys.find(REGISTRATION, "k", WallTime(START))
    assert kept is not None
    assert (kept.fingerprint, json.decode(kept.outcome, type=Registered)) == ("f", Registered(id))


async def test_a_key_in_use_goes_before_an_email_in_use(stores: tuple[AccountStore, KeyStore]) -> None:
    """A repeat that heard of the e-mail would be told that somebody else has it."""
    accounts, _ = stores
    await accounts.register(TOKEN, user_id(), newcomer())
    with pytest.raises(KeyUsedError):
        await accounts.register(TOKEN, user_id(), newcomer())
    with pytest.raises(KeyUsedError):
        await accounts.register(TOKEN, user_id(), newcomer("ben@example.org", "ben"))
    assert await accounts.credentials("ben@example.org") is None


async def test_a_registration_that_is_refused_leaves_its_key_free(stores: tuple[AccountStore, KeyStore]) -> None:
    accounts, keys = stores
    await accounts.register(TOKEN, user_id(), newcomer())
    taken = newcomer(key="another")
    assert await code_of(accounts.register(TOKEN, user_id(), taken)) is ErrorCode.EMAIL_TAKEN
    name = newcomer("ben@example.org", "ANNA", key="another")
    assert await code_of(accounts.register(TOKEN, user_id(), name)) is ErrorCode.USERNAME_TAKEN
    assert await keys.find(REGISTRATION, "another", WallTime(START)) is None


@pytest.mark.parametrize(("later", "free"), [(DAY_MS - 1, False), (DAY_MS, True), (DAY_MS + 1, True)])
async def test_a_key_is_free_after_a_day(stores: tuple[AccountStore, KeyStore], later: int, free: bool) -> None:
    accounts, keys = stores
    await accounts.register(TOKEN, user_id(), newcomer())
    second, id = newcomer("ben@example.org", "ben", at=later), user_id()
    if not free:
        with pytest.raises(KeyUsedError):
            await accounts.register(TOKEN, id, second)
        return
    await accounts.register(TOKEN, id, second)
    kept = await keys.find(REGISTRATION, "k", WallTime(START + later))
    assert kept is not None
    assert json.decode(kept.outcome, type=Registered) == Registered(id)


async def test_of_many_at_once_one_registers_and_the_others_meet_its_key(
    stores: tuple[AccountStore, KeyStore],
) -> None:
    accounts, _ = stores
    told: list[object] = []

    async def one() -> None:
        try:
            told.append(await accounts.register(TOKEN, user_id(), newcomer()))
        except KeyUsedError as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(one)
    assert [isinstance(outcome, KeyUsedError) for outcome in told].count(True) == 5


async def test_a_registration_whose_answer_was_lost_does_not_meet_its_own_key(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_postgres(database_url) as postgres:
        store = PostgresAccounts(postgres, await begin_incarnation(postgres, "node"), HandClock())
        whole = postgres.transaction
        lost: list[object] = []

        async def losing(work: Work[object]) -> object:
            done = await whole(work)
            if not lost:
                lost.append(done)
                raise DatabaseAwayError("the answer was lost")
            return done

        monkeypatch.setattr(postgres, "transaction", losing)
        account = await store.register(TOKEN, user_id(), newcomer())
        assert [account] == lost


# -- forgetting -------------------------------------------------------------------------------------------------------


async def keep(postgres: Postgres, key: str, at: int) -> None:
    async def work(statements: Statements) -> None:
        await claim_key(statements, Keyed(str(uuid.uuid4()), key, "f", WallTime(START + at)), "{}")

    await postgres.transaction(work)


async def test_keys_are_forgotten_after_a_day_and_not_before(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        for key, at in (("old", -1), ("just", 0), ("young", 1)):
            await keep(postgres, key, at)
        assert await delete_old_keys(postgres, WallTime(START + DAY_MS)) == 2
        assert await postgres.fetch(str, "select key from idempotency_keys") == ["young"]


async def test_many_old_keys_go_in_batches(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        await postgres.execute(
            "insert into idempotency_keys select gen_random_uuid(), n::text, 'f', '{}', to_timestamp(0)"
            " from generate_series(1, 2500) n"
        )
        assert await delete_old_keys(postgres, WallTime(START)) == 2_500
