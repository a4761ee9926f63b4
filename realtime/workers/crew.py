"""One worker's view of the crew it belongs to: its number, how many live, and the numbers of all."""

import contextlib
import itertools
import logging
from collections.abc import Callable
from typing import Final

import trio

from realtime.workers.line import AskNumbers, Beat, Gathered, GiveNumbers, HereIAm, Line, Numbers, Ready
from realtime.workers.numbers import CONTENT_TYPE, merged

log = logging.getLogger("kith.worker")

# The supervisor gives the others one second.
PATIENCE_SECONDS: Final = 1.5


class Crew:
    """`after_crash`: whether the process before this one, under the same number, ended without saying so."""

    def __init__(self, number: int, of: int, *, after_crash: bool, line: Line) -> None:
        self.number = number
        self.of = of
        self.after_crash = after_crash
        self.live = of
        self.fewest = 0
        self.expose: Callable[[], bytes] = lambda: b""
        self.connections: Callable[[], int] = lambda: 0
        self._line = line
        self._tickets = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[int, bytes]]] = {}

    def ready(self) -> None:
        self._line.post(Ready())

    async def run(self, orphaned: Callable[[], None]) -> None:
        """Answer the supervisor; `orphaned` is called when it has gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._line.run)
            while (message := await self._line.receive()) is not None:
                if isinstance(message, Beat):
                    self.live, self.fewest = message.live, message.fewest
                    self._line.post(HereIAm(self.connections()))
                elif isinstance(message, GiveNumbers):
                    self._tell(message.ticket)
                elif isinstance(message, Gathered) and message.ticket in self._waiting:
                    with contextlib.suppress(trio.WouldBlock):  # told twice: once is enough
                        self._waiting[message.ticket].send_nowait(message.texts)
            nursery.cancel_scope.cancel()
        log.error("the supervisor has gone, so this worker stops, too")
        orphaned()

    def _tell(self, ticket: int) -> None:
        try:
            text = self.expose()
        except Exception:
            # A number that cannot be read is a bug, and no reason for everybody's connections to end.
            log.exception("this worker's numbers cannot be told")
        else:
            self._line.post(Numbers(ticket, text))

    async def exposition(self) -> tuple[str, bytes]:
        """(content type, body): everything that any of the crew counts."""
        others = await self._gather()
        texts: dict[int, bytes | None] = {number: others.get(number) for number in range(1, self.of + 1)}
        texts[self.number] = self.expose()
        # Text of some hundred kilobytes: not in one go with the sockets of everybody.
        return CONTENT_TYPE, await trio.to_thread.run_sync(merged, texts)

    async def _gather(self) -> dict[int, bytes]:
        ticket = next(self._tickets)
        tell, told = trio.open_memory_channel[dict[int, bytes]](1)
        self._waiting[ticket] = tell
        try:
            if self._line.post(AskNumbers(ticket)):
                with trio.move_on_after(PATIENCE_SECONDS):
                    return await told.receive()
        finally:
            del self._waiting[ticket]
        return {}


class CrewVital:
    """How many of the crew live, for `/healthz`: this worker serves without the others."""

    name = "workers"

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    async def check(self) -> tuple[str, float, bool]:
        live, of = self._crew.live, self._crew.of
        return ("ok" if live >= of else f"{live} of {of} live"), 0.0, True
