"""Passwords off the loop: right and wrong ones, how many at a time, and what becomes of a flood."""

import threading

import pytest
import trio
import trio.testing
from nacl.pwhash import argon2id

from actors.metrics import Metrics
from actors.passwords import PasswordOptions, Passwords
from actors.shapes.errors import ErrorCode, KithError


def passwords_of(options: PasswordOptions, metrics: Metrics | None = None) -> Passwords:
    return Passwords(options, metrics or Metrics(), trio.current_time)


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


async def test_nobody_costs_as_much_as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work with the same parameters; a stopwatch in a test would flicker."""
    worked: list[bytes] = []
    real = argon2id.verify

    def verify(password_hash: bytes, password: bytes) -> bool:
        worked.append(password_hash.split(b"$")[3])
        return bool(real(password_hash, password))

    passwords = passwords_of(QUICK)
    hashed = await passwords.hash("correct horse")
    monkeypatch.setattr(argon2id, "verify", verify)
    await passwords.verify("wrong horse", hashed)
    await passwords.verify("wrong horse", None)
    assert worked == [b"m=8,t=1,p=1"] * 2


def test_the_default_is_what_owasp_asks_for_at_least() -> None:
    assert PasswordOptions().memory >= 19 * 1024 * 1024
    assert PasswordOptions().passes >= 2


async def test_so_many_at_a_time_and_so_many_waiting_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    passwords = passwords_of(PasswordOptions(passes=1, memory=8_192, at_once=2, waiting=3), metrics)
    gate, lock, both_at_work = threading.Event(), threading.Lock(), trio.Event()
    at_work = most = 0
    loop = trio.lowlevel.current_trio_token()

    def slow(password_hash: bytes, password: bytes) -> bool:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            if at_work == 2:
                loop.run_sync_soon(both_at_work.set)
        gate.wait(10)
        with lock:
            at_work -= 1
        return True

    monkeypatch.setattr(argon2id, "verify", slow)
    outcomes: list[object] = []

    async def attempt() -> None:
        try:
            outcomes.append(await passwords.verify("x", "$argon2id$"))
        except KithError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(attempt)
        with trio.fail_after(5):
            await both_at_work.wait()
        assert outcomes == [ErrorCode.OVERLOADED] * 2
        assert metrics.value("password_hash_waiting") == 3
        gate.set()
    assert outcomes[2:] == [True] * 5
    assert most == 2
    assert metrics.value("password_hash_waiting") == 0
    assert metrics.value("password_hash_seconds") == 5


async def test_who_gives_up_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = passwords_of(PasswordOptions(passes=1, memory=8_192, at_once=1, waiting=1))
    gate = threading.Event()
    monkeypatch.setattr(argon2id, "verify", lambda *_: gate.wait(10))
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(passwords.verify, "x", "$argon2id$")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    gate.set()
    assert await passwords.verify("x", "$argon2id$")
