"""An upgrade on a connection that hypercorn already owns: served by the same sessions, through the ASGI scope."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.shapes.frames import Frame
from realtime.gateway.options import GatewayOptions
from realtime.link import LostReason, Refused
from realtime.wire.close import Close
from realtime.wire.frames import Opcode, Pong
from tests.gateway.harness import Client, Listener, Served, serving

app = QuartTrio("web")


@app.get("/")
async def root() -> str:
    return "hello"


@pytest.fixture
async def served(transport: str, mock_clock: MockClock) -> AsyncIterator[Served]:
    async with serving(GatewayOptions(transport=transport, http_send_buffer_bytes=32 * 1024), app) as served:
        yield served


async def kept_alive(served: Served) -> Client:
    """A connection that has carried a request, so it is hypercorn's."""
    client = await served.connect()
    client.hears_pings = False  # hypercorn's, one of them at once
    await client.raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert await client.body(await client.answer()) == b"hello"
    return client


async def upgraded(served: Served, path: str = "/ws", **headers: str) -> tuple[Client, Listener]:
    seated = len(served.door.sessions)
    client = await kept_alive(served)
    assert (await client.upgrade(path, b"", **headers)).status == 101
    await served.until(lambda: len(served.door.sessions) > seated)
    return client, served.door.sessions[-1]


async def test_the_session_knows_no_difference(served: Served) -> None:
    served.door.subprotocol = "kith.v1"
    client, session = await upgraded(served, "/ws?a=b", Sec_WebSocket_Protocol="x, kith.v1", Authorization="Bearer t")
    texts = [b'{"n":%d}' % number for number in range(100)]
    await client.send(*texts)
    assert [await client.event() for _ in texts] == texts
    assert session.heard == texts
    request = served.door.requests[0]
    assert (request.path, request.query, request.remote) == ("/ws", "a=b", "127.0.0.1")
    assert request.headers[b"authorization"] == b"Bearer t"
    assert request.subprotocols == ("x", "kith.v1")
    assert served.counters.websockets == 1
    await client.frame(Opcode.PING, b"p")
    assert await client.event() == Pong(b"p")


async def test_a_path_in_other_letters_is_the_same_path(served: Served) -> None:
    """The door compares raw paths, hypercorn decoded ones: what slips past the first is met by the second."""
    client = await served.connect()
    client.hears_pings = False
    assert (await client.upgrade("/%77s")).status == 101
    await client.send(b"x")
    assert await client.event() == b"x"


async def test_a_refusal_has_its_body(served: Served) -> None:
    served.door.refuse = Refused(401, b'{"error":{}}', (("X-Why", "because"),))
    client = await kept_alive(served)
    answer = await client.upgrade()
    assert (answer.status, answer.headers[b"x-why"]) == (401, b"because")
    assert answer.headers[b"connection"] == b"close"
    assert await client.body(answer) == b'{"error":{}}'


async def test_a_bad_upgrade_is_closed(served: Served, mock_clock: MockClock) -> None:
    """hypercorn answers it with `Connection: close`, and forgets to."""
    client = await kept_alive(served)
    await client.raw(b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert (await client.answer()).status == 400
    await wait_all_tasks_blocked()
    mock_clock.jump(2.1)
    assert await client.rest() == b""
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)


async def test_an_upgrade_elsewhere_is_answered_with_the_one_error_body(served: Served) -> None:
    """Quart's own 404 is a page of HTML."""
    client = await kept_alive(served)
    answer = await client.upgrade("/elsewhere")
    assert (answer.status, answer.headers[b"content-type"]) == (404, b"application/json")
    assert b"ROUTE_NOT_FOUND" in await client.body(answer)
    assert served.door.requests == []


