"""The contract of SignInStore, on PostgreSQL and on the twin in memory."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import trio
from msgspec import Struct

from actors.ports import AccountStore
from actors.rules.accounts import NO_PASSWORD
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import IdentityId, LoginId, UserId
from actors.shapes.sign_in import (
    CodeSpent,
    FlowSpent,
    Guard,
    LinkIdentity,
    Opening,
    ProviderIdentity,
    RecoverySpent,
    RegisterWithIdentity,
    Totp,
    UnlinkIdentity,
)
from actors.shapes.times import WallTime
from actors.shapes.users import ChangePassword, NewLogin, Register
from actors.sign_in_ports import SignInStore
from storage.accounts import PostgresAccounts
from storage.memory.accounts import MemoryAccounts
from storage.memory.sign_in import MemorySignIn
from storage.memory.tables import MemoryTables
from storage.node import begin_incarnation
from storage.postgres import Postgres, Statements, Work, open_postgres
from storage.sign_in import PostgresSignIn
from tests.clocks import ActorToken, HandClock
from tests.storage.bad_networks import AnswerLost, StillCommitting

TOKEN = ActorToken()
HASH = "$argon2id$hash"
CODES = [hashlib.sha256(b"%d" % number).digest() for number in range(10)]
ISSUER = "https://provider.example.org"


class Stores(Struct):
    accounts: AccountStore
    sign_in: SignInStore


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
async def stores(url: str | None, clock: HandClock) -> AsyncIterator[Stores]:
    if url is None:
        accounts = MemoryAccounts(MemoryTables(), clock)
        yield Stores(accounts, MemorySignIn(accounts))
        return
    async with open_postgres(url) as opened:
        yield await stores_of(opened, clock)


async def stores_of(postgres: Postgres, clock: HandClock) -> Stores:
    identity = await begin_incarnation(postgres, "node")
    return Stores(PostgresAccounts(postgres, identity, clock), PostgresSignIn(postgres, identity, clock))


def new_uuid() -> str:
    return str(uuid.uuid4())


def login_of(clock: HandClock) -> NewLogin:
    id, now = LoginId(new_uuid()), clock.now()
    return NewLogin(id, hashlib.sha256(id.encode()).digest(), None, None, now, WallTime(now + 10**9))


def flow_of(clock: HandClock) -> FlowSpent:
    return FlowSpent(new_uuid(), WallTime(clock.now() + 600_000))


def identity(subject: str = "anna", email: str | None = "anna@example.org") -> ProviderIdentity:
    return ProviderIdentity(ISSUER, subject, email)


def newcomer(clock: HandClock, subject: str = "anna", email: str = "anna@example.org") -> RegisterWithIdentity:
    return RegisterWithIdentity(
        email, "anna", login_of(clock), IdentityId(new_uuid()), identity(subject, email), flow_of(clock)
    )


def link_of(clock: HandClock, subject: str = "anna") -> LinkIdentity:
    return LinkIdentity(IdentityId(new_uuid()), identity(subject), flow_of(clock), clock.now())


async def person(stores: Stores, clock: HandClock, name: str = "anna") -> UserId:
    id = UserId(new_uuid())
    await stores.accounts.register(TOKEN, id, Register(f"{name}@example.org", name, True, HASH, login_of(clock)))
    return id


async def with_codes(stores: Stores, clock: HandClock, name: str = "anna") -> UserId:
    """Somebody who is asked for codes; the last one he used was of step 100."""
    id = await person(stores, clock, name)
    assert await stores.sign_in.begin_totp(TOKEN, id, b"sealed", HASH)
    assert await stores.sign_in.confirm_totp(TOKEN, id, spent(Guard(), 100), CODES)
    return id


def spent(before: Guard, step: int, resealed: bytes | None = None) -> CodeSpent:
    return CodeSpent(before, Guard(step), resealed)


async def code_of(work: Awaitable[object]) -> ErrorCode:
    with pytest.raises(KithError) as refused:
        await work
    return refused.value.code


# -- one-time codes ---------------------------------------------------------------------------------------------------


async def test_a_secret_is_nothing_until_it_is_confirmed(stores: Stores, clock: HandClock) -> None:
    id, store = await person(stores, clock), stores.sign_in
    assert await store.totp(id) is None
    assert await store.begin_totp(TOKEN, id, b"first", HASH)
    assert await store.begin_totp(TOKEN, id, b"second", HASH)
    assert await store.totp(id) == Totp(b"second", False, Guard(), 0)
    assert await store.confirm_totp(TOKEN, id, spent(Guard(), 100), CODES)
    assert await store.totp(id) == Totp(b"second", True, Guard(100), 10)
    assert not await store.begin_totp(TOKEN, id, b"third", HASH)
    assert not await store.confirm_totp(TOKEN, id, spent(Guard(100), 101), [b"x" * 32])
    assert await store.totp(id) == Totp(b"second", True, Guard(100), 10)


async def test_a_secret_is_kept_for_the_password_that_was_checked(stores: Stores, clock: HandClock) -> None:
    id, store = await person(stores, clock), stores.sign_in
    assert await code_of(store.begin_totp(TOKEN, id, b"sealed", "$old")) is ErrorCode.INVALID_CREDENTIALS
    assert await store.totp(id) is None


async def test_the_right_password_of_a_suspended_user_opens_nothing(url: str | None, clock: HandClock) -> None:
    if url is None:
        tables = MemoryTables()
        accounts = MemoryAccounts(tables, clock)

        async def suspend_here(id: UserId) -> None:
            tables.users[id].status = "suspended"

        await refuses_a_suspended_user(Stores(accounts, MemorySignIn(accounts)), clock, suspend_here)
        return
    async with open_postgres(url) as opened:

        async def suspend(id: UserId) -> None:
            await opened.execute("update users set status = 'suspended' where id = $1", id)

        await refuses_a_suspended_user(await stores_of(opened, clock), clock, suspend)


async def refuses_a_suspended_user(
    stores: Stores, clock: HandClock, suspend: Callable[[UserId], Awaitable[None]]
) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    await suspend(id)
    proof = spent(Guard(100), 101)
    for refused in (
        store.open_login(TOKEN, id, Opening(login_of(clock), proof, checked=HASH)),
        store.renew_recovery(TOKEN, id, proof, CODES, HASH),
        store.disable_totp(TOKEN, id, proof, HASH),
        store.begin_totp(TOKEN, id, b"again", HASH),
    ):
        assert await code_of(refused) is ErrorCode.INVALID_CREDENTIALS
    assert await store.totp(id) == Totp(b"sealed", True, Guard(100), 10)


async def test_failures_are_kept_and_a_new_secret_begins_without_them(stores: Stores, clock: HandClock) -> None:
    id, store = await person(stores, clock), stores.sign_in
    await store.begin_totp(TOKEN, id, b"first", HASH)
    bad = Guard(0, 5, WallTime(clock.now() + 60_000))
    assert await store.note_failure(TOKEN, id, Guard(), bad)
    assert await store.totp(id) == Totp(b"first", False, bad, 0)
    assert not await store.note_failure(TOKEN, id, Guard(), Guard(0, 1))
    await store.begin_totp(TOKEN, id, b"second", HASH)
    assert await store.totp(id) == Totp(b"second", False, Guard(), 0)
    assert not await store.note_failure(TOKEN, UserId(new_uuid()), Guard(), bad)


async def test_a_code_opens_one_login(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    first, second = login_of(clock), login_of(clock)
    proof = spent(Guard(100), 101, b"resealed")
    account = await store.open_login(TOKEN, id, Opening(first, proof, checked=HASH))
    assert account is not None
    assert (account.user_id, account.username) == (id, "anna")
    assert await store.open_login(TOKEN, id, Opening(second, proof, checked=HASH)) is None
    assert await store.totp(id) == Totp(b"resealed", True, Guard(101), 10)
    logins = {view.id for view in await stores.accounts.logins(id)}
    assert first.id in logins
    assert second.id not in logins


async def test_a_recovery_code_opens_one_login(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    other = await with_codes(stores, clock, "ben")
    opening = Opening(login_of(clock), RecoverySpent(CODES[3]), checked=HASH)
    assert await store.open_login(TOKEN, id, opening) is not None
    for lost in (CODES[3], b"unknown"):
        assert await store.open_login(TOKEN, id, Opening(login_of(clock), RecoverySpent(lost), checked=HASH)) is None
    known, theirs = await store.totp(id), await store.totp(other)
    assert known is not None
    assert theirs is not None
    assert (known.recovery_left, theirs.recovery_left) == (9, 10)
    assert known.guard == Guard(100)


async def test_a_code_does_not_open_what_the_password_no_more_does(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    kept = login_of(clock)
    await stores.accounts.open_login(TOKEN, id, kept)
    clock.seconds = 10
    await stores.accounts.change_password(TOKEN, id, ChangePassword("$new", kept.id, checked=HASH))
    opening = Opening(login_of(clock), spent(Guard(100), 101), checked=HASH)
    assert await code_of(store.open_login(TOKEN, id, opening)) is ErrorCode.INVALID_CREDENTIALS
    known = await store.totp(id)
    assert known is not None
    assert known.guard == Guard(100)  # not spent


async def test_a_code_is_spent_once_and_for_nothing(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    before = await stores.accounts.logins(id)
    assert await store.spend_code(TOKEN, id, spent(Guard(100), 101))
    assert not await store.spend_code(TOKEN, id, spent(Guard(100), 101))
    assert await store.spend_code(TOKEN, id, RecoverySpent(CODES[0]))
    assert not await store.spend_code(TOKEN, id, RecoverySpent(CODES[0]))
    assert await store.totp(id) == Totp(b"sealed", True, Guard(101), len(CODES) - 1)
    assert await stores.accounts.logins(id) == before
    nobody = await person(stores, clock, "ben")
    await store.begin_totp(TOKEN, nobody, b"sealed", HASH)
    assert not await store.spend_code(TOKEN, nobody, spent(Guard(), 101)), "nobody is asked for it yet"


async def test_recovery_codes_are_renewed_all_at_once(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    fresh = [hashlib.sha256(code).digest() for code in CODES]
    assert await store.renew_recovery(TOKEN, id, RecoverySpent(CODES[0]), fresh, HASH)
    assert await store.totp(id) == Totp(b"sealed", True, Guard(100), 10)
    assert not await store.renew_recovery(TOKEN, id, RecoverySpent(CODES[1]), [b"x" * 32], HASH)
    assert await store.renew_recovery(TOKEN, id, spent(Guard(100), 101), CODES, HASH)
    assert not await store.renew_recovery(TOKEN, id, spent(Guard(100), 102), [b"x" * 32], HASH)
    refused = store.renew_recovery(TOKEN, id, spent(Guard(101), 102), [b"x" * 32], "$other")
    assert await code_of(refused) is ErrorCode.INVALID_CREDENTIALS
    assert await store.totp(id) == Totp(b"sealed", True, Guard(101), 10)
    nobody = await person(stores, clock, "ben")
    assert not await store.renew_recovery(TOKEN, nobody, spent(Guard(), 101), [b"x" * 32], HASH)


async def test_codes_are_turned_off_with_all_that_belongs_to_them(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    assert not await store.disable_totp(TOKEN, id, spent(Guard(99), 101), HASH)
    assert not await store.disable_totp(TOKEN, id, RecoverySpent(b"unknown"), HASH)
    refused = store.disable_totp(TOKEN, id, spent(Guard(100), 101), "$other")
    assert await code_of(refused) is ErrorCode.INVALID_CREDENTIALS
    assert await store.disable_totp(TOKEN, id, spent(Guard(100), 101), HASH)
    assert await store.totp(id) is None
    await store.begin_totp(TOKEN, id, b"again", HASH)
    assert await store.totp(id) == Totp(b"again", False, Guard(), 0)


# -- identities -------------------------------------------------------------------------------------------------------


async def test_a_newcomer_from_the_provider_has_an_account_without_password(stores: Stores, clock: HandClock) -> None:
    id, store, command = UserId(new_uuid()), stores.sign_in, newcomer(clock)
    account = await store.register(TOKEN, id, command)
    assert (account.user_id, account.username, account.email) == (id, "anna", "anna@example.org")
    known = await stores.accounts.credentials("anna@example.org")
    assert known is not None
    assert (known.account, known.password_hash) == (account, NO_PASSWORD)
    assert [login.id for login in await stores.accounts.logins(id)] == [command.login.id]
    assert await store.owner(ISSUER, "anna") == id
    assert await store.owner("https://other.example.org", "anna") is None
    assert await store.owner(ISSUER, "Anna") is None
    [view] = await store.identities(id)
    assert (view.id, view.issuer, view.email) == (command.identity_id, ISSUER, "anna@example.org")
    assert view.created_at == "2026-11-18T11:06:40.000Z"


async def test_a_newcomer_takes_neither_email_nor_identity_nor_flow_of_another(
    stores: Stores, clock: HandClock
) -> None:
    store, first = stores.sign_in, newcomer(clock)
    await store.register(TOKEN, UserId(new_uuid()), first)
    same_email = newcomer(clock, "ben", "ANNA@example.org")
    assert await code_of(store.register(TOKEN, UserId(new_uuid()), same_email)) is ErrorCode.EMAIL_TAKEN
    same_identity = newcomer(clock, "anna", "other@example.org")
    assert await code_of(store.register(TOKEN, UserId(new_uuid()), same_identity)) is ErrorCode.INVALID_CREDENTIALS
    other = newcomer(clock, "ben", "ben@example.org")
    replay = RegisterWithIdentity(
        other.email, other.username, other.login, other.identity_id, other.identity, first.flow
    )
    assert await code_of(store.register(TOKEN, UserId(new_uuid()), replay)) is ErrorCode.INVALID_CREDENTIALS
    for email in ("other@example.org", "ben@example.org"):
        assert await stores.accounts.credentials(email) is None
    account = await store.register(TOKEN, UserId(new_uuid()), other)  # nothing of it was used up
    assert account.username.startswith("anna_")


async def test_an_identity_opens_a_login_and_its_flow_opens_no_second(stores: Stores, clock: HandClock) -> None:
    id, store = UserId(new_uuid()), stores.sign_in
    await store.register(TOKEN, id, newcomer(clock))
    clock.seconds = 60
    flow, login = flow_of(clock), login_of(clock)
    account = await store.open_login(TOKEN, id, Opening(login, identity=identity(), flow=flow))
    assert account is not None
    again = Opening(login_of(clock), identity=identity(), flow=flow)
    assert await code_of(store.open_login(TOKEN, id, again)) is ErrorCode.INVALID_CREDENTIALS
    assert len(await stores.accounts.logins(id)) == 2
    stranger = await person(stores, clock, "ben")
    foreign = Opening(login_of(clock), identity=identity(), flow=flow_of(clock))
    assert await code_of(store.open_login(TOKEN, stranger, foreign)) is ErrorCode.INVALID_CREDENTIALS


async def test_a_flow_stays_spent_for_minutes_after_its_end(stores: Stores, clock: HandClock) -> None:
    """Clocks differ, and a node whose clock is behind would still take it."""
    id, command = UserId(new_uuid()), newcomer(clock)
    await stores.sign_in.register(TOKEN, id, command)
    clock.seconds = 900
    for _ in range(2):
        await stores.sign_in.open_login(TOKEN, id, Opening(login_of(clock), identity=identity(), flow=flow_of(clock)))
    again = Opening(login_of(clock), identity=identity(), flow=command.flow)
    assert await code_of(stores.sign_in.open_login(TOKEN, id, again)) is ErrorCode.INVALID_CREDENTIALS


async def test_a_refused_flow_spends_no_code_and_a_refused_code_no_flow(stores: Stores, clock: HandClock) -> None:
    id, store = await with_codes(stores, clock), stores.sign_in
    used = link_of(clock)
    await store.link(TOKEN, id, used)
    spent_flow = Opening(login_of(clock), spent(Guard(100), 101), identity=identity(), flow=used.flow)
    assert await code_of(store.open_login(TOKEN, id, spent_flow)) is ErrorCode.INVALID_CREDENTIALS
    known, flow = await store.totp(id), flow_of(clock)
    assert known is not None
    assert known.guard == Guard(100)
    wrong_code = Opening(login_of(clock), spent(Guard(99), 101), identity=identity(), flow=flow)
    assert await store.open_login(TOKEN, id, wrong_code) is None
    right = Opening(login_of(clock), spent(Guard(100), 101), identity=identity(), flow=flow)
    assert await store.open_login(TOKEN, id, right) is not None


async def test_an_identity_is_linked_to_one_account(stores: Stores, clock: HandClock) -> None:
    anna, ben, store = await person(stores, clock), await person(stores, clock, "ben"), stores.sign_in
    first = link_of(clock)
    view, new = await store.link(TOKEN, anna, first)
    assert (view.id, new) == (first.id, True)
    clock.seconds = 10
    again, new = await store.link(TOKEN, anna, link_of(clock))
    assert (again, new) == (view, False)
    assert await code_of(store.link(TOKEN, ben, link_of(clock))) is ErrorCode.FORBIDDEN
    replay = LinkIdentity(IdentityId(new_uuid()), identity("other"), first.flow, clock.now())
    assert await code_of(store.link(TOKEN, ben, replay)) is ErrorCode.INVALID_CREDENTIALS
    await store.link(TOKEN, anna, link_of(clock, "second"))
    first_linked, _ = await store.identities(anna)
    assert first_linked.id == view.id
    assert await store.identities(ben) == []


async def test_the_last_way_in_stays(stores: Stores, clock: HandClock) -> None:
    id, store, command = UserId(new_uuid()), stores.sign_in, newcomer(clock)
    await store.register(TOKEN, id, command)
    only = UnlinkIdentity(command.identity_id, ISSUER)
    assert await code_of(store.unlink(TOKEN, id, only)) is ErrorCode.FORBIDDEN
    assert len(await store.identities(id)) == 1
    second = link_of(clock, "second")
    await store.link(TOKEN, id, second)
    # Of another provider than the one that is asked today, or of none: nobody could come in by it.
    for issuer in ("https://other.example.org", None):
        gone = store.unlink(TOKEN, id, UnlinkIdentity(command.identity_id, issuer))
        assert await code_of(gone) is ErrorCode.FORBIDDEN
    await store.unlink(TOKEN, id, only)
    assert [view.id for view in await store.identities(id)] == [second.id]
    await stores.accounts.change_password(TOKEN, id, ChangePassword(HASH, command.login.id, checked=NO_PASSWORD))
    await store.unlink(TOKEN, id, UnlinkIdentity(second.id, ISSUER))
    assert await store.identities(id) == []
    opening = Opening(login_of(clock), identity=identity(), flow=flow_of(clock))
    assert await code_of(store.open_login(TOKEN, id, opening)) is ErrorCode.INVALID_CREDENTIALS


async def test_nobody_unlinks_what_is_not_his(stores: Stores, clock: HandClock) -> None:
    anna, ben, store = await person(stores, clock), await person(stores, clock, "ben"), stores.sign_in
    view, _ = await store.link(TOKEN, anna, link_of(clock))
    assert await code_of(store.unlink(TOKEN, ben, UnlinkIdentity(view.id, ISSUER))) is ErrorCode.CONTENT_NOT_FOUND
    assert len(await store.identities(anna)) == 1


async def test_only_a_living_actor_writes(stores: Stores, clock: HandClock) -> None:
    id, store, dead = await with_codes(stores, clock), stores.sign_in, ActorToken()
    dead.valid = False
    proof = spent(Guard(100), 101)
    writes: Sequence[Awaitable[object]] = (
        store.begin_totp(dead, id, b"sealed", HASH),
        store.confirm_totp(dead, id, proof, CODES),
        store.note_failure(dead, id, Guard(100), Guard(100, 1)),
        store.disable_totp(dead, id, proof, HASH),
        store.renew_recovery(dead, id, proof, CODES, HASH),
        store.spend_code(dead, id, proof),
        store.open_login(dead, id, Opening(login_of(clock), proof)),
        store.register(dead, UserId(new_uuid()), newcomer(clock, "ben", "ben@example.org")),
        store.link(dead, id, link_of(clock)),
        store.unlink(dead, id, UnlinkIdentity(IdentityId(new_uuid()), ISSUER)),
    )
    for write in writes:
        assert await code_of(write) is ErrorCode.UNAVAILABLE
    assert await store.totp(id) == Totp(b"sealed", True, Guard(100), 10)


# -- what only a database can do --------------------------------------------------------------------------------------


async def test_of_two_nodes_with_the_same_code_one_opens_a_login(postgres: Postgres, clock: HandClock) -> None:
    """Each node has an actor of this user, and neither knows of the other: the row decides."""
    here, there = await stores_of(postgres, clock), await stores_of(postgres, clock)
    id = await with_codes(here, clock)
    outcomes: list[bool] = []

    async def attempt(store: SignInStore) -> None:
        opening = Opening(login_of(clock), spent(Guard(100), 101), checked=HASH)
        outcomes.append(await store.open_login(TOKEN, id, opening) is not None)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(attempt, here.sign_in)
            nursery.start_soon(attempt, there.sign_in)
    assert sorted(outcomes) == [False] * 7 + [True]
    assert len(await here.accounts.logins(id)) == 2


async def test_of_two_nodes_with_the_same_flow_one_opens_a_login(postgres: Postgres, clock: HandClock) -> None:
    stores = await stores_of(postgres, clock)
    id = await person(stores, clock)
    await stores.sign_in.link(TOKEN, id, link_of(clock))
    flow, outcomes = flow_of(clock), list[object]()

    async def attempt() -> None:
        opening = Opening(login_of(clock), identity=identity(), flow=flow)
        try:
            outcomes.append(await stores.sign_in.open_login(TOKEN, id, opening) is not None)
        except KithError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(attempt)
    assert outcomes.count(True) == 1
    assert outcomes.count(ErrorCode.INVALID_CREDENTIALS) == 3


class SlowToCommit:
    """The pool of a server whose COMMITs take a while."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.worked = trio.Event()

    async def transaction(self, work: Work[object]) -> object:
        async def slowly(statements: Statements) -> object:
            result = await work(statements)
            self.worked.set()
            await statements.execute("select pg_sleep(0.3)")
            return result

        return await self._postgres.transaction(slowly)


