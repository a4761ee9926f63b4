"""The actor system: one directory per kind of actor, and the order in which a node's actors end."""

from collections.abc import Sequence
from typing import Any, Final

import trio
from msgspec import Struct

from actors.directory import Directory
from actors.kinds import ActorKind, Census
from actors.mailbox import StopReason
from actors.ports import Clock
from actors.shapes.times import Seconds

SWEEP_EVERY: Final = Seconds(1.0)


class SystemOptions(Struct, frozen=True):
    sweep_every: Seconds = SWEEP_EVERY


class ActorSystem:
    """Owns the nursery that all actors of a node live in.

    Kinds are registered from the bottom up: a kind may address the kinds registered before it. They stop in the opposite
    order, so whoever still publishes finds its readers awake.
    """

    def __init__(self, clock: Clock, options: SystemOptions = SystemOptions()) -> None:
        self.clock = clock
        self._options = options
        self._directories: list[Directory[Any, Any, Any]] = []

    def register(self, kind: "ActorKind[Any, Any, Any]") -> "Directory[Any, Any, Any]":
        directory: Directory[Any, Any, Any] = Directory(kind, self.clock)
        self._directories.append(directory)
        return directory

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `stop` first, so that nobody is cut off."""
        async with trio.open_nursery() as nursery:
            for directory in self._directories:
                directory.open(nursery)
            nursery.start_soon(self._sweep)
            task_status.started()

    async def _sweep(self) -> None:
        every = self._options.sweep_every
        while True:
            await trio.sleep(every)
            for directory in self._directories:
                directory.sweep(every)

    async def stop(self) -> None:
        """Finish every mailbox, top kind first. The caller bounds the wait."""
        for directory in reversed(self._directories):
            await directory.stop(StopReason.SHUTDOWN)

    def census(self) -> Sequence[Census]:
        return [directory.census() for directory in self._directories]
