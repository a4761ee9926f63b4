"""The logins revoked lately: their access tokens still have a valid signature, and must not be taken any more."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import trio

from actors.ports import AccountStore, Clock
from actors.shapes.errors import KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.tokens import LONGEST_LIFETIME

# How far back one look goes: longer than any transaction may take from its clock reading to its commit.
OVERLAP: Final = Seconds(60.0)
EVERY: Final = Seconds(2.0)  # however silent the bus is
CLOSEST: Final = Seconds(0.02)  # however much is revoked


class RevokedLogins:
    """The port `Revocations`: each login is kept as long as any access token of it could live, and no longer.

    That is a day, and not the life of the tokens that are issued today: a provisioned token, or one from before the
    setting was lowered, lives longer. 150 bytes each: 15 MB for a node that saw 100,000 revocations in a day.
    """

    def __init__(self, clock: Clock, longest: Seconds = LONGEST_LIFETIME) -> None:
        self._clock = clock
        self._lifetime = longest
        self._until: dict[LoginId, Seconds] = {}
        self._order: deque[tuple[Seconds, LoginId]] = deque()
        self._looked: WallTime | None = None  # when the database was last asked, and answered
        self._woken = trio.Event()

    def add(self, logins: Iterable[LoginId]) -> None:
        now = self._clock.monotonic()
        while self._order and self._order[0][0] <= now:
            until, login = self._order.popleft()
            if self._until.get(login) == until:
                del self._until[login]
        for login in logins:
            until = Seconds(now + self._lifetime)
            self._until[login] = until
            self._order.append((until, login))

    def __contains__(self, login: LoginId) -> bool:
        return login in self._until

    def __len__(self) -> int:
        return len(self._until)

    async def load(self, store: AccountStore) -> None:
        """At the start: those that were revoked while another process, or the one before this, was serving."""
        await self._look(store, self._lifetime)

    def wake(self) -> None:
        """Some were revoked, here or elsewhere: look now."""
        self._woken.set()

    async def watch(self, store: AccountStore, tell: Callable[[UserId, LoginId], None]) -> None:
        """Name each login that ended elsewhere, in a write whose answer was lost, or because there were too many."""
        while True:
            with trio.move_on_after(EVERY):
                await self._woken.wait()
            self._woken = trio.Event()  # before the look: who wakes during it may have committed behind it
            began = self._clock.monotonic()
            with contextlib.suppress(KithError):  # the database is away: the next look goes back as far
                for user, login in await self.catch_up(store):
                    tell(user, login)
            # A look reads all of the last minute: a thousand logins that end one by one must not be read all the time.
            await trio.sleep(min(max(CLOSEST, 4 * (self._clock.monotonic() - began)), EVERY))

    async def catch_up(self, store: AccountStore) -> list[tuple[UserId, LoginId]]:
        """What was revoked lately and is news here: by another node, or in a write whose answer was lost."""
        return await self._look(store, Seconds(0.0))

    async def _look(self, store: AccountStore, back: Seconds) -> list[tuple[UserId, LoginId]]:
        """From the last look that was answered, however long ago: the database may have been away for an hour."""
        began = self._clock.now()
        last = began if self._looked is None else min(began, self._looked)
        found = await store.revoked_since(WallTime(last - round((back + OVERLAP) * 1000)))
        news = [(user, login) for user, login in found if login not in self]
        self.add(login for _, login in news)
        self._looked = began
        return news