async def test_two_who_remove_each_the_others_last_way_in_leave_one(postgres: Postgres, clock: HandClock) -> None:
    stores, id, command = await stores_of(postgres, clock), UserId(new_uuid()), newcomer(clock)
    await stores.sign_in.register(TOKEN, id, command)
    second = link_of(clock, "second")
    await stores.sign_in.link(TOKEN, id, second)
    network = SlowToCommit(postgres)
    slow = PostgresSignIn(network, await begin_incarnation(postgres, "slow"), clock)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.unlink, TOKEN, id, UnlinkIdentity(command.identity_id, ISSUER))
        await network.worked.wait()
        # It does not see yet that the other one is gone: it has to wait for it.
        late = stores.sign_in.unlink(TOKEN, id, UnlinkIdentity(second.id, ISSUER))
        assert await code_of(late) is ErrorCode.FORBIDDEN
    assert [view.id for view in await stores.sign_in.identities(id)] == [second.id]


async def test_a_newcomer_from_the_provider_leaves_his_receipt(postgres: Postgres, clock: HandClock) -> None:
    stores, id = await stores_of(postgres, clock), UserId(new_uuid())
    await stores.sign_in.register(TOKEN, id, newcomer(clock))
    assert await postgres.fetchval(str, "select heads::text from flushes") == f'[["u", "{id}", 0, 1]]'