@pytest.mark.parametrize("path", ["/ws", "/elsewhere"])
async def test_who_speaks_before_he_is_answered_is_no_fault_of_ours(
    served: Served, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """25 of 372,000 visits of rubbish were logged as errors of the application, with a traceback each."""
    for _ in range(20):  # whose answer comes first is for the scheduler to say
        client = await kept_alive(served)
        head = f"GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        await client.raw((head + key).encode() + b"\x01no request\r\n\r\n")
        await wait_all_tasks_blocked()
        await client.stream.aclose()
    await wait_all_tasks_blocked()
    assert [record.getMessage() for record in caplog.records] == []


async def test_close_sends_what_is_queued_first(served: Served) -> None:
    client, session = await upgraded(served)
    session.send(Frame(b"queued"))
    session.close(4000, "going away", before=Frame(b"last"))
    assert await client.event() == b"queued"
    assert await client.event() == b"last"
    await client.ends_with(4000)
    assert session.reasons == [LostReason.CLOSED]
    await served.until(lambda: served.counters.connections == 0)


async def test_the_clients_close(served: Served) -> None:
    """hypercorn tells the application of every end as 1006, so a goodbye cannot be told from a broken line."""
    client, session = await upgraded(served)
    await client.close(1000)
    assert await client.event() == Close(1000, "")
    await session.until(lambda: session.reasons == [LostReason.ENDED])
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)


async def test_an_end_without_goodbye(served: Served) -> None:
    client, session = await upgraded(served)
    await client.aclose()
    await session.until(lambda: session.reasons == [LostReason.ENDED])
    await served.until(lambda: served.counters.connections == 0)


@pytest.mark.parametrize(
    ("opcode", "payload", "code"), [(Opcode.BINARY, b"x", 1003), (Opcode.TEXT, "ü".encode() * 140_000, 1009)]
)
async def test_what_is_not_spoken_here(served: Served, opcode: int, payload: bytes, code: int) -> None:
    client, session = await upgraded(served)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.frame, opcode, payload)
        await client.ends_with(code)
    await session.until(lambda: session.reasons == [LostReason.VIOLATION])


async def test_no_hello_in_time(served: Served, mock_clock: MockClock) -> None:
    served.door.authenticated = False
    client, session = await upgraded(served)
    assert served.counters.unauthenticated == 1
    mock_clock.jump(10.2)
    await client.ends_with(4401)
    assert session.reasons == [LostReason.NO_HELLO]
    assert served.counters.unauthenticated == 0


async def test_silence_is_a_hello(served: Served, mock_clock: MockClock) -> None:
    _client, session = await upgraded(served)
    mock_clock.jump(0.4)
    await session.until(lambda: session.idle_hellos == 1)


async def test_a_session_that_raises(served: Served) -> None:
    client, session = await upgraded(served)

    def fail(_: bytes) -> None:
        raise RuntimeError("a session has a bug")

    session.on_text = fail
    await client.send(b"boom")
    await client.ends_with(1011)
    assert session.reasons == [LostReason.FAULT]


async def test_a_slow_consumer_is_lost_at_its_bound(served: Served, mock_clock: MockClock) -> None:
    client, session = await upgraded(served)
    while not session.reasons:
        session.send(Frame(b"x" * 10_000))
        assert session.link.queued_bytes <= served.options.outbox.hard_bytes + 20_000
        await trio.lowlevel.checkpoint()
    assert session.reasons == [LostReason.SLOW]
    await wait_all_tasks_blocked()
    # Its write deadline ends it: hypercorn's send cannot be cancelled from outside.
    mock_clock.jump(31.0)
    await served.until(lambda: served.counters.connections == 0)
    await client.rest()


async def test_strangers_are_counted_here_too(transport: str, mock_clock: MockClock) -> None:
    options = msgspec.structs.replace(GatewayOptions(transport=transport), max_unauthenticated=1)
    async with serving(options, app) as served:
        served.door.authenticated = False
        first, _ = await upgraded(served)
        second = await kept_alive_beside(served, mock_clock)
        assert (await second.upgrade()).status == 101
        await second.ends_with(4003)
        await first.send(b"x")
        assert await first.event() == b"x"


async def kept_alive_beside(served: Served, mock_clock: MockClock) -> Client:
    """Room for one stranger only, and there is one: so come as a request while he is not counted."""
    stranger = next(iter(served.gateway.admission._unknown))
    served.gateway.admission.known(stranger)
    client = await kept_alive(served)
    assert served.gateway.admission.meet(stranger)
    return client


async def test_going_away_reaches_these_links_too(served: Served) -> None:
    client, session = await upgraded(served)
    direct = await served.websocket()
    assert served.gateway.going_away(lambda _: Frame(b"going_away")) == 0
    for each in (client, direct):
        assert await each.event() == b"going_away"
        await each.ends_with(4000)
    assert session.reasons == [LostReason.CLOSED]
