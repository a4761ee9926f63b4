"""What only the epoll edge promises: few system calls, fairness, and life without descriptors."""

import errno
import resource
import socket
import sys

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.shapes.frames import Frame
from realtime.gateway.connection import Connection
from realtime.gateway.options import GatewayOptions
from realtime.link import LostReason
from realtime.outbox import Bounds
from realtime.wire.frames import Opcode, encode
from realtime.wire.handshake import client_request
from tests.gateway.harness import KEY, MASK, Served, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
EPOLL = GatewayOptions(transport="epoll")


@pytest.fixture
def transport() -> str:
    return "epoll"


async def test_everything_of_a_tick_leaves_in_one_send(served: Served) -> None:
    client = await served.websocket()
    before = served.counters.sends
    await client.send(*[b"%d" % number for number in range(50)])
    for number in range(50):
        assert await client.event() == b"%d" % number
    assert served.counters.sends == before + 1
    assert served.counters.reads == 1


async def test_what_other_tasks_queue_is_gathered_too(served: Served) -> None:
    clients = [await served.websocket() for _ in range(3)]
    before = served.counters.sends
    for session in served.door.sessions:
        for number in range(10):
            session.send(Frame(b"%d" % number))
    for client in clients:
        for number in range(10):
            assert await client.event() == b"%d" % number
    assert served.counters.sends == before + 3


async def test_a_chatterbox_waits_its_turn(mock_clock: MockClock) -> None:
    """However much one connection has sent, the others are served after a bounded number of its frames."""
    async with serving(msgspec.structs.replace(EPOLL, frames_per_tick=8)) as served:
        loud, quiet = await served.websocket(), await served.websocket()
        first, second = served.door.sessions
        first.echo = False
        heard_before: list[int] = []
        second.on_text = lambda _: heard_before.append(len(first.heard))
        await loud.send(*[b"x"] * 1_000)
        await quiet.send(b"me too")
        assert await quiet.event() == b"me too"
        assert heard_before[0] <= 24
        await first.until(lambda: len(first.heard) == 1_000)


async def test_a_large_backlog_goes_out_as_the_client_reads(mock_clock: MockClock) -> None:
    roomy = Bounds(soft_bytes=20_000_000, hard_bytes=20_000_000)
    async with serving(msgspec.structs.replace(EPOLL, outbox=roomy)) as served:
        client = await served.websocket()
        session = served.door.sessions[0]
        payload = b"y" * 12_000_000
        session.send(Frame(payload))
        await served.until(lambda: served.counters.short_sends > 0)
        session.send(Frame(b"behind it"))
        assert await client.event() == payload
        assert await client.event() == b"behind it"
        assert session.link.queued_bytes == 0


async def test_pings_without_reading_queue_nothing(served: Served) -> None:
    client = await served.websocket()
    session = served.door.sessions[0]
    while session.link.queued_bytes < 100_000:
        session.send(Frame(b"z" * 50_000))
        await trio.lowlevel.checkpoint()
    queued = session.link.queued_bytes
    for _ in range(200):
        await client.raw(encode(Opcode.PING, b"p" * 125, mask=MASK) * 10)
    await served.until(lambda: served.counters.reads >= 1)
    await client.send(b"sync")
    await session.until(lambda: b"sync" in session.heard)
    assert session.link.queued_bytes <= queued + 4_096
    assert not session.reasons


async def test_an_idle_connection_stands_in_one_bucket_and_owns_little(served: Served) -> None:
    clients = [await served.websocket() for _ in range(20)]
    for client in clients:
        await client.send(b"hello")
        await client.event()
    await wait_all_tasks_blocked()
    assert len(served.gateway._deadlines) == 20
    for session in served.door.sessions:
        parts = [session.link, session.link._decoder, session.link._outbox]  # type: ignore[attr-defined]
        assert sum(map(sys.getsizeof, parts)) < 800
        assert not any(hasattr(part, "__dict__") for part in parts)


