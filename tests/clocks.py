"""A clock that moves when it is told, for tests in which nothing but time decides."""

from actors.shapes.times import Seconds, WallTime

START = 1_795_000_000_000  # milliseconds since 1970


class HandClock:
    """Implements the port `Clock`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> WallTime:
        return WallTime(START + round(self.seconds * 1000))

    def monotonic(self) -> Seconds:
        return Seconds(self.seconds)


class ActorToken:
    """Implements the port `WriteToken`, for tests that stand in for the actor system."""

    def __init__(self, actor: str = "user/of-a-test") -> None:
        self.actor = actor
        self.valid = True
