"""How often a node's numbers are put together, however many ask for them."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

Exposition = tuple[str, bytes]  # content type, body

# Anybody may ask, and no bucket pays. Putting them together takes each worker up to 30 ms of its loop, so dozens of
# questions a second kept all workers from doing anything else; now it is a tenth of their time at the most.
REST: Final = 9.0
LONGEST_REST: Final = 1.0


class Scrapes:
    """Whoever asks gets numbers that were gathered after he asked; who wait together share them."""

    def __init__(self, gather: Callable[[], Awaitable[Exposition]], stopwatch: Callable[[], float]) -> None:
        self._gather = gather
        self._stopwatch = stopwatch
        self._turn = trio.Lock()
        self._begun = 0
        self._found: Exposition | None = None
        self._next_at = 0.0

    async def __call__(self) -> Exposition:
        asked = self._begun
        async with self._turn:
            if self._begun > asked and self._found is not None:
                return self._found
            await trio.sleep(max(0.0, self._next_at - self._stopwatch()))
            self._begun, self._found = self._begun + 1, None
            begun = self._stopwatch()
            found = await self._gather()
            ended = self._stopwatch()
            self._next_at = ended + min(LONGEST_REST, (ended - begun) * REST)
            self._found = found
            return found
