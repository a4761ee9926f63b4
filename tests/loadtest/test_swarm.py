import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from loadtest import native, roster, swarm
from loadtest.report import SwarmReport
from loadtest.roster import Line
from tests.loadtest.chat_server import ChatServer
from tests.loadtest.fault_proxy import FaultProxy

ROOT = Path(__file__).parent.parent.parent
ENGINES = [
    "python",
    pytest.param("native", marks=pytest.mark.skipif(native.compiler() is None, reason="no C compiler")),
]


def pairs(count: int) -> list[Line]:
    lines = []
    for _ in range(count):
        a, b, conversation = (str(uuid.uuid4()) for _ in range(3))
        lines += [Line(a, f"token-{a}", conversation, b), Line(b, f"token-{b}", conversation, a)]
    return lines


def group(size: int) -> list[Line]:
    conversation = str(uuid.uuid4())
    return [Line(str(uuid.uuid4()), f"token-{k}", conversation, roster.NO_PEER) for k in range(size)]


@asynccontextmanager
async def listening(handler: Callable[[trio.SocketStream], Any]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def swarming(folder: Path, lines: list[Line], port: int, **wish: Any) -> SwarmReport:
    file = folder / "users"
    roster.write(file, lines)
    made = swarm.Wish(file=file, url=f"ws://127.0.0.1:{port}/ws", **{"seconds": 5.0, "quiet": 0.4, **wish})
    return await trio.to_thread.run_sync(swarm.run, made)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("per", "in_flight"), [("pair", 1), ("user", 3)])
async def test_closed_loop_accounts_for_every_message(tmp_path: Path, engine: str, per: str, in_flight: int) -> None:
    lines = pairs(5)
    server = ChatServer(lines)
    async with listening(server.serve) as port:
        told = await swarming(tmp_path, lines, port, engine=engine, per=per, in_flight=in_flight, messages=1000)
    assert told.problems == []
    assert (told.engine, told.connections, told.ready) == (engine, 10, 10)
    assert told.totals.sent == told.totals.acknowledged == told.totals.received == len(server.stored) == 1000
    assert told.ack.count == told.delivery.count == 1000
    senders = {sender for sender, _ in server.stored}
    assert senders == {line.user_id for line in lines}, "both ends of a pair must send"


