"""What every transport promises its sessions; both must keep all of it."""

import pytest
import trio
from trio.testing import MockClock

from actors.shapes.frames import COUNTER, EPHEMERAL, Frame
from realtime.link import LostReason, Refused
from realtime.wire.close import Close
from realtime.wire.frames import MESSAGE_LIMIT_BYTES, Event, Opcode, Ping, Pong, encode
from tests.gateway.harness import MASK, Client, Served


async def test_texts_come_in_order_and_go_back(served: Served) -> None:
    client = await served.websocket()
    texts = [b'{"n":%d}' % number for number in range(300)]
    await client.send(*texts)
    assert [await client.event() for _ in texts] == texts
    assert served.door.sessions[0].heard == texts
    await served.until(lambda: served.counters.frames_in == served.counters.frames_out == 300)


async def test_bytes_behind_the_upgrade_belong_to_the_session(served: Served) -> None:
    """A client may send its hello with the upgrade in one packet; the reader of the head must not eat it."""
    client = await served.connect()
    hello = encode(Opcode.TEXT, b"hello", mask=MASK)
    await client.upgrade(after=hello + hello[:3])
    assert await client.event() == b"hello"
    await client.raw(hello[3:])
    assert await client.event() == b"hello"


async def test_an_upgrade_byte_by_byte(served: Served) -> None:
    client = await served.connect()
    request = (
        b"GET /ws?a=b HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for place in range(len(request)):
        await client.raw(request[place : place + 1])
        await trio.lowlevel.checkpoint()
    assert (await client.answer()).status == 101
    assert served.door.requests[0].query == "a=b"


async def test_the_subprotocol_is_the_receptions_choice(served: Served) -> None:
    served.door.subprotocol = "kith.v1"
    client = await served.connect()
    answer = await client.upgrade(Sec_WebSocket_Protocol="messaging.v1, kith.v1")
    assert answer.headers[b"sec-websocket-protocol"] == b"kith.v1"
    assert served.door.requests[0].subprotocols == ("messaging.v1", "kith.v1")


async def test_a_refusal_is_plain_http(served: Served) -> None:
    served.door.refuse = Refused(401, b'{"error":{}}', (("WWW-Authenticate", "Bearer"),))
    client = await served.connect()
    answer = await client.upgrade(Authorization="Bearer nonsense")
    assert answer.status == 401
    assert answer.headers[b"www-authenticate"] == b"Bearer"
    assert await client.body(answer) == b'{"error":{}}'
    assert await client.rest() == b""
    assert served.door.requests[0].headers[b"authorization"] == b"Bearer nonsense"
    assert served.door.sessions == []


async def test_a_reception_that_raises_lets_nobody_in(served: Served) -> None:
    served.door.fail = True
    client = await served.connect()
    assert (await client.upgrade()).status == 500
    assert served.counters.peer_errors == 1


async def test_close_sends_what_is_queued_first(served: Served) -> None:
    client = await served.websocket()
    await client.send(b"x")
    session = served.door.sessions[0]
    await client.event()
    session.send(Frame(b"queued"))
    session.close(4000, "going away", before=Frame(b"last"))
    session.send(Frame(b"too late"))
    session.close(4503)
    assert await client.event() == b"queued"
    assert await client.event() == b"last"
    end = await client.ends_with(4000)
    assert end.reason == "going away"
    await session.until(lambda: session.reasons == [LostReason.CLOSED])
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.closed == {4000: 1}
    assert served.counters.resets == 0


async def test_nothing_is_heard_after_the_sessions_close(served: Served) -> None:
    client = await served.websocket()
    session_text = [b"close now", b"never heard"]
    await client.send(b"hi")
    await client.event()
    session = served.door.sessions[0]
    session.on_text = lambda text: session.close(4508) if text == b"close now" else None
    session.echo = False
    await client.send(*session_text)
    await client.ends_with(4508)
    assert session.heard == [b"hi", b"close now"]
    await session.until(lambda: session.reasons == [LostReason.CLOSED])


@pytest.mark.parametrize("code", [1000, 1001, 4999])
async def test_the_clients_close_is_answered_in_kind(served: Served, code: int) -> None:
    client = await served.websocket()
    await client.send(b"last words")
    assert await client.event() == b"last words"
    await client.close(code)
    answer = await client.event()
    assert isinstance(answer, Close)
    assert answer.code == code
    assert await client.event() is None
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.CLIENT_CLOSED])
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)


