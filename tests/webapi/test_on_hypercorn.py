"""The web app behind the server it runs on, over real sockets: what only the two together can get wrong."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio import serve

from tests.clocks import HandClock
from tests.webapi.node import Node, Person, memory_stores, open_node

MEBIBYTE = 1024 * 1024


class Line:
    """A connection on which one writes HTTP by hand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._read = b""

    async def send(self, text: str, body: bytes = b"") -> None:
        await self.stream.send_all(text.replace("\n", "\r\n").encode() + body)

    async def answer(self, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the next answer."""
        with trio.fail_after(5):
            while b"\r\n\r\n" not in self._read:
                await self._more()
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers.get("content-length", "0")) if has_body else 0
            while len(self._read) < size:
                await self._more()
            body, self._read = self._read[:size], self._read[size:]
        return int(first.split(" ")[1]), headers, body

    async def is_closed(self) -> bool:
        with trio.fail_after(5):
            try:
                return self._read == b"" and await self.stream.receive_some(1) == b""
            except trio.BrokenResourceError:
                return True

    async def _more(self) -> None:
        piece = await self.stream.receive_some(65_536)
        if not piece:
            raise AssertionError(f"closed after {self._read!r}")
        self._read += piece


class Server:
    def __init__(self, node: Node, port: int) -> None:
        self.node = node
        self._port = port

    async def line(self) -> Line:
        return Line(await trio.open_tcp_stream("127.0.0.1", self._port))


@pytest.fixture
async def server(clock: HandClock) -> AsyncIterator[Server]:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = None
    async with open_node(memory_stores(clock), clock) as node, trio.open_nursery() as nursery:
        run = partial(serve, node.app, config)
        binds: list[str] = await nursery.start(run)
        yield Server(node, int(binds[0].rsplit(":", 1)[1]))
        nursery.cancel_scope.cancel()


@pytest.fixture
async def person(server: Server) -> Person:
    return await server.node.person("anna")


async def test_many_requests_on_one_connection(server: Server, person: Person) -> None:
    line = await server.line()
    for _ in range(3):
        await line.send(f"GET /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\n\n")
        status, headers, body = await line.answer()
        assert (status, headers["content-type"]) == (200, "application/json")
        assert person.id.encode() in body
        assert "server" not in headers or "kith" not in headers["server"].lower()


async def test_a_head_has_the_length_and_no_body(server: Server) -> None:
    line = await server.line()
    await line.send("HEAD /readyz HTTP/1.1\nHost: x\n\nGET /readyz HTTP/1.1\nHost: x\n\n")
    status, headers, _ = await line.answer(has_body=False)
    assert (status, headers["content-length"]) == (200, "14")
    assert (await line.answer())[2] == b'{"ready":true}'


async def test_a_204_has_neither(server: Server, person: Person) -> None:
    line = await server.line()
    await line.send(f"POST /auth/logout HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\nContent-Length: 0\n\n")
    status, headers, body = await line.answer()
    assert (status, body) == (204, b"")
    assert "content-length" not in headers
    assert "transfer-encoding" not in headers
    await line.send("GET /readyz HTTP/1.1\nHost: x\n\n")
    assert (await line.answer())[0] == 200


@pytest.mark.parametrize("pause", [False, True])
async def test_a_body_in_chunks(server: Server, person: Person, pause: bool) -> None:
    line = await server.line()
    head = f"PATCH /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\nContent-Type: application/json\n"
    await line.send(head + "Transfer-Encoding: chunked\n\n")
    for piece in (b'{"bi', b'o":', b'"chunks"}'):
        await line.stream.send_all(b"%x\r\n%s\r\n" % (len(piece), piece))
        if pause:
            await trio.testing.wait_all_tasks_blocked(0.001)
    await line.stream.send_all(b"0\r\n\r\n")
    status, _, body = await line.answer()
    assert status == 200
    assert b'"bio":"chunks"' in body


async def test_a_body_that_was_announced_too_large_is_refused_at_once(server: Server, person: Person) -> None:
    line = await server.line()
    head = f"PATCH /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\nContent-Type: application/json\n"
    await line.send(head + f"Content-Length: {100 * MEBIBYTE}\n\n", b"x" * 1_000)
    status, _, body = await line.answer()
    assert (status, b"PAYLOAD_TOO_LARGE" in body) == (413, True)


async def test_a_body_that_grows_too_large_is_refused(server: Server, person: Person) -> None:
    """Nobody may wait for the other: the app for the end of the body, the server for room in the app's queue."""
    line = await server.line()
    head = f"PATCH /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\nContent-Type: application/json\n"
    await line.send(head + "Transfer-Encoding: chunked\n\n")

    async def write() -> None:
        for _ in range(200):
            try:
                await line.stream.send_all(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            except trio.BrokenResourceError:  # closed while we were writing; the answer was read before
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert (await line.answer())[0] == 413
        nursery.cancel_scope.cancel()


async def test_a_stranger_who_sends_a_large_body_is_told_and_let_go(server: Server) -> None:
    for body in (b"x" * 100, b"x" * MEBIBYTE, b"x" * (3 * MEBIBYTE)):
        line = await server.line()
        await line.send(f"PATCH /users/me HTTP/1.1\nHost: x\nContent-Length: {len(body)}\n\n", body[: MEBIBYTE // 2])
        assert (await line.answer())[0] == 401
        await line.stream.aclose()
    line = await server.line()
    await line.send("GET /readyz HTTP/1.1\nHost: x\n\n")
    assert (await line.answer())[0] == 200


async def test_a_body_in_many_small_pieces_blocks_nobody(server: Server) -> None:
    """More pieces than the server's queue holds, to a route that refuses before it reads: both must come to an end."""
    line = await server.line()
    await line.send("PATCH /users/me HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n", b"1\r\nx\r\n" * 500)
    assert (await line.answer())[0] == 401
    assert await line.is_closed()


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(server: Server, person: Person) -> None:
    for _ in range(20):
        line = await server.line()
        head = f"PATCH /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\n"
        await line.send(head + "Content-Type: application/json\nContent-Length: 1000\n\n", b'{"bio":')
        await line.stream.aclose()
    line = await server.line()
    await line.send(f"GET /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\n\n")
    assert b'"bio":null' in (await line.answer())[2]


async def test_expect_100_continue(server: Server, person: Person) -> None:
    line = await server.line()
    head = f"PATCH /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\nContent-Type: application/json\n"
    await line.send(head + "Content-Length: 13\nExpect: 100-continue\n\n")
    assert (await line.answer(has_body=False))[0] == 100
    await line.send("", b'{"bio":"wait"}'[:13])
    status, _, body = await line.answer()
    assert (status, b"INVALID_PAYLOAD" in body) == (400, True)


@pytest.mark.parametrize(
    "nonsense",
    [
        "GET / HTTP/1.1\n\n",
        "NONSENSE\n\n",
        "GET /users/me HTTP/1.1\nHost: x\nContent-Length: many\n\n",
        "GET /\x01 HTTP/1.1\nHost: x\n\n",
        "GET /readyz HTTP/1.1\nHost: x\nBad Header: x\n\n",
    ],
)
async def test_what_is_no_http_is_answered_by_the_server_and_harms_nobody(server: Server, nonsense: str) -> None:
    line = await server.line()
    await line.send(nonsense)
    assert (await line.answer())[0] in (400, 404)
    line = await server.line()
    await line.send("GET /readyz HTTP/1.1\nHost: x\n\n")
    assert (await line.answer())[0] == 200


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read(
    server: Server, person: Person, earlier: int
) -> None:
    """The server's parser takes the chunks and is silent about the length, by which a proxy may have gone."""
    line = await server.line()
    for _ in range(earlier):
        await line.send("GET /readyz HTTP/1.1\nHost: x\n\n")
        assert (await line.answer())[0] == 200
    head = f"POST /auth/logout HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\nContent-Length: 5\n"
    smuggled = f"GET /users/me HTTP/1.1\nHost: x\nAuthorization: Bearer {person.token}\n\n"
    await line.send(head + "Transfer-Encoding: chunked\n\n0\n\n" + smuggled)
    status, headers, body = await line.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert b"INVALID_PAYLOAD" in body
    assert await line.is_closed()
