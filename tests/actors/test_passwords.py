"""Passwords off the loop: right and wrong ones, how many wait, and what becomes of a flood."""

import pytest
import trio
import trio.testing

from actors.hashing import FAILED, RIGHT, HashWork, perform
from actors.metrics import Metrics
from actors.passwords import PasswordOptions, Passwords
from actors.shapes.errors import ErrorCode, KithError


class Desk:
    """Hashes at once, or when its gate opens; remembers what it was handed."""

    def __init__(self) -> None:
        self.handed: list[HashWork] = []
        self.gate: trio.Event | None = None

    async def __call__(self, work: HashWork) -> str:
        self.handed.append(work)
        if self.gate is not None:
            await self.gate.wait()
            return RIGHT
        return perform(work)


def passwords_of(options: PasswordOptions, metrics: Metrics | None = None, desk: Desk | None = None) -> Passwords:
    return Passwords(options, metrics or Metrics(), trio.current_time, desk or Desk())


QUICK = PasswordOptions(passes=1, memory=8_192)


async def test_only_the_password_itself_is_right() -> None:
    passwords = passwords_of(QUICK)
    hashed = await passwords.hash("correct horse")
    assert hashed.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("wrong horse", hashed)
    assert not await passwords.verify("the password of nobody", None)
    assert not await passwords.verify("anything", "not a hash")
    assert await passwords.hash("correct horse") != hashed  # salted


async def test_nobody_costs_as_much_as_somebody() -> None:
    """The same work with the same parameters; a stopwatch in a test would flicker."""
    desk = Desk()
    passwords = passwords_of(QUICK, desk=desk)
    hashed = await passwords.hash("correct horse")
    await passwords.verify("wrong horse", hashed)
    await passwords.verify("wrong horse", None)
    somebody, nobody = desk.handed[1:]
    assert somebody.known is not None
    assert nobody.known is not None
    assert somebody.known.split("$")[3] == nobody.known.split("$")[3] == "m=8,t=1,p=1"


def test_the_default_is_what_owasp_asks_for_at_least() -> None:
    assert PasswordOptions().memory >= 19 * 1024 * 1024
    assert PasswordOptions().passes >= 2


def test_what_is_hashed_is_not_shown() -> None:
    assert "secret" not in repr(HashWork("secret", None, 1, 8_192))


async def test_so_many_waiting_and_no_more() -> None:
    metrics, desk = Metrics(), Desk()
    desk.gate = trio.Event()
    passwords = passwords_of(PasswordOptions(passes=1, memory=8_192, at_once=2, waiting=3), metrics, desk)
    outcomes: list[object] = []

    async def attempt() -> None:
        try:
            outcomes.append(await passwords.verify("x", "$argon2id$"))
        except KithError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(attempt)
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == [ErrorCode.OVERLOADED] * 2
        assert metrics.value("password_hash_waiting") == 3
        desk.gate.set()
    assert outcomes[2:] == [True] * 5
    assert metrics.value("password_hash_waiting") == 0
    assert metrics.value("password_hash_seconds") == 5


async def test_a_hash_that_failed_is_nobodys_password() -> None:
    async def hashing(work: HashWork) -> str:
        return FAILED

    passwords = Passwords(QUICK, Metrics(), trio.current_time, hashing)
    for asked in (passwords.hash("correct horse"), passwords.verify("correct horse", None)):
        with pytest.raises(KithError) as refused:
            await asked
        assert refused.value.code is ErrorCode.OVERLOADED


async def test_nobody_waits_without_an_end(autojump_clock: trio.testing.MockClock) -> None:
    """With a process that hung, or died whenever it was started, each login waited until its client gave up."""
    desk, metrics = Desk(), Metrics()
    desk.gate = trio.Event()
    passwords = passwords_of(QUICK, metrics, desk)
    with pytest.raises(KithError) as refused:
        await passwords.verify("correct horse", "$argon2id$")
    assert refused.value.code is ErrorCode.OVERLOADED
    assert trio.current_time() == pytest.approx(15.0)
    assert metrics.value("password_hash_waiting") == 0


async def test_who_gives_up_leaves_the_queue() -> None:
    desk = Desk()
    desk.gate = trio.Event()
    passwords = passwords_of(PasswordOptions(passes=1, memory=8_192, at_once=1, waiting=1), desk=desk)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(passwords.verify, "x", "$argon2id$")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(KithError):
            await passwords.verify("x", "$argon2id$")
        nursery.cancel_scope.cancel()
    desk.gate.set()
    assert await passwords.verify("x", "$argon2id$")
