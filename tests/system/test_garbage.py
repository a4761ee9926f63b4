"""Minutes of rubbish against a real node: never a 500, never a traceback, and afterwards nothing is left of it.

`make soak` does it for 20 minutes (KITH_GARBAGE_MINUTES says otherwise), the ordinary tests for some seconds.
"""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from tests.system.conftest import StartNode
from tests.system.harness import KithNode, phone_of, register
from tests.system.rubbish import Rubbish

Report = Callable[..., None]
VISITORS = 40
SETTLE_SECONDS = 30.0
QUIET_SECONDS = 2.5
# A node's memory after the first half of the run, which is what the run costs once: pools, caches, and the cycles that
# exceptions leave until the collector comes (26 MB in 20 minutes, 11 of them in the first three). A leak goes on.
MOST_GROWTH = 0.10
SLACK_BYTES = 8_000_000


class Watch:
    """What must not happen, and what must not grow."""

    def __init__(self, node: KithNode) -> None:
        self._node = node

    async def faults(self) -> list[str]:
        """Answers with 500, and log lines that tell of a bug."""
        async with self._node.http() as http:
            lines = (await http.get("/metrics")).text.splitlines()
        found = [line for line in lines if line.startswith("http_requests_total") and 'code="500"' in line]
        found += [line for line in lines if line.startswith("command_errors_total") and "INTERNAL_ERROR" in line]
        for line in self._node.log.read_text(errors="replace").splitlines():
            try:
                level = json.loads(line).get("level")
            except ValueError:
                found.append(f"not a log line: {line[:300]}")
                continue
            if level in ("error", "critical"):
                found.append(line[:2_000])
        return found

    @property
    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self._node.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._node.pid}/fd"))

    async def tasks(self) -> float:
        return await self._node.metric("trio_tasks")


async def send_rubbish(node: KithNode, seconds: float, seed: int, tokens: list[str], ids: list[str]) -> int:
    """So many visitors for so long; returns how many connections that were."""
    address = urlsplit(node.url)
    assert address.hostname is not None
    assert address.port is not None
    visits = 0

    async def visitor(number: int) -> None:
        nonlocal visits
        rubbish = Rubbish(seed * 1_000 + number, tokens, ids)
        while trio.current_time() < end:
            await rubbish.visit(address.hostname or "", address.port or 0)
            visits += 1

    end = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        for number in range(VISITORS):
            nursery.start_soon(visitor, number)
    return visits


async def settled(watch: Watch) -> tuple[int, float]:
    """Descriptors and tasks, once nothing has gone for as long as an idle connection is kept."""
    least, since = (watch.descriptors, await watch.tasks()), trio.current_time()
    with trio.move_on_after(SETTLE_SECONDS):
        while trio.current_time() - since < QUIET_SECONDS:
            await trio.sleep(0.5)
            now = (watch.descriptors, await watch.tasks())
            if now[0] < least[0] or now[1] < least[1]:
                least, since = now, trio.current_time()
    return least


async def endure(start_node: StartNode, first_seconds: float, then_seconds: float, report: Report) -> None:
    node = await start_node(
        RATE_LIMIT_EXEMPT_NETS="127.0.0.0/8",
        DATABASE_POOL_MAX="5",
        HEARTBEAT_SECONDS="1",
        PONG_TIMEOUT_SECONDS="1",
        HELLO_TIMEOUT_SECONDS="1",
    )
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat, watch = await anna.chat_with(ben), Watch(node)
    sent = (await anna.http().post(f"/conversations/{chat}/messages", json={"text": "Hello"})).json()
    tokens, ids = [anna.token, ben.token, "no.to.ken"], [anna.id, ben.id, chat, sent["message_id"]]
    visits = await send_rubbish(node, first_seconds, 1, tokens, ids)
    # What this many at once need is there now: pools of the database, of threads, of buffers.
    descriptors, tasks = await settled(watch)
    memory = watch.resident_bytes
    visits += await send_rubbish(node, then_seconds, 2, tokens, ids)
    left = await settled(watch)
    grown = watch.resident_bytes - memory
    report(visits=visits, memory=memory, grown=grown, descriptors=(descriptors, left[0]), tasks=(tasks, left[1]))
    assert await watch.faults() == []
    assert left[0] <= descriptors
    assert left[1] <= tasks
    assert grown <= memory * MOST_GROWTH + SLACK_BYTES
    await still_serves(node)


async def still_serves(node: KithNode) -> None:
    carla, dora = await register(node, "carla"), await register(node, "dora")
    chat = await carla.chat_with(dora)
    async with phone_of(carla) as one, phone_of(dora) as other:
        await one.say(chat, "still here?")
        await other.event("message.created", text="still here?")


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """The figures of a run, for its junit file and for whoever reads along."""

    def tell(**figures: object) -> None:
        for name, figure in figures.items():
            record_property(name, figure)
        logging.getLogger("kith.garbage").warning("%s", figures)

    return tell


async def test_some_seconds_of_rubbish_leave_no_trace(start_node: StartNode, report: Report) -> None:
    await endure(start_node, 3.0, 3.0, report)


@pytest.mark.soak
async def test_twenty_minutes_of_rubbish_leave_no_trace(start_node: StartNode, report: Report) -> None:
    minutes = float(os.environ.get("KITH_GARBAGE_MINUTES", "20"))
    await endure(start_node, minutes * 30.0, minutes * 30.0, report)
