"""Touches many conversations once, lets them fall asleep, and prints what is left of them.

A process of its own, so that its memory is nobody else's. The argument says how many.
"""

import gc
import json
import sys
from collections.abc import Sequence
from typing import Final

import psutil
import trio
from trio.testing import MockClock

from actors.clock import FakeClock
from actors.directory import Directory
from actors.kinds import Activation, ActorKind
from actors.mailbox import StopReason
from actors.shapes.times import Seconds
from actors.system import ActorSystem

WARM_UP: Final = 10_000
Conversations = Directory[str, dict[str, str], int]


class Conversation:
    """About as much state as an awake conversation holds."""

    def __init__(self, activation: Activation[str, dict[str, str], int], state: dict[str, str] | None) -> None:
        self.mailbox = activation.mailbox
        self.state = state

    async def run(self) -> StopReason:
        while batch := await self.mailbox.drain():
            for envelope in batch:
                envelope.answer(None)
        return self.mailbox.stop_reason or StopReason.IDLE


async def load(ids: Sequence[str]) -> dict[str, dict[str, str]]:
    await trio.lowlevel.checkpoint()
    return {id: {f"member {n} of {id}": "name" for n in range(2)} for id in ids}


async def touch(conversations: Conversations, numbers: range) -> int:
    """2,000 a second, then silence; how many were awake at most."""
    most_awake = 0
    for first in numbers[::200]:
        for number in numbers[first - numbers.start : first - numbers.start + 200]:
            conversations.tell(f"{number:036d}", 0)
        await trio.sleep(0.1)
        most_awake = max(most_awake, len(conversations))
    await trio.sleep(60)  # also trio's own deadlines of the last loads are over then
    return most_awake


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def measure(count: int) -> dict[str, int]:
    system = ActorSystem(FakeClock())
    conversations: Conversations = system.register(ActorKind("conversation", load, Conversation, Seconds(1.0)))
    async with trio.open_nursery() as nursery:
        await nursery.start(system.run)
        objects = sys.getallocatedblocks()
        # A process that has just begun cannot be the measure: once it has worked, the allocator keeps some memory.
        await touch(conversations, range(WARM_UP))
        start = resident()
        most_awake = await touch(conversations, range(WARM_UP, WARM_UP + count))
        figures = {
            "awake": len(conversations),
            "most_awake": most_awake,
            "passivations": conversations.census().passivations,
            "memory_at_start": start,
            "memory_at_end": resident(),
            "objects_at_start": objects,
            "objects_at_end": sys.getallocatedblocks(),
        }
        nursery.cancel_scope.cancel()
    return figures


if __name__ == "__main__":
    figures = trio.run(measure, int(sys.argv[1]), clock=MockClock(autojump_threshold=0))
    sys.stdout.write(json.dumps(figures))
