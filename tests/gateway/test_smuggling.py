"""Bytes that a proxy in front of us would understand otherwise: nothing behind them is answered."""

from collections.abc import AsyncIterator

import pytest
from quart_trio import QuartTrio
from trio.testing import MockClock

from realtime.gateway.options import GatewayOptions
from realtime.wire.handshake import Answer, client_request
from tests.clocks import HandClock
from tests.gateway.harness import KEY, Client, Served, serving
from tests.webapi.node import memory_stores, open_node

PLAIN = b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
H2C = (
    b"GET /h2c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
)

app = QuartTrio("web")


@app.get("/<name>")
async def hello(name: str) -> str:
    return name


@pytest.fixture
async def served(transport: str, mock_clock: MockClock) -> AsyncIterator[Served]:
    async with serving(GatewayOptions(transport=transport), app) as served:
        yield served


async def kept_alive(served: Served) -> Client:
    client = await served.connect()
    await client.raw(PLAIN % b"first")
    assert await client.body(await client.answer()) == b"first"
    return client


async def ended(client: Client) -> Answer:
    """One answer, and the end of the connection behind it."""
    answer = await client.answer()
    assert answer.headers[b"connection"].lower() == b"close"
    await client.body(answer)
    assert await client.rest() == b""
    await client.aclose()
    return answer


@pytest.mark.parametrize("later", [False, True])
async def test_an_upgrade_to_http2_is_ignored(served: Served, later: bool) -> None:
    """RFC 9110 section 7.8: who does not want to upgrade answers as if it had not been asked."""
    client = await (kept_alive(served) if later else served.connect())
    await client.raw(H2C + PLAIN % b"next")
    for expected in (b"h2c", b"next"):
        answer = await client.answer()
        assert (answer.status, await client.body(answer)) == (200, expected)


@pytest.mark.parametrize("head", [PREFACE, b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/3.0\r\nHost: h\r\n\r\n"])
@pytest.mark.parametrize("later", [False, True])
async def test_another_version_of_http_is_refused(served: Served, head: bytes, later: bool) -> None:
    client = await (kept_alive(served) if later else served.connect())
    await client.raw(head + SETTINGS + PLAIN % b"smuggled")
    assert (await ended(client)).status == 505
    await served.until(lambda: served.counters.connections == 0)


async def test_a_preface_behind_a_pipelined_request_is_refused(served: Served) -> None:
    client = await served.connect()
    await client.raw(PLAIN % b"first" + PREFACE + SETTINGS)
    assert await client.body(await client.answer()) == b"first"
    assert (await ended(client)).status == 505


@pytest.mark.parametrize(
    ("header", "body"), [("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")]
)
@pytest.mark.parametrize("path", ["/ws", "/elsewhere"])
@pytest.mark.parametrize("together", [True, False])
async def test_an_upgrade_with_a_body_is_refused_on_a_kept_alive_connection(
    served: Served, header: str, body: bytes, path: str, together: bool
) -> None:
    client = await kept_alive(served)
    name, _, value = header.partition(": ")
    head = client_request("h", path, KEY, [(name, value)])
    await client.raw(head + body + PLAIN % b"smuggled" if together else head)
    assert (await ended(client)).status == 400
    assert not served.door.requests, "nobody was asked"
    await served.until(lambda: served.counters.connections == 0)


async def test_an_upgrade_may_say_that_it_has_no_body(served: Served) -> None:
    client = await kept_alive(served)
    client.hears_pings = False
    assert (await client.upgrade("/ws", Content_Length="0")).status == 101
    await client.send(b"x")
    assert await client.event() == b"x"


@pytest.mark.parametrize("later", [False, True])
async def test_a_request_with_two_lengths_is_the_last(transport: str, mock_clock: MockClock, later: bool) -> None:
    """By the real application, which refuses it, and the real door in front of it."""
    clock = HandClock()
    async with (
        open_node(memory_stores(clock), clock) as node,
        serving(GatewayOptions(transport=transport), node.app) as served,
    ):
        client = await served.connect()
        if later:
            await client.raw(PLAIN % b"readyz")
            assert await client.body(await client.answer()) == b'{"ready":true}'
        head = b"POST /auth/logout HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.raw(head + b"0\r\n\r\n" + PLAIN % b"readyz")
        assert (await ended(client)).status == 400
        await served.until(lambda: served.counters.connections == 0)
