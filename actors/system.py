"""The actor system: one directory per kind of actor, and the order in which a node's actors end."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import trio
from msgspec import Struct

from actors.asking import FOREVER
from actors.directory import Directory
from actors.kinds import ActorKind, Census
from actors.mailbox import StopReason
from actors.ports import Clock
from actors.shapes.times import Seconds

log = logging.getLogger("kith.actors")

SWEEP_EVERY: Final = Seconds(1.0)


class SystemOptions(Struct, frozen=True):
    sweep_every: Seconds = SWEEP_EVERY


DEFAULT_OPTIONS: Final = SystemOptions()


class ActorSystem:
    """Owns the nursery that all actors of a node live in.

    Kinds are registered from the bottom up: a kind may address the kinds registered before it. They stop in the
    opposite order, so whoever still publishes finds its readers awake.
    """

    def __init__(self, clock: Clock, options: SystemOptions = DEFAULT_OPTIONS) -> None:
        self.clock = clock
        self._options = options
        self._directories: list[Directory[Any, Any, Any]] = []
        self._running = False

    def register(self, kind: "ActorKind[Any, Any, Any]") -> "Directory[Any, Any, Any]":
        if self._running:
            raise RuntimeError(f"{kind.name} is registered too late: the system runs")
        if any(directory.name == kind.name for directory in self._directories):
            raise ValueError(f"a kind named {kind.name} is registered already")
        directory: Directory[Any, Any, Any] = Directory(kind, self.clock)
        self._directories.append(directory)
        return directory

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `stop` first, so that nobody is cut off."""
        self._running = True
        async with trio.open_nursery() as nursery:
            for directory in self._directories:
                directory.open(nursery)
            nursery.start_soon(self._sweep)
            task_status.started()

    async def _sweep(self) -> None:
        swept = self.clock.monotonic()
        while True:
            await trio.sleep(self._options.sweep_every)
            # Measured, because a busy node sleeps longer than it meant to.
            now = self.clock.monotonic()
            elapsed, swept = Seconds(now - swept), now
            for directory in self._directories:
                await directory.sweep(elapsed)

    async def stop(self, within: Seconds = FOREVER) -> None:
        """Finish every mailbox, top kind first. The caller bounds the wait; `within` gives each kind its share of it,
        so that a stuck actor does not take the time of the kinds below."""
        end = self.clock.monotonic() + within
        for above, directory in enumerate(reversed(self._directories)):
            left = max(end - self.clock.monotonic(), 0.0)
            with trio.move_on_after(left / (len(self._directories) - above)) as share:
                await directory.stop(StopReason.SHUTDOWN)
            if share.cancelled_caught:
                stuck = directory.addresses(10)
                log.warning(
                    "actors did not finish", extra={"kind": directory.name, "awake": len(directory), "some": stuck}
                )

    def census(self) -> Sequence[Census]:
        return [directory.census() for directory in self._directories]
