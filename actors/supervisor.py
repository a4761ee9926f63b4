"""How often an actor may crash, and how long it waits before it is tried again."""

from typing import Final

from msgspec import Struct

from actors.shapes.times import Seconds


class RestartPolicy(Struct, frozen=True):
    """One-for-one: a crash ends one actor; within `window` it may happen `budget` times, then callers are sent away."""

    budget: int = 5
    window: Seconds = Seconds(60.0)
    cool_off: Seconds = Seconds(60.0)
    first_backoff: Seconds = Seconds(0.05)
    longest_backoff: Seconds = Seconds(5.0)


DEFAULT_POLICY: Final = RestartPolicy()


class RestartBudget:
    """The crashes of one actor, as far as they still count."""

    __slots__ = ("_crashes", "_policy")

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: list[float] = []

    def spend(self, now: Seconds) -> Seconds | None:
        """Note a crash. The pause before the next try, or None when the budget is gone."""
        policy = self._policy
        self._crashes = [at for at in self._crashes if now - at < policy.window]
        self._crashes.append(now)
        if len(self._crashes) > policy.budget:
            return None
        doubled = policy.first_backoff * 2.0 ** (len(self._crashes) - 1)
        return Seconds(min(doubled, policy.longest_backoff))
