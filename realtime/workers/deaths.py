"""How long to wait before a worker that died is started again."""

from collections import deque
from typing import Final

from actors.shapes.times import Seconds

WINDOW: Final = Seconds(60.0)
# The first death is bad luck, and its clients wait. Who dies for the fifth time within a minute will do it again:
# whatever kills it must not also take a core for starting it.
WAITS: Final = (Seconds(0.0), Seconds(0.1), Seconds(0.25), Seconds(0.5), Seconds(10.0), Seconds(20.0), Seconds(30.0))
LONG: Final = Seconds(10.0)


class Deaths:
    """The recent deaths of one worker. It is started again for ever, only not always at once."""

    def __init__(self) -> None:
        self._at: deque[Seconds] = deque()

    def wait_after(self, now: Seconds) -> Seconds:
        """One more, just now."""
        self._at.append(now)
        while now - self._at[0] > WINDOW:
            self._at.popleft()
        return WAITS[min(len(self._at), len(WAITS)) - 1]
