"""The door of both transports: slow and rude newcomers, proxies, caps."""

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from realtime.gateway.options import GatewayOptions
from realtime.wire.handshake import client_request
from tests.gateway.harness import KEY, Client, Served, serving

PROXIED = GatewayOptions(trusted_proxies=("127.0.0.0/8",))


def on(transport: str, options: GatewayOptions | None = None, **changes: object) -> GatewayOptions:
    return msgspec.structs.replace(options or GatewayOptions(), transport=transport, **changes)


async def error_of(client: Client) -> tuple[int, str]:
    answer = await client.answer()
    body = msgspec.json.decode(await client.body(answer), type=dict[str, object])
    assert set(body) == {"error", "request_id", "timestamp"}
    error = msgspec.convert(body["error"], dict[str, object])
    return answer.status, str(error["code"])


async def test_silence_instead_of_a_head(served: Served, mock_clock: MockClock) -> None:
    client = await served.connect()
    await served.until(lambda: served.counters.connections == 1)
    mock_clock.jump(9.8)
    await wait_all_tasks_blocked()
    assert served.counters.connections == 1
    mock_clock.jump(0.3)
    assert await error_of(client) == (408, "TIMEOUT")
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)


async def test_one_byte_a_second_does_not_extend_the_time(served: Served, mock_clock: MockClock) -> None:
    """A slow loris counts as unauthenticated and is gone after the same ten seconds."""
    client = await served.connect()
    request = client_request("h", "/ws", KEY)
    for place in range(10):
        await client.raw(request[place : place + 1])
        mock_clock.jump(1.0)
        await wait_all_tasks_blocked()
    mock_clock.jump(0.1)
    assert await error_of(client) == (408, "TIMEOUT")
    assert served.counters.refused == {"head_408": 1}
    assert served.counters.unauthenticated == 0


async def test_a_head_without_end(served: Served) -> None:
    client = await served.connect()
    await client.raw(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4_000)
    assert await error_of(client) == (431, "PAYLOAD_TOO_LARGE")


async def test_an_answer_survives_what_the_client_still_sends(served: Served) -> None:
    """Closing with unread bytes in the buffer resets the connection, and the answer with it."""
    client = await served.connect()
    await client.raw(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 40_000)
    assert (await client.answer()).status == 431


@pytest.mark.parametrize("more", [("Content-Length", "3"), ("Transfer-Encoding", "chunked"), ("Host", "other")])
async def test_smuggling_with_an_upgrade(served: Served, more: tuple[str, str]) -> None:
    client = await served.connect()
    await client.raw(client_request("h", "/ws", KEY, [more]) + b"abc")
    assert await error_of(client) == (400, "INVALID_PAYLOAD")
    assert served.door.requests == []


async def test_version_8_is_told_what_we_speak(served: Served) -> None:
    client = await served.connect()
    await client.raw(client_request("h", "/ws", KEY).replace(b"Version: 13", b"Version: 8"))
    answer = await client.answer()
    assert (answer.status, answer.headers[b"sec-websocket-version"]) == (426, b"13")


async def test_an_end_inside_a_head(served: Served) -> None:
    client = await served.connect()
    await client.raw(b"GET /ws HT")
    await client.aclose()
    await served.until(lambda: served.counters.accepted == 1 and served.counters.connections == 0)
    assert served.counters.unauthenticated == 0


async def test_behind_a_proxy_the_header_names_the_client(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, PROXIED)) as served:
        client = await served.connect()
        await client.raw(b"PROXY TCP4 192.0.2.9 127.0.0.1 5 6\r\n" + client_request("h", "/ws", KEY))
        assert (await client.answer()).status == 101
        assert served.door.requests[0].remote == "192.0.2.9"
        await served.until(lambda: bool(served.door.sessions))
        assert served.door.sessions[0].link.remote == "192.0.2.9"


async def test_behind_a_proxy_forwarded_for_names_the_client(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, PROXIED)) as served:
        await served.websocket(X_Forwarded_For="6.6.6.6, 192.0.2.9, 127.0.0.2", X_Forwarded_Proto="https")
        assert served.door.requests[0].remote == "192.0.2.9"
        assert served.door.requests[0].secure