async def test_an_end_without_goodbye(served: Served) -> None:
    client = await served.websocket()
    await client.send(b"x")
    await client.event()
    await client.aclose()
    session = served.door.sessions[0]
    await session.until(lambda: bool(session.reasons))
    assert session.reasons == [LostReason.ENDED]
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.closed == {1006: 1}
    assert len(served.gateway._deadlines) == 0, "or the dead stay in memory until their heartbeat would have come"


async def test_half_closed_is_ended(served: Served) -> None:
    client = await served.websocket()
    await client.stream.send_eof()
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.ENDED])
    assert await client.rest() == b""


async def test_a_reset_is_told_once(served: Served) -> None:
    client = await served.websocket()
    await client.send(b"x")
    await client.event()
    client.reset()
    session = served.door.sessions[0]
    await session.until(lambda: bool(session.reasons))
    assert session.reasons in ([LostReason.RESET], [LostReason.ENDED])
    await served.until(lambda: served.counters.connections == 0)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (encode(Opcode.TEXT, b"unmasked"), 1002),
        (encode(Opcode.CONTINUATION, b"lone", mask=MASK), 1002),
        (encode(Opcode.BINARY, b"\x00", mask=MASK), 1003),
        (encode(Opcode.TEXT, b"\xff", mask=MASK), 1007),
        (encode(Opcode.TEXT, b"x" * (MESSAGE_LIMIT_BYTES + 1), mask=MASK), 1009),
        (encode(Opcode.TEXT, "ü".encode() * (MESSAGE_LIMIT_BYTES // 2 + 1), mask=MASK), 1009),
    ],
    ids=["unmasked", "lone", "binary", "utf8", "large", "large in bytes"],
)
async def test_a_violation_is_told_to_both_sides(served: Served, wire: bytes, code: int) -> None:
    client = await served.websocket()
    await client.send(b"fine")
    assert await client.event() == b"fine"
    await client.raw(wire)
    event = await client.event()
    assert isinstance(event, Close)
    assert event.code == code
    session = served.door.sessions[0]
    await session.until(lambda: bool(session.reasons))
    assert session.reasons == [LostReason.VIOLATION]
    assert session.heard == [b"fine"]
    assert served.counters.closed == {code: 1}
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)


async def test_no_hello_in_time(served: Served, mock_clock: MockClock) -> None:
    served.door.authenticated = False
    client = await served.websocket()
    await client.send(b"something, but no hello")
    await client.event()
    assert served.counters.unauthenticated == 1
    mock_clock.jump(9.8)
    await trio.testing.wait_all_tasks_blocked()
    assert served.door.sessions[0].reasons == []
    mock_clock.jump(0.3)
    await client.ends_with(4401)
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.NO_HELLO])
    assert served.counters.unauthenticated == 0


async def test_a_hello_in_time(served: Served, mock_clock: MockClock) -> None:
    served.door.authenticated = False
    client = await served.websocket()
    session = served.door.sessions[0]
    session.on_text = lambda _: session.link.authenticated()
    await client.send(b"hello")
    await client.event()
    assert served.counters.unauthenticated == 0
    mock_clock.jump(20)
    await trio.testing.wait_all_tasks_blocked()
    await client.send(b"still here")
    assert await client.event() == b"still here"
    assert session.idle_hellos == 0


