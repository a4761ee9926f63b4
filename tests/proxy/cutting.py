"""A proxy between the journal and PostgreSQL that cuts the connection where a test wants it cut.

It reads the client's messages (PostgreSQL protocol 3) just far enough to know when a statement is executed.
"""

import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

import trio

_CHUNK = 65_536


class Fault(enum.Enum):
    NONE = "the statement passes"
    BEFORE = "cut before the statement reaches the server"
    DURING = "the statement reaches the server, the connection is cut at once"
    AFTER = "cut when the statement has taken effect, before its answer reaches the client"


Plan = Callable[[], Fault]


class CuttingProxy:
    """Asks its plan at each execution of a statement what shall become of it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._socket = query.get("host", "")
        self._host, self._port = parts.hostname or "127.0.0.1", int(query.get("port", parts.port or 5432))
        self._parts = parts
        self.plan: Plan = lambda: Fault.NONE
        self.cuts: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(_serve, self._handle)
            port = listener.socket.getsockname()[1]
            user = self._parts.netloc.rpartition("@")[0]
            place = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"
            # No TLS: a proxy that could read it would be a worse one.
            self.url = urlunsplit(self._parts._replace(netloc=place, query="sslmode=disable"))
            yield
            nursery.cancel_scope.cancel()

    async def _upstream(self) -> trio.SocketStream:
        if self._socket.startswith("/"):
            return await trio.open_unix_socket(f"{self._socket}/.s.PGSQL.{self._port}")
        return await trio.open_tcp_stream(self._host, self._port)

    async def _handle(self, client: trio.SocketStream) -> None:
        try:
            server = await self._upstream()
        except OSError:
            await trio.aclose_forcefully(client)
            return
        line = _Line(self, client, server)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.to_server, nursery.cancel_scope)
                nursery.start_soon(line.to_client, nursery.cancel_scope)
        finally:
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(server)


async def _serve(handle: Callable[[trio.SocketStream], object], *, task_status: trio.TaskStatus[object]) -> None:
    await trio.serve_tcp(handle, 0, host="127.0.0.1", task_status=task_status)  # type: ignore[arg-type]


class _Line:
    """One connection through the proxy."""

    def __init__(self, proxy: CuttingProxy, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._swallow = False

    async def to_server(self, scope: trio.CancelScope) -> None:
        pending = b""
        started = False
        while True:
            try:
                data = await self._client.receive_some(_CHUNK)
            except trio.BrokenResourceError:
                break
            if not data:
                break
            pending += data
            whole, executes, started, pending = _whole_messages(pending, started)
            fault = self._proxy.plan() if executes else Fault.NONE
            self._proxy.cuts[fault] += 1 if executes else 0
            if fault is Fault.BEFORE:
                break
            if fault is Fault.AFTER:
                self._swallow = True
            try:
                await self._server.send_all(whole)
            except trio.BrokenResourceError:
                break
            if fault is Fault.DURING:
                break
        scope.cancel()

    async def to_client(self, scope: trio.CancelScope) -> None:
        swallowed = b""
        while True:
            try:
                data = await self._server.receive_some(_CHUNK)
                if not data:
                    break
                if self._swallow:
                    swallowed += data
                    if _ends_ready(swallowed):
                        break
                    continue
                await self._client.send_all(data)
            except trio.BrokenResourceError:
                break
        scope.cancel()


def _whole_messages(data: bytes, started: bool) -> tuple[bytes, bool, bool, bytes]:
    """(messages that are complete, does one execute a statement, did the greeting pass, the rest)."""
    place, executes = 0, False
    while True:
        header = 5 if started else 4
        if len(data) - place < header:
            break
        size = int.from_bytes(data[place + header - 4 : place + header], "big") + (1 if started else 0)
        if len(data) - place < size:
            break
        if started and data[place : place + 1] == b"E":
            executes = True
        started = True
        place += size
    return data[:place], executes, started, data[place:]


def _ends_ready(data: bytes) -> bool:
    """Whether the last whole message is ReadyForQuery: the implied COMMIT is behind it."""
    place, kind = 0, b""
    while len(data) - place >= 5:
        size = int.from_bytes(data[place + 1 : place + 5], "big") + 1
        if len(data) - place < size:
            return False
        kind = data[place : place + 1]
        place += size
    return kind == b"Z"
