"""HTTP through the port: a real application behind hypercorn, on connections that the gateway accepted."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from realtime.gateway.options import GatewayOptions
from tests.gateway.harness import Client, Served, serving

MEBIBYTE = 1024 * 1024


class Web:
    """A small application, and what happened in it."""

    def __init__(self) -> None:
        self.app = QuartTrio("web")
        self.app.config["RESPONSE_TIMEOUT"] = None  # quart's own 60 s for a whole answer
        self.started = trio.Event()
        self.go_on = trio.Event()
        self.lifespan: list[str] = []
        self.app.add_url_rule("/who", view_func=self.who)
        self.app.add_url_rule("/echo", view_func=self.echo, methods=["POST"])
        self.app.add_url_rule("/large", view_func=self.large)
        self.app.add_url_rule("/slow", view_func=self.slow)
        self.app.add_url_rule("/fail", view_func=self.fail)
        self.app.before_serving(self.begin)
        self.app.after_serving(self.end)

    async def begin(self) -> None:
        self.lifespan.append("begun")

    async def end(self) -> None:
        self.lifespan.append("ended")

    async def who(self) -> dict[str, str | None]:
        return {"client": request.remote_addr, "scheme": request.scheme}

    async def echo(self) -> Response:
        return Response(await request.get_data())

    async def large(self) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(24):
                yield b"x" * MEBIBYTE

        return Response(parts())

    async def slow(self) -> str:
        self.started.set()
        await self.go_on.wait()
        return "done"

    async def fail(self) -> str:
        raise RuntimeError("a handler has a bug")


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def options(transport: str) -> GatewayOptions:
    return GatewayOptions(transport=transport, http_send_buffer_bytes=64 * 1024)


@pytest.fixture
async def served(options: GatewayOptions, web: Web, mock_clock: MockClock) -> AsyncIterator[Served]:
    async with serving(options, web.app) as served:
        yield served


async def get(client: Client, path: str, **headers: str) -> tuple[int, bytes]:
    lines = [f"GET {path} HTTP/1.1", "Host: h", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items()), "", ""]
    await client.raw("\r\n".join(lines).encode())
    answer = await client.answer()
    return answer.status, await client.body(answer)


async def test_requests_share_a_connection(served: Served) -> None:
    client = await served.connect()
    for _ in range(3):
        status, body = await get(client, "/who")
        assert status == 200
        assert msgspec.json.decode(body) == {"client": "127.0.0.1", "scheme": "http"}
    assert served.counters.accepted == 1
    assert served.counters.http_connections == 1
    assert served.counters.unauthenticated == 0
    await client.aclose()
    await served.until(lambda: served.counters.connections == served.counters.http_connections == 0)


async def test_a_large_body_both_ways(served: Served) -> None:
    client, body = await served.connect(), bytes(range(256)) * 4096
    assert len(body) == MEBIBYTE
    async with trio.open_nursery() as nursery:
        head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        nursery.start_soon(client.raw, head + body)
        assert await client.body(await client.answer()) == body


async def test_a_chunked_upload_in_pieces(served: Served) -> None:
    client = await served.connect()
    await client.raw(b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    await wait_all_tasks_blocked()
    await client.raw(b"lo\r\n6\r\n world\r\n")
    await wait_all_tasks_blocked()
    await client.raw(b"0\r\n\r\n")
    assert await client.body(await client.answer()) == b"hello world"
    assert (await get(client, "/who"))[0] == 200


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    client = await served.connect()
    posts = [b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(5)]
    await client.raw(b"".join(posts))
    assert [await client.body(await client.answer()) for _ in posts] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_head_in_single_bytes(served: Served) -> None:
    client = await served.connect()
    for byte in b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok":
        await client.raw(bytes((byte,)))
        await trio.lowlevel.checkpoint()
    assert await client.body(await client.answer()) == b"ok"


async def test_nonsense_is_the_http_servers_business(served: Served) -> None:
    client = await served.connect()
    await client.raw(b"nonsense\r\n\r\n")
    assert (await client.answer()).status == 400


async def test_a_handler_that_raises(served: Served) -> None:
    client = await served.connect()
    assert (await get(client, "/fail"))[0] == 500
    assert (await get(client, "/who"))[0] == 200


async def test_a_client_that_stops_reading_meets_the_write_deadline(served: Served, mock_clock: MockClock) -> None:
    """hypercorn sends in a shielded scope without a deadline: such a client would be kept, with its buffers, for
    ever."""
    client = await served.connect()
    await client.raw(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
    await client.answer()
    await wait_all_tasks_blocked(0.01)
    mock_clock.jump(29.0)
    await wait_all_tasks_blocked()
    assert served.counters.http_connections == 1
    mock_clock.jump(1.1)
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.http_write_timeouts == 1
    other = await served.connect()
    assert (await get(other, "/who"))[0] == 200


async def test_a_client_that_reads_slowly_is_served(served: Served, mock_clock: MockClock) -> None:
    """The deadline is for each 64 KiB, so a long download over a thin line is no offence."""
    client = await served.connect()
    await client.raw(b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    await client.answer()
    received = 0
    for _ in range(40):
        mock_clock.jump(10.0)
        for _ in range(8):
            received += len(await client.stream.receive_some(65536))
        await wait_all_tasks_blocked()
    assert served.counters.http_write_timeouts == 0
    received += len(client.buffer) + len(await client.rest())
    assert received > 24 * MEBIBYTE


async def test_an_idle_connection_is_closed(served: Served, mock_clock: MockClock) -> None:
    client = await served.connect()
    assert (await get(client, "/who"))[0] == 200
    await wait_all_tasks_blocked()
    mock_clock.jump(74.0)
    await wait_all_tasks_blocked()
    assert served.counters.connections == 1
    mock_clock.jump(1.2)
    assert await client.rest() == b""
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)


async def test_http_connections_are_capped(transport: str, web: Web, mock_clock: MockClock) -> None:
    options = GatewayOptions(transport=transport, max_http_connections=1)
    async with serving(options, web.app) as served:
        busy, second = await served.connect(), await served.connect()
        await busy.raw(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        await web.started.wait()
        mock_clock.jump(5.0)
        assert (await get(second, "/who"))[0] == 503
        assert served.counters.refused == {"http": 1}
        socket = await served.websocket()
        await socket.send(b"x")
        assert await socket.event() == b"x"
        web.go_on.set()
        assert await busy.body(await busy.answer()) == b"done"


async def test_who_only_keeps_a_place_warm_gives_it_up(transport: str, web: Web, mock_clock: MockClock) -> None:
    """Else 4,000 silent keep-alives would shut the API for everybody, 75 seconds at a time."""
    options = GatewayOptions(transport=transport, max_http_connections=2)
    async with serving(options, web.app) as served:
        first, second, third = [await served.connect() for _ in range(3)]
        for client in (first, second):
            assert (await get(client, "/who"))[0] == 200
            await wait_all_tasks_blocked()
            mock_clock.jump(0.8)
        assert (await get(third, "/who"))[0] == 200
        assert await first.rest() == b""
        assert served.counters.http_shed == 1
        fourth = await served.connect()
        assert (await get(fourth, "/who"))[0] == 503, "the second has been idle for less than a second"
        await first.aclose()
        await served.until(lambda: served.counters.http_connections == 2)
        assert (await get(second, "/who"))[0] == 200


async def test_a_proxy_is_believed_request_by_request(transport: str, web: Web, mock_clock: MockClock) -> None:
    """A proxy keeps one connection for many clients; whoever came first must not lend his address to all."""
    options = GatewayOptions(transport=transport, trusted_proxies=("127.0.0.1",))
    async with serving(options, web.app) as served:
        client = await served.connect()
        for number in (7, 8):
            _, body = await get(client, "/who", X_Forwarded_For=f"1.1.1.1, 192.0.2.{number}", X_Forwarded_Proto="https")
            assert msgspec.json.decode(body) == {"client": f"192.0.2.{number}", "scheme": "https"}
        other = await served.connect()
        await other.raw(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n")
        _, body = await get(other, "/who", X_Forwarded_For="1.1.1.1")
        assert msgspec.json.decode(body) == {"client": "2001:db8::7", "scheme": "http"}


async def test_nobody_else_may_name_a_client(served: Served) -> None:
    _, body = await get(await served.connect(), "/who", X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https")
    assert msgspec.json.decode(body) == {"client": "127.0.0.1", "scheme": "http"}


async def test_a_client_that_pipelines_and_resets_leaves_nothing(
    served: Served, web: Web, mock_clock: MockClock
) -> None:
    """hypercorn reads on when its first answer is out, and forgets to when that answer cannot be sent: some
    thousand such clients would have taken every HTTP place for ever."""
    for _ in range(20):
        client = await served.connect()
        await client.raw(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
        await web.started.wait()
        await wait_all_tasks_blocked()
        client.reset()
    web.go_on.set()
    for _ in range(4):
        await wait_all_tasks_blocked()
        mock_clock.jump(2.1)
    await served.until(lambda: served.counters.connections == served.counters.http_connections == 0)


async def test_stopping_lets_a_request_finish(served: Served, web: Web) -> None:
    busy, idle = await served.connect(), await served.connect()
    assert (await get(idle, "/who"))[0] == 200
    await busy.raw(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    await web.started.wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.gateway.aclose, 5.0)
        assert await idle.rest() == b""
        await idle.aclose()
        assert web.lifespan == ["begun"]
        web.go_on.set()
        assert await busy.body(await busy.answer()) == b"done"
        assert await busy.rest() == b""
        await busy.aclose()
    assert web.lifespan == ["begun", "ended"]
    assert served.counters.connections == 0


async def test_stopping_does_not_wait_for_ever(served: Served, web: Web, mock_clock: MockClock) -> None:
    busy = await served.connect()
    await busy.raw(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    await web.started.wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.gateway.aclose, 5.0)
        await wait_all_tasks_blocked()
        mock_clock.jump(5.1)
    assert served.counters.connections == 0
    assert await busy.rest() == b""