async def test_a_stranger_has_sixteen_kibibytes(served: Served) -> None:
    """Eight thousand of them who each kept back the last byte of 256 KiB had 2 GB of the node's memory."""
    served.door.authenticated = False
    client = await served.websocket()
    await client.send(b"x" * (16 * 1024 + 1))
    await client.ends_with(1009)
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.VIOLATION])
    assert session.heard == []
    await served.until(lambda: served.counters.unauthenticated == 0)


async def test_what_comes_with_a_hello_in_one_breath_is_no_strangers(served: Served) -> None:
    served.door.authenticated = False
    client = await served.websocket()
    session = served.door.sessions[0]
    session.on_text = lambda _: session.link.authenticated()
    large = [b"x" * 60_000, b"y" * MESSAGE_LIMIT_BYTES, b"z"]
    await client.send(b"hello", *large)
    assert [await client.event() for _ in range(4)] == [b"hello", *large]


async def test_silence_after_an_authenticated_upgrade_is_a_hello(served: Served, mock_clock: MockClock) -> None:
    _client = await served.websocket()
    session = served.door.sessions[0]
    mock_clock.jump(0.24)
    await trio.testing.wait_all_tasks_blocked()
    assert session.idle_hellos == 0
    mock_clock.jump(0.1)
    await session.until(lambda: session.idle_hellos == 1)
    mock_clock.jump(9)
    await trio.testing.wait_all_tasks_blocked()
    assert session.idle_hellos == 1


async def test_no_idle_hello_once_something_was_said(served: Served, mock_clock: MockClock) -> None:
    client = await served.websocket()
    await client.send(b"first")
    await client.event()
    mock_clock.jump(5)
    await trio.testing.wait_all_tasks_blocked()
    assert served.door.sessions[0].idle_hellos == 0


async def test_heartbeat(served: Served, mock_clock: MockClock) -> None:
    client = await served.websocket()
    await client.send(b"x")
    await client.event()
    for _ in range(3):
        mock_clock.jump(25.1)
        assert isinstance(await client.event(), Ping)
        await client.frame(Opcode.PONG)
        await client.send(b"y")
        assert await client.event() == b"y"
    assert served.counters.pings_sent == 3
    mock_clock.jump(25.1)
    assert isinstance(await client.event(), Ping)
    mock_clock.jump(9.9)
    await trio.testing.wait_all_tasks_blocked()
    assert served.door.sessions[0].reasons == []
    mock_clock.jump(0.3)
    await client.ends_with(4002)
    session = served.door.sessions[0]
    await session.until(lambda: session.reasons == [LostReason.NO_PONG])


async def test_a_pong_alone_keeps_a_connection(served: Served, mock_clock: MockClock) -> None:
    client = await served.websocket()
    for _ in range(4):
        mock_clock.jump(25.1)
        ping = await client.event()
        assert isinstance(ping, Ping)
        await client.frame(Opcode.PONG, ping.payload)
        await client.frame(Opcode.PING, b"sync")
        assert await client.event() == Pong(b"sync")
    assert served.door.sessions[0].reasons == []


async def test_pings_are_answered(served: Served) -> None:
    client = await served.websocket()
    await client.frame(Opcode.PING, b"are you there")
    assert await client.event() == Pong(b"are you there")


async def test_a_session_that_raises_harms_itself_only(served: Served) -> None:
    bystander = await served.websocket()
    client = await served.websocket()
    await client.send(b"x")
    await client.event()
    session = served.door.sessions[1]

    def fail(_: bytes) -> None:
        raise RuntimeError("a session has a bug")

    session.on_text = fail
    await client.send(b"boom")
    await client.ends_with(1011)
    await session.until(lambda: session.reasons == [LostReason.FAULT])
    assert served.counters.peer_errors == 1
    await bystander.send(b"fine")
    assert await bystander.event() == b"fine"


async def read_to_the_end(client: Client) -> None:
    while await client.stream.receive_some():
        pass


