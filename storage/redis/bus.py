"""The bus: after a flush it wakes the other nodes, and it is woken by theirs. What it carries may be lost."""

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from msgspec import Struct

from actors.ports import Clock
from storage.redis.address import RedisAddress
from storage.redis.connection import ANSWER_SECONDS, RedisConnection, redis_connection
from storage.redis.errors import RedisAwayError, RedisError

log = logging.getLogger("kith.bus")

# One call for all flushes of so long: more would only make the others look more often than they want to.
CLOSEST_RINGS: Final = 0.005
REVOKED: Final = " revoked"  # behind the caller's name: no flush but logins that ended
SILENCE: Final = 5.0  # after this much a connection is asked whether it still stands
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class BusCounters(Struct):
    published: int = 0
    heard: int = 0
    losses: int = 0  # connections lost, or refused


class RedisBus:
    """Two connections, because one that has subscribed can ask nothing else. No call of anybody's waits for either."""

    def __init__(self, address: RedisAddress, channel: str, name: str, clock: Clock, heard: Callable[[], None]) -> None:
        self.counters = BusCounters()
        self.is_needed: Callable[[], bool] = lambda: True  # whether there is anybody to wake
        self.heard_revoked: Callable[[], None] = lambda: None  # called for what the others say with `tell_revoked`
        self._address = address
        self._channel = channel
        self._name = name  # of this node: its own calls wake it too, and mean nothing
        self._clock = clock
        self._heard = heard
        self._rung = False
        self._revoked = False
        self._awaited: list[trio.Event] = []  # by whoever wants to know how long an answer takes
        self._busy = trio.Event()
        self._up = {"speaks": False, "hears": False}

    # -- for the node -------------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """A flush was committed. While Redis is away the calls add up to one."""
        if not self._rung and self.is_needed():
            self._rung = True
            self._busy.set()

    def tell_revoked(self) -> None:
        """Logins ended. A call of its own: to look for those after every flush would cost as much as the sweep."""
        if not self._revoked and self.is_needed():
            self._revoked = True
            self._busy.set()

    @property
    def connected(self) -> bool:
        return all(self._up.values())

    async def state(self) -> tuple[str, float]:
        """`ok`, `degraded` (one of the two ways is broken) or `away`; and how long an answer took."""
        begun = self._clock.monotonic()
        if self._up["speaks"]:
            answered = trio.Event()
            self._awaited.append(answered)
            self._busy.set()
            with trio.move_on_after(ANSWER_SECONDS / 2):
                await answered.wait()
            if not answered.is_set():
                return "degraded", self._clock.monotonic() - begun
        word = "ok" if self.connected else "degraded" if any(self._up.values()) else "away"
        return word, self._clock.monotonic() - begun

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stay_connected, "speaks", self._speak)
            nursery.start_soon(self._stay_connected, "hears", self._hear)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def _stay_connected(self, way: str, live: Callable[[RedisConnection], Awaitable[None]]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with redis_connection(self._address) as connection:
                    await connection.ask("PING")
                    if pause > FIRST_PAUSE:
                        log.info("the bus is back", extra={"way": way})
                    pause = FIRST_PAUSE
                    self._up[way] = True
                    await live(connection)
            except RedisError as error:
                self.counters.losses += 1
                if pause == FIRST_PAUSE:
                    log.warning("the bus is away: other nodes look once a second", extra={"reason": str(error)})
            finally:
                self._up[way] = False
                if way == "speaks":
                    self._tell_awaited()
            # Full jitter: the nodes of a deployment lose their bus all at once, and must not come back as one.
            await trio.sleep(random.random() * pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _speak(self, connection: RedisConnection) -> None:
        while True:
            with trio.move_on_after(SILENCE):
                await self._busy.wait()
            self._busy = trio.Event()
            if self._awaited or not (self._rung or self._revoked):
                await connection.ask("PING")
                self._tell_awaited()
            if self._rung or self._revoked:
                # Before the call: what is committed meanwhile needs the next one.
                rung, self._rung = self._rung, False
                revoked, self._revoked = self._revoked, False
                await self._call(connection, rung, revoked)
                await trio.sleep(CLOSEST_RINGS)

    def _tell_awaited(self) -> None:
        """There was an answer, or there will be none."""
        awaited, self._awaited = self._awaited, []
        for event in awaited:
            event.set()

    async def _call(self, connection: RedisConnection, rung: bool, revoked: bool) -> None:
        try:
            if rung:
                await connection.ask("PUBLISH", self._channel, self._name)
                self.counters.published += 1
            if revoked:
                await connection.ask("PUBLISH", self._channel, self._name + REVOKED)
                self.counters.published += 1
        except RedisError:
            self._rung, self._revoked = self._rung or rung, self._revoked or revoked
            self._busy.set()
            raise

    async def _hear(self, connection: RedisConnection) -> None:
        await connection.say("SUBSCRIBE", self._channel)
        asked = False
        while True:
            said = None
            with trio.move_on_after(SILENCE):
                said = await connection.hear()
            if said is None:
                if asked:
                    raise RedisAwayError(f"{self._address!r} says nothing any more")
                await connection.say("PING")
                asked = True
                continue
            asked = False
            if isinstance(said, list) and said[0] == b"subscribe":
                self._heard()  # what was called while nobody listened
                self.heard_revoked()
            elif isinstance(said, list) and said[0] == b"message":
                self._take(said[2].decode(errors="replace"))

    def _take(self, said: str) -> None:
        caller = said.removesuffix(REVOKED)
        if caller == self._name:
            return
        self.counters.heard += 1
        if caller == said:
            self._heard()
        else:
            self.heard_revoked()