async def test_who_spends_a_flow_cleans_up_behind_others(postgres: Postgres, clock: HandClock) -> None:
    stores = await stores_of(postgres, clock)
    id = await person(stores, clock)
    await stores.sign_in.link(TOKEN, id, link_of(clock))
    clock.seconds = 1_201
    await stores.sign_in.link(TOKEN, id, link_of(clock, "second"))
    assert await postgres.fetchval(int, "select count(*) from spent_flows") == 1


async def test_a_lost_answer_to_commit_is_found_again(postgres: Postgres, clock: HandClock) -> None:
    """The repetition meets its own rows: it must call neither code nor flow spent, nor the identity unknown."""
    network = AnswerLost(postgres)
    stores = await stores_of(network, clock)  # type: ignore[arg-type] # a network is not a pool, but enough
    store, id, command = stores.sign_in, UserId(new_uuid()), newcomer(clock)
    network.lose = 1
    assert (await store.register(TOKEN, id, command)).username == "anna"
    network.lose = 1
    assert await store.begin_totp(TOKEN, id, b"sealed", NO_PASSWORD)
    network.lose = 1
    assert await store.confirm_totp(TOKEN, id, spent(Guard(), 100), CODES)
    network.lose = 1
    opening = Opening(login_of(clock), spent(Guard(100), 101), identity=identity(), flow=flow_of(clock))
    assert await store.open_login(TOKEN, id, opening) is not None
    network.lose = 1
    fresh = [hashlib.sha256(code).digest() for code in CODES]
    assert await store.renew_recovery(TOKEN, id, spent(Guard(101), 102), fresh, NO_PASSWORD)
    network.lose = 1
    assert await store.disable_totp(TOKEN, id, spent(Guard(102), 103), NO_PASSWORD)
    network.lose = 1
    link = link_of(clock, "second")
    assert (await store.link(TOKEN, id, link))[1]
    network.lose = 1
    await store.unlink(TOKEN, id, UnlinkIdentity(link.id, ISSUER))
    assert [view.id for view in await store.identities(id)] == [command.identity_id]
    assert len(await stores.accounts.logins(id)) == 2
    assert network.lose == 0


