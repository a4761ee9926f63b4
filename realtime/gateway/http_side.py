"""The HTTP side: hypercorn serves an ASGI application on connections that the gateway accepted. Knows no route."""

import logging
import socket
from collections.abc import Callable
from typing import Any

import h11
import trio
import wsproto.utilities
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState

from realtime.gateway.arrival import Arrival
from realtime.gateway.deadlines import Deadlines
from realtime.gateway.doorway import Doorway
from realtime.gateway.handed_stream import HandedStream, face_of
from realtime.gateway.http_connection import HttpConnection, HttpService, Idleness
from realtime.gateway.wakeup import WakeUp
from realtime.wire.frames import MESSAGE_LIMIT_BYTES

_log = logging.getLogger("kith.http")

# A peer that is gone without a word: the kernel asks after so many seconds of silence, so often, and gives up. A
# bridged WebSocket has nothing else, for ASGI tells no pongs (and hypercorn's own ping task outlives its connection by
# an interval).
_KEEP_ALIVE = (("TCP_KEEPIDLE", 25), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 2), ("TCP_USER_TIMEOUT", 40_000))


def hypercorn_config() -> Config:
    config = Config()
    config.errorlog = _log
    config.accesslog = None
    config.include_server_header = False
    config.websocket_max_message_size = MESSAGE_LIMIT_BYTES
    return config


class HttpSide:
    """Owns the HTTP connections and the application's lifespan."""

    def __init__(self, app: ASGIFramework, doorway: Doorway, deadlines: Deadlines, clock: Callable[[], float]) -> None:
        options = doorway.options
        self._options = options
        self._counters = doorway.counters
        self._admission = doorway.admission
        self._deadlines = deadlines
        self._clock = clock
        self._config = hypercorn_config()
        self._app = ASGIWrapper(app)
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        self._connections: dict[HandedStream, Idleness] = {}
        self._idle: dict[Idleness, None] = {}  # the longest idle first
        doorway.shed_idle_http = self.shed_idle
        self._nursery: trio.Nursery | None = None
        self._one_ended = WakeUp()
        self._stopping = trio.Event()
        self._stopped = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the application, serve until `drain`, shut the application down."""
        lifespan = Lifespan(self._app, self._config, self._state)
        async with trio.open_nursery() as lifespan_nursery:
            await lifespan_nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await self._stopping.wait()
                # Idle connections close, the others finish the request they are at.
                await self._context.terminated.set()
                for idleness in list(self._connections.values()):
                    if idleness.idle:
                        idleness.finish()
                while self._connections:
                    await self._one_ended.wait()
            self._nursery = None
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel()
        self._stopped.set()

    def take(self, sock: socket.socket, data: bytes, arrival: Arrival, address_key: str) -> None:
        """From the epoll edge: the socket is no longer registered there."""
        face = face_of(sock, arrival.remote)
        self.prepare(sock)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        http = HandedStream(stream, data, face, self._options.http_write_seconds, self.stalled)
        if self._nursery is None:
            sock.close()
            self._give_back(address_key)
        else:
            self._nursery.start_soon(self._serve_and_give_back, http, address_key)

    def prepare(self, sock: socket.socket | trio.socket.SocketType) -> None:
        """What the HTTP server's sockets have and the gateway's do not need."""
        if self._options.http_send_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._options.http_send_buffer_bytes)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE:
                if hasattr(socket, name):  # macOS and Windows have only some of them
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def shed_idle(self) -> bool:
        """All places are taken: end the connection that has been idle longest, if it has been for a while."""
        longest = next(iter(self._idle), None)
        if longest is None or self._clock() - longest.since < self._options.http_idle_grace_seconds:
            return False
        longest.finish()
        self._counters.http_shed += 1
        return True

    def stalled(self) -> None:
        self._counters.http_write_timeouts += 1

    async def serve(self, stream: HandedStream) -> None:
        """One connection, until it ends."""
        idleness = Idleness(stream, self._deadlines, self._clock, self._options.http_keep_alive_seconds, self._idle)
        self._connections[stream] = idleness
        service = HttpService(self._app, self._config, self._context, self._state)
        try:
            await HttpConnection(service, stream, idleness).run()
        except* (h11.ProtocolError, wsproto.utilities.ProtocolError):
            # hypercorn answers some broken requests twice and trips over the second answer: the client's fault.
            self._counters.http_violations += 1
        except* Exception:
            # One connection's failure must not end the nursery, that is, all others.
            _log.exception("an HTTP connection failed")
        finally:
            del self._connections[stream]
            self._one_ended.ring()

    async def _serve_and_give_back(self, stream: HandedStream, address_key: str) -> None:
        try:
            await self.serve(stream)
        finally:
            self._give_back(address_key)

    def _give_back(self, address_key: str) -> None:
        self._admission.leave_http()
        self._admission.leave_address(address_key)
        self._admission.leave()

    def finish(self) -> None:
        """No request but those that have begun."""
        self._stopping.set()

    async def drain(self, seconds: float) -> None:
        """Let requests finish for so long, then cut what is left, then shut the application down."""
        self.finish()
        with trio.move_on_after(seconds):
            await self._stopped.wait()
            return
        for stream in list(self._connections):
            stream.cut()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        await self._stopped.wait()


def no_app() -> ASGIFramework:
    """What stands behind a gateway without an application: nothing is found there."""

    async def nothing(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            message = await receive()
            await send({"type": f"{message['type']}.complete"})

    return nothing
