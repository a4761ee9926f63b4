"""What an actor costs on this machine: `.venv/bin/python -m tests.actors.cost [how many [memory]]` prints it as JSON.

Timings are processor time, so that a busy neighbour does not count; with `memory` they are left out.
"""

import gc
import json
import sys
import time
from collections.abc import Sequence

import psutil
import trio

from actors.clock import SystemClock
from actors.directory import Directory
from actors.kinds import Activation, ActorKind
from actors.mailbox import NOBODY, Envelope, Mailbox, StopReason
from actors.shapes.times import Seconds
from actors.system import ActorSystem


class Counter:
    """The smallest actor that does something."""

    def __init__(self, activation: Activation[str, int, int], state: int | None) -> None:
        self.mailbox = activation.mailbox
        self.total = state or 0

    async def run(self) -> StopReason:
        while batch := await self.mailbox.drain():
            for envelope in batch:
                self.total += envelope.command
                envelope.answer(self.total)
        return self.mailbox.stop_reason or StopReason.IDLE


async def load(ids: Sequence[str]) -> dict[str, int]:
    return {}


def micros(seconds: float, times: int) -> float:
    return round(seconds / times * 1e6, 2)


async def ask_micros(counters: Directory[str, int, int], times: int = 20_000) -> float:
    """One question to a parked actor: told, woken, drained, answered, heard."""
    began = time.process_time()
    for _ in range(times):
        await counters.ask("one", 1, Seconds(5))
    return micros(time.process_time() - began, times)


async def channel_micros(times: int = 20_000) -> float:
    """The same there and back over two of trio's memory channels, for comparison."""
    to_echo, echo_in = trio.open_memory_channel[int](1)
    from_echo, echo_out = trio.open_memory_channel[int](1)

    async def echo() -> None:
        async for value in echo_in:
            await from_echo.send(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        began = time.process_time()
        for number in range(times):
            await to_echo.send(number)
            await echo_out.receive()
        took = time.process_time() - began
        nursery.cancel_scope.cancel()
    return micros(took, times)


def put_micros(times: int = 200_000) -> float:
    mailbox: Mailbox[int] = Mailbox(times)
    envelope = Envelope(1, NOBODY)
    began = time.process_time()
    for _ in range(times):
        mailbox.put(envelope)
    return micros(time.process_time() - began, times)


async def crowd(counters: Directory[str, int, int], count: int) -> dict[str, float]:
    """Wake many at once; what each costs to wake and to keep, and what the sweep costs then."""
    ids = [f"{number:036d}" for number in range(count)]
    gc.collect()
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    for id in ids:
        counters.tell(id, 1)
    await counters.ask(ids[-1], 1, Seconds(60))
    woken = time.process_time() - began
    gc.collect()
    bytes_each = (process.memory_info().rss - before) / count
    began = time.process_time()
    await counters.sweep(Seconds(0.0))
    swept = time.process_time() - began
    return {
        "parked actors": count,
        "bytes of a parked actor": round(bytes_each),
        "micros to wake one": micros(woken, count),
        "millis of one sweep": round(swept * 1000, 1),
    }


async def timings(counters: Directory[str, int, int]) -> dict[str, float]:
    return {
        "micros of an ask": min([await ask_micros(counters) for _ in range(3)]),
        "micros there and back over two memory channels": min([await channel_micros() for _ in range(3)]),
        "micros of a put": min(put_micros() for _ in range(3)),
    }


async def measure(count: int, timed: bool) -> dict[str, float]:
    system = ActorSystem(SystemClock())
    counters: Directory[str, int, int] = system.register(ActorKind("counter", load, Counter, Seconds(600)))
    async with trio.open_nursery() as nursery:
        await nursery.start(system.run)
        await ask_micros(counters, 1_000)
        figures = await timings(counters) if timed else {}
        figures |= await crowd(counters, count)
        nursery.cancel_scope.cancel()
    return figures


if __name__ == "__main__":
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    sys.stdout.write(json.dumps(trio.run(measure, how_many, "memory" not in sys.argv), indent=1) + "\n")
