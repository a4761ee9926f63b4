"""Hashes and checks passwords with argon2id, off the event loop and a bounded number at a time."""

import functools
import math
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from actors.metrics import Metrics
from actors.quiet_threads import QuietThreads
from actors.shapes.errors import ErrorCode, KithError

T = TypeVar("T")


class PasswordOptions(Struct, frozen=True):
    """OWASP's least for argon2id: 19 MiB and two passes, 25 ms on the machine this was measured on."""

    passes: int = 2
    memory: int = 19 * 1024 * 1024  # bytes, per hash at work
    at_once: int = 2
    waiting: int = 200  # a wait of 2.5 s; who comes later had better come back


class Passwords:
    """The cost is the point, so a flood of logins is refused rather than allowed to take all memory and cores."""

    def __init__(self, options: PasswordOptions, metrics: Metrics, stopwatch: Callable[[], float]) -> None:
        self._options = options
        self._threads = QuietThreads(options.at_once, "password")
        self._waiting = 0
        self._stopwatch = stopwatch
        self._seconds = metrics.spread("password_hash_seconds", "A password hashed or checked, waiting included")
        metrics.callback("password_hash_waiting", "Passwords waiting for a thread", lambda: max(0, self._queued()))
        # What a login with an unknown e-mail is checked against, so that it takes as long as any other.
        self._dummy: Final = self._hash("the password of nobody").decode()

    async def hash(self, password: str) -> str:
        return (await self._off_the_loop(functools.partial(self._hash, password))).decode()

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; with no hash (nobody has that e-mail) always False, and no quicker."""
        known = self._dummy if password_hash is None else password_hash
        right = await self._off_the_loop(functools.partial(_verify, known, password))
        return right and password_hash is not None

    def _hash(self, password: str) -> bytes:
        hashed: bytes = argon2id.str(password.encode(), opslimit=self._options.passes, memlimit=self._options.memory)
        return hashed

    def _queued(self) -> int:
        return self._waiting - self._options.at_once

    async def _off_the_loop(self, work: Callable[[], T]) -> T:
        if self._queued() >= self._options.waiting:
            raise KithError(ErrorCode.OVERLOADED, retry_after=math.ceil(self._options.waiting * 0.0125))
        self._waiting += 1
        begun = self._stopwatch()
        try:
            return await self._threads.run(work)
        finally:
            self._waiting -= 1
            self._seconds.observe(self._stopwatch() - begun)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return bool(argon2id.verify(password_hash.encode(), password.encode()))
    except (CryptoError, ValueError):  # wrong, or no hash of argon2id
        return False