async def test_a_slow_consumer_is_let_go(served: Served, mock_clock: MockClock) -> None:
    """The client reads nothing at all: memory stays in its bound, others stay unharmed, and it is reset in the end."""
    client, bystander = await served.websocket(), await served.websocket()
    slow = served.door.sessions[0]
    payload = b"x" * 10_000
    most = 0
    while slow.link.queued_bytes < served.options.outbox.hard_bytes and not slow.reasons:
        slow.send(Frame(payload))
        most = max(most, slow.link.queued_bytes)
        await trio.lowlevel.checkpoint()
        if slow.link.queued_bytes < 500_000:
            await trio.lowlevel.checkpoint()
    slow.send(Frame(payload))
    await slow.until(lambda: slow.reasons == [LostReason.SLOW])
    assert most <= served.options.outbox.hard_bytes + 2 * len(payload)
    assert slow.link.queued_bytes < 200_000, "what was queued is dropped at once"
    assert sum(served.counters.dropped) > 80
    await bystander.send(b"unharmed")
    assert await bystander.event() == b"unharmed"
    mock_clock.jump(5.2)
    await served.until(lambda: served.counters.connections == 1)
    assert served.counters.resets == 1
    with pytest.raises(trio.BrokenResourceError):
        await read_to_the_end(client)


async def test_a_slow_consumer_that_wakes_up_hears_why(served: Served) -> None:
    client = await served.websocket()
    slow = served.door.sessions[0]
    while not slow.reasons:
        slow.send(Frame(b"x" * 10_000))
        await trio.lowlevel.checkpoint()
    last = None
    while not isinstance(event := await client.event(), Close):
        last = event
    assert last == b'{"type":"lagging","payload":{}}'
    assert event.code == 4001
    await client.close(4001)
    assert await client.event() is None
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.resets == 0


async def test_drained_is_told_when_the_outbox_falls(served: Served) -> None:
    client = await served.websocket()
    session = served.door.sessions[0]
    frames = 0
    while session.link.queued_bytes <= served.options.outbox.low_water_bytes:
        session.send(Frame(b"x" * 10_000))
        frames += 1
        if session.link.queued_bytes < 20_000:
            await trio.lowlevel.checkpoint()
    assert session.drains == 0
    for _ in range(frames):
        await client.event()
    await session.until(lambda: session.drains >= 1)
    assert session.link.queued_bytes <= served.options.outbox.low_water_bytes


async def test_under_pressure_only_durable_frames_queue(served: Served) -> None:
    client = await served.websocket()
    session = served.door.sessions[0]
    while session.link.queued_bytes < served.options.outbox.soft_bytes:
        session.send(Frame(b"x" * 10_000))
        if session.link.queued_bytes < 20_000:
            await trio.lowlevel.checkpoint()
    session.send(Frame(b"typing", EPHEMERAL))
    session.send(Frame(b"count", COUNTER, "story"))
    session.send(Frame(b"message"))
    seen: list[Event | None] = []
    while not seen or seen[-1] != b"message":
        seen.append(await client.event())
    assert b"typing" not in seen
    assert b"count" not in seen
    assert served.counters.dropped[EPHEMERAL] == served.counters.dropped[COUNTER] == 1


async def test_delivery_latency_is_observed_for_frames_with_a_birth(served: Served) -> None:
    client = await served.websocket()
    await client.send(b"one", b"two")
    await client.event()
    await client.event()
    served.door.sessions[0].send(Frame(b"no birth"))
    await client.event()
    assert len(served.latencies) == 2
    assert all(0 < latency < 5 for latency in served.latencies)


async def test_a_broadcast_is_framed_once(served: Served) -> None:
    clients = [await served.websocket() for _ in range(3)]
    frame = Frame(b"to all of you")
    for session in served.door.sessions:
        session.send(frame)
    wire = frame.wire
    for client in clients:
        assert await client.event() == b"to all of you"
    assert frame.wire is wire


async def test_everything_is_told_when_the_gateway_stops(served: Served, mock_clock: MockClock) -> None:
    _client = await served.websocket()
    session = served.door.sessions[0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.gateway.aclose, 3.0)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(3.1)
    assert session.reasons == [LostReason.STOPPED]
    assert served.counters.connections == 0
