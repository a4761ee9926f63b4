"""Hashes and checks passwords with argon2id, off the event loop and a bounded number at a time."""

import math
from collections.abc import Callable
from typing import Final

import trio
from msgspec import Struct

from actors.hashing import FAILED, RIGHT, Hashing, HashWork, perform
from actors.metrics import Metrics
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds


class PasswordOptions(Struct, frozen=True):
    """OWASP's least for argon2id: 19 MiB and two passes, 25 ms on the machine this was measured on."""

    passes: int = 2
    memory: int = 19 * 1024 * 1024  # bytes, per hash at work
    at_once: int = 2
    waiting: int = 200  # a wait of 2.5 s; who comes later had better come back
    patience: Seconds = Seconds(15.0)  # and six times that on a machine that has no time for it


class Passwords:
    """The cost is the point, so a flood of logins is refused rather than allowed to take all memory and cores."""

    def __init__(
        self, options: PasswordOptions, metrics: Metrics, stopwatch: Callable[[], float], hashing: Hashing
    ) -> None:
        self._options = options
        self._hashing = hashing
        self._waiting = 0
        self._stopwatch = stopwatch
        self._seconds = metrics.spread("password_hash_seconds", "A password hashed or checked, waiting included")
        metrics.callback("password_hash_waiting", "Passwords waiting for their turn", lambda: max(0, self._queued()))
        # What a login with an unknown e-mail is checked against, so that it takes as long as any other.
        self._dummy: Final = perform(self._work("the password of nobody", None))

    async def hash(self, password: str) -> str:
        return await self._off_the_loop(self._work(password, None))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; with no hash (nobody has that e-mail) always False, and no quicker."""
        known = self._dummy if password_hash is None else password_hash
        right = await self._off_the_loop(self._work(password, known)) == RIGHT
        return right and password_hash is not None

    def _work(self, password: str, known: str | None) -> HashWork:
        return HashWork(password, known, self._options.passes, self._options.memory)

    def _queued(self) -> int:
        return self._waiting - self._options.at_once

    async def _off_the_loop(self, work: HashWork) -> str:
        if self._queued() >= self._options.waiting:
            raise KithError(ErrorCode.OVERLOADED, retry_after=math.ceil(self._options.waiting * 0.0125))
        self._waiting += 1
        begun = self._stopwatch()
        # Whoever hashes may hang, or die as often as it is started; nobody who signs in waits for it without an end.
        result = FAILED
        try:
            with trio.move_on_after(self._options.patience):
                result = await self._hashing(work)
        finally:
            self._waiting -= 1
            self._seconds.observe(self._stopwatch() - begun)
        if result == FAILED:
            raise KithError(ErrorCode.OVERLOADED, retry_after=1.0)
        return result
