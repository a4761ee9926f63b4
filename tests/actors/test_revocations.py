"""Revoked logins are known as long as a token of theirs could live, and then forgotten."""

import pytest
import trio
import trio.testing

from actors.revocations import CLOSEST, EVERY, RevokedLogins
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import NewLogin, Register
from actors.tokens import LONGEST_LIFETIME, TokenAuthority
from storage.memory.accounts import MemoryAccounts
from storage.memory.tables import MemoryTables
from tests.clocks import ActorToken, HandClock

ONE, TWO = LoginId("one"), LoginId("two")


def test_a_login_is_known_for_the_life_of_a_token_and_then_forgotten() -> None:
    clock = HandClock()
    revoked = RevokedLogins(clock, Seconds(900))
    revoked.add([ONE])
    assert ONE in revoked
    assert TWO not in revoked
    clock.seconds = 800
    revoked.add([TWO])
    clock.seconds = 900
    revoked.add([])
    assert (ONE in revoked, TWO in revoked) == (False, True)
    clock.seconds = 1_700
    revoked.add([])
    assert len(revoked) == 0


def test_revoked_again_it_is_kept_from_then_on() -> None:
    clock = HandClock()
    revoked = RevokedLogins(clock, Seconds(900))
    revoked.add([ONE])
    clock.seconds = 500
    revoked.add([ONE])
    clock.seconds = 1_000
    revoked.add([])
    assert ONE in revoked
    clock.seconds = 1_400
    revoked.add([])
    assert ONE not in revoked


async def test_a_start_learns_what_was_revoked_lately_and_not_what_no_token_can_speak_for() -> None:
    clock = HandClock()
    store = MemoryAccounts(MemoryTables(), clock)
    token, user = ActorToken(), UserId("user")
    for number, moment in ((1, 0.0), (2, 2_000.0)):
        clock.seconds = moment
        login = NewLogin(LoginId(str(number)), b"%d" % number, None, None, clock.now(), WallTime(clock.now() + 10**9))
        if number == 1:
            await store.register(token, user, Register("a@example.org", "anna", True, "hash", login))
        else:
            await store.open_login(token, user, login)
        await store.close_logins(token, user, None, None)
    clock.seconds = 2_100
    revoked = RevokedLogins(clock, Seconds(900))
    await revoked.load(store)
    assert [LoginId(name) in revoked for name in "12"] == [False, True]


USER = UserId("0190aaaa-0000-7000-8000-000000000001")


async def one_login(clock: HandClock) -> MemoryAccounts:
    store = MemoryAccounts(MemoryTables(), clock)
    login = NewLogin(ONE, b"hash", None, None, clock.now(), WallTime(clock.now() + 900_000))
    await store.register(ActorToken(), USER, Register("a@example.org", "anna", True, "hashed", login))
    return store


async def test_a_look_goes_back_to_the_last_one_that_was_answered() -> None:
    """A node that could not reach the database for longer than the overlap never learned what was revoked meanwhile."""
    clock = HandClock()
    store, revoked = await one_login(clock), RevokedLogins(clock, Seconds(900))
    assert await revoked.catch_up(store) == []
    clock.seconds = 10
    await store.close_logins(ActorToken(), USER, None, None)
    clock.seconds = 600  # all looks in between found nobody
    assert await revoked.catch_up(store) == [(USER, ONE)]


async def test_what_was_revoked_elsewhere_is_news_once() -> None:
    clock = HandClock()
    store, revoked, user = await one_login(clock), RevokedLogins(clock, Seconds(900)), USER
    assert await revoked.catch_up(store) == []
    await store.close_logins(ActorToken(), user, None, None)
    assert await revoked.catch_up(store) == [(user, ONE)]
    assert ONE in revoked
    assert await revoked.catch_up(store) == []


async def test_a_start_goes_back_as_far_as_the_longest_token_of_all_lives() -> None:
    """Tokens for load tests live for a day. One whose login was revoked an hour ago was good again after a restart,
    and even without one, because a revocation was forgotten after the 15 minutes of an ordinary token."""
    clock = HandClock()
    store = await one_login(clock)
    await store.close_logins(ActorToken(), USER, None, None)
    clock.seconds = LONGEST_LIFETIME - 1
    revoked = RevokedLogins(clock)
    await revoked.load(store)
    assert ONE in revoked


def test_no_token_outlives_the_memory_of_revocations() -> None:
    tokens, now = TokenAuthority("a secret of the tests"), HandClock().now()
    assert tokens.issue(USER, ONE, now, LONGEST_LIFETIME)
    with pytest.raises(ValueError, match="outlive"):
        tokens.issue(USER, ONE, now, Seconds(LONGEST_LIFETIME + 1))


class CountedLooks(MemoryAccounts):
    """Counts how often it is asked, and can be away."""

    looks, away = 0, False

    async def revoked_since(self, moment: WallTime) -> list[tuple[UserId, LoginId]]:
        self.looks += 1
        if self.away:
            raise KithError(ErrorCode.UNAVAILABLE)
        return await super().revoked_since(moment)


async def watched(store: CountedLooks, clock: HandClock, nursery: trio.Nursery) -> tuple[RevokedLogins, list[LoginId]]:
    revoked, told = RevokedLogins(clock, Seconds(900)), list[LoginId]()
    login = NewLogin(ONE, b"hash", None, None, clock.now(), WallTime(clock.now() + 900_000))
    await store.register(ActorToken(), USER, Register("a@example.org", "anna", True, "hashed", login))
    nursery.start_soon(revoked.watch, store, lambda user, login: told.append(login))
    await trio.testing.wait_all_tasks_blocked()
    return revoked, told


async def test_who_is_woken_looks_at_once_and_others_with_time(autojump_clock: trio.testing.MockClock) -> None:
    clock = HandClock()
    store = CountedLooks(MemoryTables(), clock)
    async with trio.open_nursery() as nursery:
        revoked, told = await watched(store, clock, nursery)
        await store.close_logins(ActorToken(), USER, None, None)
        began = trio.current_time()
        revoked.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert (told, trio.current_time() - began) == ([ONE], 0.0)
        await trio.sleep(EVERY + CLOSEST + 0.01)
        assert store.looks == 2, "it looks by itself, too"
        nursery.cancel_scope.cancel()


async def test_many_who_wake_are_one_look(autojump_clock: trio.testing.MockClock) -> None:
    clock = HandClock()
    store = CountedLooks(MemoryTables(), clock)
    async with trio.open_nursery() as nursery:
        revoked, _ = await watched(store, clock, nursery)
        for _ in range(100):
            revoked.wake()
            await trio.sleep(0.001)
        assert 4 <= store.looks <= 7
        nursery.cancel_scope.cancel()


async def test_a_database_that_is_away_ends_no_watch(autojump_clock: trio.testing.MockClock) -> None:
    clock = HandClock()
    store = CountedLooks(MemoryTables(), clock)
    async with trio.open_nursery() as nursery:
        revoked, told = await watched(store, clock, nursery)
        await store.close_logins(ActorToken(), USER, None, None)
        store.away = True
        revoked.wake()
        await trio.sleep(0.1)
        assert told == []
        store.away = False
        await trio.sleep(EVERY)
        assert told == [ONE]
        nursery.cancel_scope.cancel()