async def test_nobody_else_is_believed(served: Served) -> None:
    await served.websocket(X_Forwarded_For="192.0.2.9", X_Forwarded_Proto="https")
    assert served.door.requests[0].remote == "127.0.0.1"
    assert not served.door.requests[0].secure


async def test_a_bad_proxy_header(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, PROXIED)) as served:
        client = await served.connect()
        await client.raw(b"PROXY nonsense\r\n")
        assert await error_of(client) == (400, "INVALID_PAYLOAD")


async def test_the_total_is_capped(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, max_connections=3)) as served:
        clients = [await served.websocket() for _ in range(3)]
        late = await served.connect()
        await late.raw(client_request("h", "/ws", KEY))
        answer = await late.answer()
        assert answer.status == 503
        assert int(answer.headers[b"retry-after"]) >= 1
        await clients[0].close()
        await served.until(lambda: served.counters.connections == 2)
        await served.websocket()


async def test_an_address_is_capped(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, PROXIED, max_connections_per_address=2)) as served:
        mine = [await served.websocket(X_Forwarded_For="192.0.2.9") for _ in range(2)]
        third = await served.connect()
        assert (await third.upgrade(X_Forwarded_For="192.0.2.9")).status == 503
        other = await served.websocket(X_Forwarded_For="192.0.2.10")
        await mine[0].close()
        await served.until(lambda: served.counters.websockets == 2)
        await served.until(lambda: not served.gateway.admission._by_address["192.0.2.9"] > 1)
        mine.append(await served.websocket(X_Forwarded_For="192.0.2.9"))
        await other.send(b"x")
        assert await other.event() == b"x"


async def test_handshakes_are_rationed(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, handshakes_per_second=2.0, handshake_burst=2.0)) as served:
        kept = [await served.websocket() for _ in range(2)]
        late = await served.connect()
        await late.raw(client_request("h", "/ws", KEY))
        assert await error_of(late) == (503, "OVERLOADED")
        mock_clock.jump(0.6)
        kept.append(await served.websocket())
        assert served.counters.handshakes == 3
        assert served.counters.refused == {"handshake_rate": 1}


async def flood(served: Served, connections: int, mock_clock: MockClock) -> list[Client]:
    """Silent connections, one after the other within eight seconds, so that none ends by its own deadline."""
    clients = []
    for number in range(connections):
        clients.append(await served.connect())
        await served.until(lambda number=number: served.counters.accepted > number)  # type: ignore[misc]
        mock_clock.jump(8 / connections)
    return clients


@pytest.mark.parametrize("connections", [300, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_a_flood_of_silent_connections_is_shed(transport: str, mock_clock: MockClock, connections: int) -> None:
    """Strangers beyond the cap push the oldest out, so an honest client gets in while the flood goes on."""
    cap = connections // 2
    async with serving(on(transport, max_unauthenticated=cap)) as served:
        silent = await flood(served, connections, mock_clock)
        assert served.counters.unauthenticated == cap
        await served.until(lambda: served.counters.refused["shed"] == connections - cap)
        assert (await silent[0].answer()).status == 503
        honest = await served.websocket()
        await honest.send(b"hello")
        assert await honest.event() == b"hello"
        for client in silent:
            client.stream.socket.close()


async def test_strangers_that_upgraded_are_shed_with_a_code(transport: str, mock_clock: MockClock) -> None:
    async with serving(on(transport, max_unauthenticated=2)) as served:
        served.door.authenticated = False
        first = await served.websocket()
        second = await served.websocket()
        mock_clock.jump(2.0)
        third = await served.websocket()
        await first.ends_with(4003)
        await second.send(b"x")
        assert await second.event() == b"x"
        await third.send(b"x")
        assert await third.event() == b"x"
        assert served.counters.lost == {"shed": 1}


async def test_a_reset_while_the_answer_is_made(served: Served) -> None:
    for _ in range(20):
        client = await served.connect()
        await client.raw(client_request("h", "/ws", KEY))
        client.reset()
    await served.until(lambda: served.counters.accepted == 20 and served.counters.connections == 0)
    assert served.counters.peer_errors == 0
    with trio.fail_after(5):
        assert (await (await served.connect()).upgrade()).status == 101
