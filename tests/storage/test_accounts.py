"""The contract of AccountStore, on PostgreSQL and on the twin in memory."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable

import pytest
import trio

from actors.ports import AccountStore
from actors.rules.accounts import LOGINS_MOST
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.sign_in import Opening
from actors.shapes.times import WallTime
from actors.shapes.users import ChangePassword, NewLogin, Register, RotateLogin
from storage.accounts import PostgresAccounts
from storage.database_errors import DatabaseAwayError, DatabaseError, StatementFailedError
from storage.memory.accounts import MemoryAccounts
from storage.memory.tables import MemoryTables
from storage.node import begin_incarnation
from storage.postgres import Postgres, Work, open_postgres
from storage.sign_in import PostgresSignIn
from storage.waking import Waking
from tests.clocks import ActorToken, HandClock
from tests.storage.bad_networks import AnswerLost, StillCommitting

TOKEN = ActorToken()
MONTH = 30 * 86_400_000


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(database_url) as opened:
        yield opened


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else request.getfixturevalue("database_url")


@pytest.fixture
async def store(url: str | None, clock: HandClock) -> AsyncIterator[AccountStore]:
    if url is None:
        yield MemoryAccounts(MemoryTables(), clock)
        return
    async with open_postgres(url) as opened:
        yield PostgresAccounts(opened, await begin_incarnation(opened, "node"), clock)


def user_id() -> UserId:
    return UserId(str(uuid.uuid4()))


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def login_of(clock: HandClock, token: str = "") -> NewLogin:
    id = LoginId(str(uuid.uuid4()))
    now = clock.now()
    return NewLogin(id, hash_of(token or id), "Browser/1.0", "192.0.2.1", now, WallTime(now + MONTH))


def registration(clock: HandClock, email: str, username: str = "anna", chosen: bool = True) -> Register:
    return Register(email, username, chosen, "$argon2id$hash", login_of(clock))


async def code_of(work: Awaitable[object]) -> ErrorCode:
    with pytest.raises(KithError) as refused:
        await work
    return refused.value.code


async def test_a_registration_is_an_account_with_a_login(store: AccountStore, clock: HandClock) -> None:
    id, command = user_id(), registration(clock, "Anna@Example.org")
    account = await store.register(TOKEN, id, command)
    assert (account.user_id, account.username, account.email) == (id, "anna", "Anna@Example.org")
    found = await store.credentials("anna@EXAMPLE.org")
    assert found is not None
    assert (found.account, found.password_hash, found.status) == (account, "$argon2id$hash", "active")
    assert await store.credentials_of(id) == found
    assert await store.login_of_token(command.login.token_hash) == (id, command.login.id)
    [view] = await store.logins(id)
    assert (view.id, view.user_agent, view.address) == (command.login.id, "Browser/1.0", "192.0.2.1")
    assert view.created_at == view.last_used_at == "2026-11-18T11:06:40.000Z"
    assert view.expires_at == "2026-12-18T11:06:40.000Z"


async def test_what_is_not_there_is_none(store: AccountStore) -> None:
    assert await store.credentials("nobody@example.org") is None
    assert await store.credentials_of(user_id()) is None
    assert await store.login_of_token(b"nothing") is None
    assert await store.logins(user_id()) == []
    assert await store.revoked_since(WallTime(0)) == []


async def test_an_email_belongs_to_one_account_whatever_its_case_or_composition(
    store: AccountStore, clock: HandClock
) -> None:
    await store.register(TOKEN, user_id(), registration(clock, "Renée@example.org", "renee"))
    for same in ("renée@EXAMPLE.org", "rene\u0301e@example.org"):
        again = registration(clock, same, "other")
        assert await code_of(store.register(TOKEN, user_id(), again)) is ErrorCode.EMAIL_TAKEN
    assert await store.credentials("RENE\u0301E@example.org") is not None


async def test_a_chosen_username_is_taken_or_not(store: AccountStore, clock: HandClock) -> None:
    await store.register(TOKEN, user_id(), registration(clock, "a@example.org", "Anna"))
    second = registration(clock, "b@example.org", "aNNa")
    assert await code_of(store.register(TOKEN, user_id(), second)) is ErrorCode.USERNAME_TAKEN
    assert await store.credentials("b@example.org") is None
    both = registration(clock, "A@example.org", "anna")
    assert await code_of(store.register(TOKEN, user_id(), both)) is ErrorCode.EMAIL_TAKEN


async def test_a_made_username_is_varied_until_it_is_free(store: AccountStore, clock: HandClock) -> None:
    names = []
    for number in range(3):
        command = registration(clock, f"{number}@example.org", "anna", chosen=False)
        names.append((await store.register(TOKEN, user_id(), command)).username)
    assert names[0] == "anna"
    assert len(set(names)) == 3
    assert all(name.startswith("anna_") for name in names[1:])


async def test_a_login_is_opened_listed_latest_first_and_ends_at_its_time(
    store: AccountStore, clock: HandClock
) -> None:
    id = user_id()
    await store.register(TOKEN, id, registration(clock, "a@example.org"))
    clock.seconds = 10
    later = login_of(clock)
    assert (await store.open_login(TOKEN, id, later)).user_id == id
    first, _ = await store.logins(id)
    assert first.id == later.id
    clock.seconds = 30 * 86_400 + 5
    assert [view.id for view in await store.logins(id)] == [later.id]
    assert await code_of(store.open_login(TOKEN, user_id(), login_of(clock))) is ErrorCode.USER_NOT_FOUND


async def test_a_refresh_token_is_spent_once_and_remembered(store: AccountStore, clock: HandClock) -> None:
    id, command = user_id(), registration(clock, "a@example.org")
    login = command.login
    await store.register(TOKEN, id, command)
    clock.seconds = 60
    first, second = login.token_hash, hash_of("second")
    expiry = WallTime(clock.now() + MONTH)
    account = await store.rotate_login(TOKEN, id, RotateLogin(login.id, first, second, expiry))
    assert account is not None
    assert account.username == "anna"
    [view] = await store.logins(id)
    assert (view.last_used_at, view.expires_at) == ("2026-11-18T11:07:40.000Z", "2026-12-18T11:07:40.000Z")
    assert await store.login_of_token(first) == (id, login.id)  # spent, and seen for what it is
    assert await store.login_of_token(second) == (id, login.id)
    assert await store.rotate_login(TOKEN, id, RotateLogin(login.id, first, hash_of("thief's"), expiry)) is None
    assert await store.login_of_token(hash_of("thief's")) is None


async def test_an_ended_login_cannot_be_rotated(store: AccountStore, clock: HandClock) -> None:
    id, command = user_id(), registration(clock, "a@example.org")
    login = command.login
    await store.register(TOKEN, id, command)
    rotation = RotateLogin(login.id, login.token_hash, hash_of("next"), WallTime(clock.now() + MONTH))
    stranger = user_id()
    assert await store.rotate_login(TOKEN, stranger, rotation) is None
    clock.seconds = 31 * 86_400
    assert await store.rotate_login(TOKEN, id, rotation) is None
    clock.seconds = 1
    await store.close_logins(TOKEN, id, None, None)
    clock.seconds = 2
    assert await store.rotate_login(TOKEN, id, rotation) is None


async def test_logins_are_closed_one_some_or_all_and_named_once(store: AccountStore, clock: HandClock) -> None:
    id, other = user_id(), user_id()
    await store.register(TOKEN, id, registration(clock, "a@example.org"))
    theirs = registration(clock, "b@example.org", "ben")
    await store.register(TOKEN, other, theirs)
    logins = [login_of(clock) for _ in range(4)]
    for login in logins:
        await store.open_login(TOKEN, id, login)
    clock.seconds = 10
    assert await store.close_logins(TOKEN, id, [logins[0].id], None) == [logins[0].id]
    assert await store.close_logins(TOKEN, id, [logins[0].id], None) == []
    clock.seconds = 20
    assert await store.close_logins(TOKEN, id, [theirs.login.id], None) == []
    assert set(await store.close_logins(TOKEN, id, [logins[1].id, logins[2].id], logins[2].id)) == {logins[1].id}
    clock.seconds = 30
    ended = await store.close_logins(TOKEN, id, None, logins[3].id)
    assert len(ended) == 2
    assert [view.id for view in await store.logins(id)] == [logins[3].id]
    assert len(await store.logins(other)) == 1
    lately = await store.revoked_since(WallTime(clock.now() - 10_000))
    assert set(lately) == {(id, login) for login in (logins[1].id, *ended)}
    assert len(await store.revoked_since(WallTime(0))) == 4


async def test_one_login_too_many_ends_the_one_that_was_used_least_lately(
    store: AccountStore, clock: HandClock
) -> None:
    """50,000 of them were an answer of 21 MB, and a new password a list of all of them for every node."""
    id, other = user_id(), user_id()
    command, theirs = registration(clock, "a@example.org"), registration(clock, "b@example.org", "ben")
    await store.register(TOKEN, id, command)
    await store.register(TOKEN, other, theirs)
    logins = [command.login]
    for number in range(1, LOGINS_MOST + 2):
        clock.seconds = number
        logins.append(login_of(clock))
        await store.open_login(TOKEN, id, logins[-1])
        await store.open_login(TOKEN, id, logins[-1])  # a repetition after a lost answer ends nothing more
    assert {view.id for view in await store.logins(id)} == {login.id for login in logins[2:]}
    assert {login for _, login in await store.revoked_since(WallTime(0))} == {login.id for login in logins[:2]}
    assert len(await store.logins(other)) == 1


async def test_a_new_password_ends_every_other_login(store: AccountStore, clock: HandClock) -> None:
    id = user_id()
    command = registration(clock, "a@example.org")
    await store.register(TOKEN, id, command)
    kept = login_of(clock)
    await store.open_login(TOKEN, id, kept)
    clock.seconds = 10
    assert await store.change_password(TOKEN, id, ChangePassword("$argon2id$new", kept.id)) == [command.login.id]
    found = await store.credentials_of(id)
    assert found is not None
    assert found.password_hash == "$argon2id$new"
    assert [view.id for view in await store.logins(id)] == [kept.id]


async def test_a_password_that_was_changed_meanwhile_opens_nothing(store: AccountStore, clock: HandClock) -> None:
    """Who knows the old password keeps a login under way: it must not come in behind the change that shuts him out."""
    id = user_id()
    command = registration(clock, "a@example.org")
    await store.register(TOKEN, id, command)
    old, new = command.password_hash, "$argon2id$new"
    assert (await store.open_login(TOKEN, id, login_of(clock), old)).user_id == id
    clock.seconds = 10
    await store.change_password(TOKEN, id, ChangePassword(new, command.login.id, checked=old))
    assert await code_of(store.open_login(TOKEN, id, login_of(clock), old)) is ErrorCode.INVALID_CREDENTIALS
    stolen = ChangePassword("$argon2id$stolen", command.login.id, checked=old)
    assert await code_of(store.change_password(TOKEN, id, stolen)) is ErrorCode.INVALID_CREDENTIALS
    assert [view.id for view in await store.logins(id)] == [command.login.id]
    assert (await store.open_login(TOKEN, id, login_of(clock), new)).user_id == id


async def test_only_a_living_actor_writes(store: AccountStore, clock: HandClock) -> None:
    dead = ActorToken()
    dead.valid = False
    command = registration(clock, "a@example.org")
    assert await code_of(store.register(dead, user_id(), command)) is ErrorCode.UNAVAILABLE
    assert await code_of(store.close_logins(dead, user_id(), None, None)) is ErrorCode.UNAVAILABLE
    assert await store.credentials("a@example.org") is None


# -- what only a database can do --------------------------------------------------------------------------------------


async def test_of_two_registrations_at_once_one_wins(postgres: Postgres, clock: HandClock) -> None:
    store = PostgresAccounts(postgres, await begin_incarnation(postgres, "node"), clock)
    outcomes: list[object] = []

    async def attempt(username: str) -> None:
        try:
            outcomes.append(await store.register(TOKEN, user_id(), registration(clock, "a@example.org", username)))
        except KithError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(attempt, f"user{number}")
    assert outcomes.count(ErrorCode.EMAIL_TAKEN) == 3
    assert await postgres.fetchval(int, "select count(*) from users") == 1
    assert await postgres.fetchval(int, "select count(*) from sessions") == 1


async def test_a_registration_leaves_its_receipt(postgres: Postgres, clock: HandClock) -> None:
    identity = await begin_incarnation(postgres, "node")
    id = user_id()
    await PostgresAccounts(postgres, identity, clock).register(TOKEN, id, registration(clock, "a@example.org"))
    row = "node || ' ' || incarnation || ' ' || n || ' ' || heads"
    mark = f"node {identity.incarnation} 1"
    assert await postgres.fetchval(str, f"select {row} from flushes") == f'{mark} [["u", "{id}", 0, 1]]'
    assert await postgres.fetchval(int, "select rev from users") == 1


async def test_a_lost_answer_to_commit_is_found_again(postgres: Postgres, clock: HandClock) -> None:
    """The repetition meets its own rows: it must not call the e-mail taken, the token spent, or no login ended."""
    network = AnswerLost(postgres)
    network.lose = 1
    identity = await begin_incarnation(postgres, "node")
    store = PostgresAccounts(network, identity, clock)  # type: ignore[arg-type] # a network is not a pool, but enough
    id, command = user_id(), registration(clock, "a@example.org")
    login = command.login
    assert (await store.register(TOKEN, id, command)).username == "anna"
    network.lose = 1
    rotation = RotateLogin(login.id, login.token_hash, hash_of("next"), login.expires_at)
    assert await store.rotate_login(TOKEN, id, rotation) is not None
    network.lose = 1
    another = login_of(clock)
    await store.open_login(TOKEN, id, another)
    assert len(await store.logins(id)) == 2
    network.lose = 1
    change = ChangePassword("$new", another.id, checked=command.password_hash)
    assert await store.change_password(TOKEN, id, change) == [login.id]
    network.lose = 1
    clock.seconds = 10
    assert await store.close_logins(TOKEN, id, None, None) == [another.id]


async def test_who_cannot_reach_the_database_is_told_that_nobody_knows(postgres: Postgres, clock: HandClock) -> None:
    network = AnswerLost(postgres)
    network.lose = 100
    identity = await begin_incarnation(postgres, "node")
    store = PostgresAccounts(network, identity, clock)  # type: ignore[arg-type]
    with pytest.raises(KithError) as refused:
        await store.register(TOKEN, user_id(), registration(clock, "a@example.org"))
    assert (refused.value.code, refused.value.outcome) == (ErrorCode.UNAVAILABLE, "unknown")


async def test_a_registration_that_is_still_committing_is_nobody_elses(postgres: Postgres, clock: HandClock) -> None:
    """The repetition met the e-mail of its first attempt, and told whoever was registered by it that it was taken."""
    async with trio.open_nursery() as nursery:
        network = StillCommitting(postgres, nursery)
        store = PostgresAccounts(network, await begin_incarnation(postgres, "node"), clock)  # type: ignore[arg-type]
        id = user_id()
        account = await store.register(TOKEN, id, registration(clock, "a@example.org"))
    assert account.username == "anna"
    assert await postgres.fetchval(int, "select count(*) from users") == 1
    assert await postgres.fetchval(int, "select count(*) from sessions") == 1


class Troubled:
    """The pool of a server that answers the next transactions with these errors."""

    def __init__(self, postgres: Postgres, *errors: DatabaseError) -> None:
        self._postgres = postgres
        self.errors = list(errors)

    async def transaction(self, work: Work[object]) -> object:
        if self.errors:
            raise self.errors.pop(0)
        return await self._postgres.transaction(work)


AWAY = DatabaseAwayError("the answer was lost")


@pytest.mark.parametrize(
    ("sqlstates", "code", "outcome"),
    [
        (("40P01",), None, None),
        (("40P01", "40001", "away"), None, None),
        (("40P01",) * 4, ErrorCode.UNAVAILABLE, "none"),
        (("55P03",), ErrorCode.UNAVAILABLE, "none"),
        (("away", "25006"), ErrorCode.UNAVAILABLE, "unknown"),
        (("away", "40P01", "40P01", "40P01"), ErrorCode.UNAVAILABLE, "unknown"),
        (("42P01",), ErrorCode.DATABASE_ERROR, "none"),
        (("away", "42P01"), ErrorCode.DATABASE_ERROR, "unknown"),
    ],
)
async def test_a_server_that_is_troubled_is_nobodys_fault_and_what_is_said_of_it_is_true(
    postgres: Postgres, clock: HandClock, sqlstates: tuple[str, ...], code: ErrorCode | None, outcome: str | None
) -> None:
    """A deadlock was answered with 500; and after a lost answer any other error said that nothing had happened."""
    errors = [AWAY if state == "away" else StatementFailedError(state, "trouble") for state in sqlstates]
    server = Troubled(postgres, *errors)
    store = PostgresAccounts(server, await begin_incarnation(postgres, "node"), clock)  # type: ignore[arg-type]
    id, command = user_id(), registration(clock, "a@example.org")
    if code is None:
        assert (await store.register(TOKEN, id, command)).username == "anna"
    else:
        with pytest.raises(KithError) as refused:
            await store.register(TOKEN, id, command)
        assert (refused.value.code, refused.value.outcome) == (code, outcome)
    assert server.errors == []


async def test_who_signs_in_cleans_up_behind_himself(postgres: Postgres, clock: HandClock) -> None:
    store = PostgresAccounts(postgres, await begin_incarnation(postgres, "node"), clock)
    id, command = user_id(), registration(clock, "a@example.org")
    await store.register(TOKEN, id, command)
    rotation = RotateLogin(command.login.id, command.login.token_hash, hash_of("next"), command.login.expires_at)
    await store.rotate_login(TOKEN, id, rotation)
    clock.seconds = 40 * 86_400
    await store.open_login(TOKEN, id, login_of(clock))
    assert await postgres.fetchval(int, "select count(*) from sessions") == 1
    assert await postgres.fetchval(int, "select count(*) from spent_tokens") == 0


async def test_whoever_ends_logins_wakes_the_nodes_behind_his_commit(postgres: Postgres, clock: HandClock) -> None:
    """They looked every two seconds, and for so long a stolen token was good on another worker after the sign-out."""
    identity, ends = await begin_incarnation(postgres, "node"), list[int]()
    store = PostgresAccounts(postgres, identity, clock, Waking(logins_ended=lambda: ends.append(1)))
    id, command = user_id(), registration(clock, "a@example.org")
    await store.register(TOKEN, id, command)
    kept = login_of(clock)
    await store.open_login(TOKEN, id, kept)
    assert ends == []
    clock.seconds += 1
    await store.close_logins(TOKEN, id, [command.login.id], None)
    assert len(ends) == 1
    await store.close_logins(TOKEN, id, [command.login.id], None)
    assert len(ends) == 1, "there was nothing to end"
    await store.open_login(TOKEN, id, login_of(clock))
    await store.change_password(TOKEN, id, ChangePassword("$new", kept.id))
    assert len(ends) == 2
    for _ in range(LOGINS_MOST - 1):
        await store.open_login(TOKEN, id, login_of(clock))
    assert len(ends) == 2
    sign_in = PostgresSignIn(postgres, identity, clock, Waking(logins_ended=lambda: ends.append(1)))
    await store.open_login(TOKEN, id, login_of(clock))
    assert len(ends) == 3, "one too many"
    await sign_in.open_login(TOKEN, id, Opening(login_of(clock), None))
    assert len(ends) == 4, "the other way in"