async def test_what_is_still_committing_is_waited_for(postgres: Postgres, clock: HandClock) -> None:
    """The repetition met the code, or the flow, that its own first attempt was spending, and called it spent."""
    async with trio.open_nursery() as nursery:
        network = StillCommitting(postgres, nursery)
        node = await begin_incarnation(postgres, "node")
        store = PostgresSignIn(network, node, clock)  # type: ignore[arg-type] # a network is not a pool, but enough
        id, command = UserId(new_uuid()), newcomer(clock)
        assert (await store.register(TOKEN, id, command)).username == "anna"
        assert await store.begin_totp(TOKEN, id, b"sealed", NO_PASSWORD)
        network.slow = True
        assert await store.confirm_totp(TOKEN, id, spent(Guard(), 100), CODES)
        network.slow = True
        opening = Opening(login_of(clock), spent(Guard(100), 101), identity=identity(), flow=flow_of(clock))
        assert await store.open_login(TOKEN, id, opening) is not None
        network.slow = True
        opening = Opening(login_of(clock), RecoverySpent(CODES[0]), identity=identity(), flow=flow_of(clock))
        assert await store.open_login(TOKEN, id, opening) is not None
        network.slow = True
        link = link_of(clock, "second")
        assert (await store.link(TOKEN, id, link))[1]
        network.slow = True
        fresh = [hashlib.sha256(code).digest() for code in CODES]
        assert await store.renew_recovery(TOKEN, id, spent(Guard(101), 102), fresh, NO_PASSWORD)
        network.slow = True
        assert await store.disable_totp(TOKEN, id, spent(Guard(102), 103), NO_PASSWORD)
    assert len(await PostgresAccounts(postgres, await begin_incarnation(postgres, "n"), clock).logins(id)) == 3
    assert await postgres.fetchval(int, "select count(*) from spent_flows") == 4
