"""How the parts of the node are, found out once for everybody who asks in the same moment."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import trio
from msgspec import Struct

from actors.ports import Clock, Health
from actors.shapes.times import Seconds

log = logging.getLogger("kith.web")

# Nobody pays for these routes. Each answer was a look of its own, a query among them: sixteen clients that asked
# without a pause raised everybody's latency from 2 to 96 ms. Probes ask once in seconds, so to them this is now.
SHARED_FOR: Final = Seconds(0.25)


class Part(Struct, frozen=True):
    state: str
    latency_ms: float


Found = Mapping[str, tuple[Part, bool]]  # and whether the node can serve with the part as it is


class Examiner:
    """Looks at all parts, one look at a time; what it found is shared for a moment, whatever it was."""

    def __init__(self, parts: Sequence[Health], clock: Clock) -> None:
        self.parts = parts
        self._clock = clock
        self._turn = trio.Lock()
        self._found: Found | None = None
        self._found_at = Seconds(0.0)

    async def examine(self, patience: Seconds) -> Found:
        """What was found a moment ago, or now. Who waits for somebody else's look takes it over if that one leaves."""
        async with self._turn:
            now = self._clock.monotonic()
            if self._found is None or now - self._found_at >= SHARED_FOR:
                self._found = await self._look(patience)
                self._found_at = self._clock.monotonic()
            return self._found

    async def _look(self, patience: Seconds) -> Found:
        """All parts at once, in the order they were given; one that does not answer is told from one that says no."""
        found = {part.name: (Part("timeout", patience * 1000), False) for part in self.parts}

        async def check(part: Health) -> None:
            with trio.move_on_after(patience):
                try:
                    state, latency, serves = await part.check()
                except Exception:  # a bug of the check; whoever asks for the health of all must hear of the others
                    log.exception("health check failed", extra={"part": part.name})
                    state, latency, serves = "failed", 0.0, False
                found[part.name] = (Part(state, round(latency * 1000, 3)), serves)

        async with trio.open_nursery() as nursery:
            for part in self.parts:
                nursery.start_soon(check, part)
        return found