async def test_without_descriptors_newcomers_hear_503(served: Served) -> None:
    """accept() fails without a free descriptor while the listener stays ready: unhandled, that is a busy loop and a
    hang."""
    kept = await served.websocket()
    client_ends = [socket.socket() for _ in range(3)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = socket.socket()
    lowest = probe.fileno()
    probe.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        for end in client_ends:
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.connect(("127.0.0.1", served.port))
        await served.until(lambda: served.counters.refused["full"] == 3)
        assert 3 <= served.counters.accept_errors["EMFILE"] <= 6, "one each, and one to find the backlog empty"
        await kept.send(b"unharmed")
        assert await kept.event() == b"unharmed"
        for end in client_ends:
            assert end.recv(12) == b"HTTP/1.1 503"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for end in client_ends:
            end.close()
    await served.websocket()


@pytest.mark.parametrize(
    ("number", "goes_on"), [(errno.ECONNABORTED, True), (errno.EPROTO, True), (errno.ENOBUFS, False)]
)
async def test_accept_errors_do_not_end_the_listener(
    served: Served, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, number: int, goes_on: bool
) -> None:
    real, failures = socket.socket.accept, [OSError(number, "injected")]

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    client = await served.connect()
    await served.until(lambda: not failures)
    assert served.counters.accept_errors == {errno.errorcode[number]: 1}
    if not goes_on:
        await wait_all_tasks_blocked()
        assert served.counters.accepted == 0, "it waits a moment for the kernel to have memory again"
        mock_clock.jump(0.2)
    assert (await client.upgrade()).status == 101


async def test_a_full_worker_leaves_newcomers_to_the_others(mock_clock: MockClock) -> None:
    """Workers share one listener: whoever is full stops accepting and nobody is refused."""
    options = msgspec.structs.replace(EPOLL, max_connections=1, shared_listener=True)
    async with serving(options) as served:
        first = await served.websocket()
        second = await served.connect()
        await second.raw(client_request("h", "/ws", KEY))
        await wait_all_tasks_blocked()
        assert served.counters.accepted == 1
        assert not served.counters.refused
        await first.close()
        await served.until(lambda: served.counters.connections == 0)
        mock_clock.jump(0.2)
        assert (await second.answer()).status == 101


async def test_a_broadcast_to_many_is_cut_into_turns(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.gateway.edge.WRITES_PER_TICK", 5)
    async with serving(EPOLL) as served:
        clients = [await served.websocket() for _ in range(23)]
        frame = Frame(b"to all")
        for session in served.door.sessions:
            session.send(frame)
        turns, before = [], served.counters.sends
        while served.counters.sends < before + 23:
            last = served.counters.sends
            await trio.lowlevel.checkpoint()
            turns.append(served.counters.sends - last)
        assert max(turns) <= 10, "others must have had a turn in between"
        for client in clients:
            assert await client.event() == b"to all"


async def test_a_send_error_ends_one_connection(served: Served) -> None:
    client, other = await served.websocket(), await served.websocket()
    client.reset()
    broken, fine = served.door.sessions
    while not broken.reasons:
        broken.send(Frame(b"x"))
        await trio.lowlevel.checkpoint()
    fine.send(Frame(b"fine"))
    assert await other.event() == b"fine"


@pytest.mark.parametrize("where", ["_receive", "write", "due"])
async def test_a_bug_in_the_edge_costs_one_connection(
    served: Served, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """One task serves all sockets: an exception that ended it would end the node."""
    victim, other = await served.websocket(), await served.websocket()
    unlucky = served.door.sessions[0].link
    real = getattr(Connection, where)

    def fail(connection: Connection, *arguments: object) -> None:
        if connection is unlucky:
            raise RuntimeError("the edge has a bug")
        real(connection, *arguments)

    monkeypatch.setattr(Connection, where, fail)
    await victim.send(b"x")
    mock_clock.jump(0.4)
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.STOPPED])
    assert served.counters.edge_errors == 1
    await other.send(b"unharmed")
    assert await other.event() == b"unharmed"


async def test_a_bug_while_a_newcomer_becomes_a_connection_is_told_to_its_session(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames behind the head are read by the new owner within the newcomer's turn."""

    def fail(_connection: Connection, _data: bytes) -> None:
        raise RuntimeError("the edge has a bug")

    monkeypatch.setattr(Connection, "_receive", fail)
    client = await served.connect()
    await client.raw(client_request("h", "/ws", KEY) + encode(Opcode.TEXT, b"x", mask=MASK))
    await served.until(lambda: served.counters.edge_errors == 1)
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.STOPPED])
    await client.rest()
    counters = served.counters
    assert (counters.connections, counters.websockets, counters.unauthenticated) == (0, 0, 0)
    assert len(served.gateway._deadlines) == 0