@pytest.mark.parametrize("engine", ENGINES)
async def test_open_loop_keeps_its_rate_and_both_ways_of_signing_in_work(tmp_path: Path, engine: str) -> None:
    lines = pairs(4)
    server = ChatServer(lines)
    async with listening(server.serve) as port:
        told = await swarming(
            tmp_path, lines, port, engine=engine, rate=400.0, seconds=1.0, mode="open", auth="hello", processes=2
        )
    assert told.problems == []
    assert told.processes == 2
    assert 390 <= told.totals.sent <= 401
    assert server.hellos == [True] * 8
    assert sum(slot.sent_per_second for slot in told.slots) == pytest.approx(told.totals.sent, rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_dropped_doubled_and_swapped_frame_is_reported_exactly(tmp_path: Path, engine: str) -> None:
    lines, messages = pairs(4), 4000
    server = ChatServer(lines)
    async with listening(server.serve) as server_port:
        proxy = FaultProxy(server_port, one_in=150, watched_until=messages * 2)
        async with listening(proxy.serve) as port:
            told = await swarming(tmp_path, lines, port, engine=engine, mode="open", rate=4000.0, messages=messages)
    assert sum(proxy.done.values()) > 20, proxy.done
    assert len({what.split()[0] for what in proxy.done}) == 3
    seen = {name: getattr(told.totals, name) for name in told.totals.__struct_fields__}
    exact = dict.fromkeys(seen, 0) | {"sent": messages, "in_window": seen["in_window"]} | dict(proxy.expected())
    exact["acknowledged"] = messages - exact["unacknowledged"]
    exact["received"] = messages - exact["lost"]
    assert seen == exact, proxy.done
    assert told.problems


@pytest.mark.parametrize("engine", ENGINES)
async def test_refusals_are_counted_by_code_and_lose_nothing(tmp_path: Path, engine: str) -> None:
    lines = pairs(2)
    server = ChatServer(lines)
    server.refuse[lines[0].user_id] = "RATE_LIMIT_EXCEEDED"
    async with listening(server.serve) as port:
        told = await swarming(tmp_path, lines, port, engine=engine, seconds=0.5)
    assert told.errors == {"RATE_LIMIT_EXCEEDED": told.totals.refused}
    assert 0 < told.totals.refused < 50, "a refusal must not be answered with a storm"
    assert told.totals.lost == told.totals.unacknowledged == 0
    assert told.totals.sent == told.totals.refused + told.totals.received
    assert any("refused" in problem for problem in told.problems)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_closed_connection_is_told_by_its_code(tmp_path: Path, engine: str) -> None:
    lines = pairs(1)
    server = ChatServer(lines)

    async def cut(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, stream)
            await trio.sleep(0.4)
            await stream.send_all(b"\x88\x02\x0f\xa3")  # 4003

    async with listening(cut) as port:
        told = await swarming(tmp_path, lines, port, engine=engine, seconds=1.0, stall=0.2)
    assert told.closes == {"4003": 2}
    assert any("4003" in problem for problem in told.problems)


async def test_a_group_message_must_reach_every_other_member_once(tmp_path: Path) -> None:
    lines = group(7) + pairs(1)
    server = ChatServer(lines)
    async with listening(server.serve) as port:
        told = await swarming(tmp_path, lines, port, messages=200, per="user")
    assert told.problems == []
    assert told.engine == "python"
    by_group = sum(1 for sender, _ in server.stored if sender in {line.user_id for line in lines[:7]})
    assert told.totals.received == by_group * 6 + (len(server.stored) - by_group)


async def test_the_command_line_tells_writes_and_ends_with_its_verdict(tmp_path: Path) -> None:
    lines = pairs(1)
    server = ChatServer(lines)
    roster.write(tmp_path / "users", lines)
    command = [sys.executable, "-m", "loadtest.swarm", "chat", "--file", str(tmp_path / "users"), "--seconds", "5"]
    async with listening(server.serve) as port:
        given = ["--url", f"ws://127.0.0.1:{port}/ws", "--messages", "8", "--out", str(tmp_path / "told")]
        done = await trio.run_process([*command, *given], capture_stdout=True, cwd=ROOT)
        assert b"accounts in order" in done.stdout
        told = msgspec.json.decode((tmp_path / "told").read_bytes(), type=SwarmReport)
        assert told.totals.received == 8
        server.refuse[lines[0].user_id] = "OVERLOADED"
        failed = await trio.run_process([*command, *given], capture_stdout=True, check=False, cwd=ROOT)
    assert failed.returncode == 1
    assert b"NOT IN ORDER" in failed.stdout


async def test_nobody_there_is_an_error_and_not_a_result(tmp_path: Path) -> None:
    async def never(stream: trio.SocketStream) -> None:
        await stream.aclose()

    async with listening(never) as port:
        told = await swarming(tmp_path, pairs(1), port, seconds=0.2)
    assert told.ready == 0
    assert any("did not get ready" in problem for problem in told.problems)


def test_connections_are_split_between_conversations_only() -> None:
    lines = pairs(5) + group(4)
    made = swarm.plans(swarm.Wish(file=Path("users"), seconds=1, processes=3, rate=90.0), lines, run=7)
    assert sum(plan.lines for plan in made) == len(lines)
    for plan in made:
        assert lines[plan.skip - 1].conversation_id != lines[plan.skip].conversation_id
    assert sum(plan.rate_milli for plan in made) == pytest.approx(90_000, abs=3)
    assert len({plan.source for plan in made}) == 3
