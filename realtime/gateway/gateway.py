"""The gateway of a node: one port for WebSockets and HTTP, by whichever transport the system has."""

import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Sequence

import trio
from hypercorn.typing import ASGIFramework

from actors.shapes.frames import Frame
from realtime.gateway.admission import Admission
from realtime.gateway.asgi_sockets import AsgiSockets
from realtime.gateway.connection import Connection
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.deadlines import Deadlines, Timed
from realtime.gateway.descriptors import raise_descriptor_limit
from realtime.gateway.doorway import Doorway
from realtime.gateway.edge import Edge
from realtime.gateway.http_side import HttpSide, no_app
from realtime.gateway.options import GatewayOptions
from realtime.gateway.portable import Portable
from realtime.gateway.pumped import PumpedLink, PumpedSide
from realtime.gateway.refusals import Refusals
from realtime.link import Link, Reception
from realtime.wire.close import CloseCode

_log = logging.getLogger("kith.gateway")

_LOOK_SECONDS = 0.02


class Timekeeping:
    """The clocks handed in: monotonic seconds, wall time as text for error bodies, and where delivery latencies go."""

    def __init__(
        self,
        clock: Callable[[], float],
        timestamp: Callable[[], str],
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.clock = clock
        self.timestamp = timestamp
        self.observe = observe


class Gateway:
    """Made once; `serve` runs until `aclose`."""

    def __init__(
        self, reception: Reception, options: GatewayOptions, time: Timekeeping, app: ASGIFramework | None = None
    ) -> None:
        self.options = options
        self.counters = GatewayCounters()
        self._time = time
        room = max(1, raise_descriptor_limit() - options.descriptor_reserve)
        self.admission = Admission(options, self.counters, time.clock, min(options.max_connections, room))
        refusals = Refusals(time.timestamp, options.public_is_https)
        self._doorway = Doorway(reception, options, self.counters, self.admission, refusals)
        self._deadlines = Deadlines(options.sweep_seconds, time.clock(), self._failed)
        self._side = PumpedSide(self._doorway, self._deadlines, time.clock, time.observe)
        sockets = AsgiSockets(app or no_app(), self._doorway, self._side)
        self._http = HttpSide(sockets, self._doorway, self._deadlines, time.clock)
        self._edge: Edge | None = None
        self._portable: Portable | None = None
        if takes_epoll(options):
            self._edge = Edge(self._doorway, self._deadlines, time.clock, time.observe, self._http.take)
        else:
            self._portable = Portable(self._doorway, self._side, self._http)
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._quiet = trio.Event()  # stopping, and the last WebSocket is gone

    async def serve(
        self, listeners: Sequence[socket.socket], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve on these listening sockets, which the gateway closes when it stops accepting."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._http.run)
                with self._scope:
                    async with trio.open_nursery() as sockets:
                        self._start(listeners, sockets)
                        task_status.started()
        finally:
            if self._edge is not None:
                self._edge.stop()
            self._side.settle()
            self._ended.set()

    def _start(self, listeners: Sequence[socket.socket], nursery: trio.Nursery) -> None:
        nursery.start_soon(self._side.run)
        nursery.start_soon(self._sweep)
        if self._edge is not None:
            for listener in listeners:
                self._edge.listen(listener)
            nursery.start_soon(self._edge.run)
            nursery.start_soon(self._edge.write)
        elif self._portable is not None:
            nursery.start_soon(self._portable.run, listeners)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(self.options.sweep_seconds)
            self.sweep()

    def sweep(self) -> None:
        """Everything whose time has come: heartbeats, hellos, goodbyes, heads."""
        now = self._time.clock()
        if self._edge is not None:
            self._edge.now = now
        self._deadlines.sweep(now)
        if self._edge is not None:
            self._edge.swept(now)
        if self._doorway.draining and not self.counters.websockets:
            self._quiet.set()

    def _failed(self, item: Timed) -> None:
        """A bug of ours met one connection's deadline; the sweep serves all of them and goes on."""
        self.counters.edge_errors += 1
        _log.exception("the sweep failed on a connection, which is closed")
        with contextlib.suppress(Exception):
            item.stop()

    def links(self) -> list[Connection | PumpedLink]:
        """All WebSockets that are not on their way out."""
        links: list[Connection | PumpedLink] = [link for link in self._side.links() if link.is_open]
        if self._edge is not None:
            links += [link for link in self._edge.links() if link.is_open]
        return links

    def stop_accepting(self) -> None:
        """No new connections; upgrades on old ones are answered 503."""
        self._doorway.draining = True
        if self._edge is not None:
            self._edge.stop_accepting()
        if self._portable is not None:
            self._portable.stop_accepting()

    async def hand_over(self, seconds: float) -> None:
        """Let the other workers have whoever knocks, and bring to an end what has begun here: who was let in a moment
        ago gets his answer, and requests that run are finished. Who is slower than `seconds` meets the closed door."""
        if self._edge is not None:
            self._edge.stop_accepting()
        if self._portable is not None:
            self._portable.stop_accepting()
        with trio.move_on_after(seconds / 2):
            while self._somebody_arrives():  # noqa: ASYNC110 - once in the life of a process
                await trio.sleep(_LOOK_SECONDS)
        self._doorway.http_is_open = False
        self._http.finish()
        with trio.move_on_after(seconds / 2):
            while self.counters.http_connections:  # noqa: ASYNC110
                await trio.sleep(_LOOK_SECONDS)

    def _somebody_arrives(self) -> bool:
        """Whether somebody was let in who has not said yet what he wants."""
        if self._edge is not None:
            return self._edge.newcomers
        return self.counters.connections > self.counters.websockets + self.counters.http_connections

    def going_away(
        self, frame_for: Callable[[Link], Frame | None], most: int | None = None, code: int = CloseCode.RESTART
    ) -> int:
        """Tell up to `most` links to go, each with its own frame before the close; returns how many are left.

        The caller staggers: a thousand clients that come back at once are a storm somewhere else.
        """
        links = self.links()
        for link in links[:most]:
            link.close(code, "going away", frame_for(link))
        return len(links) - len(links[:most])

    async def aclose(self, seconds: float) -> None:
        """Wait for goodbyes and requests for at most so long, then cut."""
        self.stop_accepting()
        self._doorway.http_is_open = False
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._http.drain, seconds)
                await self._quiet.wait()
        await self._http.drain(0)
        self._scope.cancel()
        await self._ended.wait()


def takes_epoll(options: GatewayOptions) -> bool:
    """The epoll edge wherever it can run: it does five times the work of the other."""
    if options.transport == "auto":
        return sys.platform == "linux" and options.tls is None
    return options.transport == "epoll"
