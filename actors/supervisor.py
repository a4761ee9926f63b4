"""How often an actor may crash, how long it waits before it is tried again, and when it is left alone."""

from typing import Final, Generic, TypeVar

from msgspec import Struct

from actors.ports import Clock
from actors.shapes.times import Seconds

Id = TypeVar("Id", bound=str)


class RestartPolicy(Struct, frozen=True):
    """One-for-one: a crash ends one actor; within `window` it may happen `budget` times, then callers are sent away."""

    budget: int = 5
    window: Seconds = Seconds(60.0)
    cool_off: Seconds = Seconds(60.0)
    first_backoff: Seconds = Seconds(0.05)
    longest_backoff: Seconds = Seconds(5.0)


DEFAULT_POLICY: Final = RestartPolicy()


class Supervisor(Generic[Id]):
    """The crashes of all addresses of one kind, as far as they still count.

    They are kept by address, not with the actor: one that falls asleep between two crashes would never be caught.
    """

    def __init__(self, policy: RestartPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._crashes: dict[Id, list[Seconds]] = {}
        self._cooling: dict[Id, Seconds] = {}  # who crashed too often, and until when nobody wakes it

    def __len__(self) -> int:
        """How many addresses it has something to remember of."""
        return len(self._crashes) + len(self._cooling)

    def spend(self, id: Id) -> Seconds | None:
        """Note a crash. The pause before the next try, or None when the budget is gone: then it cools off."""
        policy, now = self._policy, self._clock.monotonic()
        crashes = [at for at in self._crashes.get(id, ()) if now - at < policy.window]
        crashes.append(now)
        if len(crashes) > policy.budget:
            self._crashes.pop(id, None)  # after the cool-off it begins with a full budget
            self._cooling[id] = Seconds(now + policy.cool_off)
            return None
        self._crashes[id] = crashes
        doubled = policy.first_backoff * 2.0 ** (len(crashes) - 1)
        return Seconds(min(doubled, policy.longest_backoff))

    def cools_for(self, id: Id) -> Seconds:
        """How long nobody may wake it; zero for nearly everybody."""
        if not self._cooling:
            return Seconds(0.0)
        return Seconds(max(self._cooling.get(id, 0.0) - self._clock.monotonic(), 0.0))

    def forget_old(self) -> None:
        if self._cooling:
            now = self._clock.monotonic()
            self._cooling = {id: until for id, until in self._cooling.items() if until > now}
        if self._crashes:
            horizon = self._clock.monotonic() - self._policy.window
            self._crashes = {id: crashes for id, crashes in self._crashes.items() if crashes[-1] > horizon}
