"""The HTTP side: hypercorn serves an ASGI application on connections that the gateway accepted. Knows no route."""

import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState

from realtime.gateway.admission import Admission
from realtime.gateway.arrival import Arrival
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.handed_stream import HandedStream, face_of
from realtime.gateway.options import GatewayOptions
from realtime.gateway.wakeup import WakeUp
from realtime.wire.frames import MESSAGE_LIMIT_BYTES

_log = logging.getLogger("kith.http")

# The kernel gives a connection up when what we sent was not acknowledged for so long: a dead peer of a bridged
# WebSocket is found by hypercorn's pings plus this, because ASGI tells no pongs.
_USER_TIMEOUT_MILLISECONDS = 40_000


def hypercorn_config(options: GatewayOptions) -> Config:
    config = Config()
    config.errorlog = _log
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = options.http_keep_alive_seconds
    config.websocket_max_message_size = MESSAGE_LIMIT_BYTES
    config.websocket_ping_interval = options.heartbeat_seconds
    return config


class HttpSide:
    """Owns the HTTP connections and the application's lifespan."""

    def __init__(
        self, app: ASGIFramework, options: GatewayOptions, counters: GatewayCounters, admission: Admission
    ) -> None:
        self._options = options
        self._counters = counters
        self._admission = admission
        self._config = hypercorn_config(options)
        self._app = ASGIWrapper(app)
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        self._streams: set[HandedStream] = set()
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
                while self._streams:
                    await self._one_ended.wait()
            self._nursery = None
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel()
        self._stopped.set()

    def take(self, sock: socket.socket, data: bytes, arrival: Arrival, address_key: str) -> None:
        """From the epoll edge: the socket is no longer registered there."""
        face = face_of(sock, arrival.remote)
        if hasattr(socket, "TCP_USER_TIMEOUT") and face.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MILLISECONDS)
        self.shrink(sock)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        http = HandedStream(stream, data, face, self._options.http_write_seconds, self.stalled)
        if self._nursery is None:
            sock.close()
            self._give_back(address_key)
        else:
            self._nursery.start_soon(self._serve_and_give_back, http, address_key)

    def shrink(self, sock: socket.socket | trio.socket.SocketType) -> None:
        """A send buffer of the size asked for, if one was."""
        if self._options.http_send_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._options.http_send_buffer_bytes)

    def stalled(self) -> None:
        self._counters.http_write_timeouts += 1

    async def serve(self, stream: HandedStream) -> None:
        """One connection, until it ends."""
        self._streams.add(stream)
        try:
            # hypercorn is written for its own streams; ours has everything that it uses of them.
            server: Any = partial(
                TCPServer, self._app, self._config, self._context, ConnectionState(self._state.copy())
            )
            await server(stream)
        except Exception:
            # One connection's failure must not end the nursery, that is, all others.
            _log.exception("an HTTP connection failed")
        finally:
            self._streams.discard(stream)
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

    async def drain(self, seconds: float) -> None:
        """Let requests finish for so long, then cut what is left, then shut the application down."""
        self._stopping.set()
        with trio.move_on_after(seconds):
            await self._stopped.wait()
            return
        for stream in list(self._streams):
            await stream.abort()
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
