"""The portable transport: the same sessions over trio-websocket, one task per connection; for systems without epoll,
and for TLS inside the process."""

import errno
import logging
import socket
from collections.abc import Sequence

import trio

from realtime.gateway.doorway import Doorway
from realtime.gateway.ending import reset_on_close
from realtime.gateway.http_side import HttpSide
from realtime.gateway.pumped import PumpedSide
from realtime.gateway.visit import Stranger, Visit, leave_politely

_log = logging.getLogger("kith.gateway")

_BACK_OFF_SECONDS = 0.1
_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Portable:
    """Accepts, and keeps each connection until it ends."""

    def __init__(self, doorway: Doorway, side: PumpedSide, http: HttpSide) -> None:
        self._doorway = doorway
        self._side = side
        self._http = http
        self._accepting = trio.CancelScope()
        if doorway.options.tls is not None:  # whatever the context was made to offer: HTTP/2 is not spoken
            doorway.options.tls.set_alpn_protocols(["http/1.1"])

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Accept for ever; connections outlive `stop_accepting` and end with this task."""
        async with trio.open_nursery() as connections:
            with self._accepting:
                async with trio.open_nursery() as acceptors:
                    for listener in listeners:
                        listener.setblocking(False)
                        acceptors.start_soon(self._accept, trio.socket.from_stdlib_socket(listener), connections)
            await trio.sleep_forever()

    def stop_accepting(self) -> None:
        self._accepting.cancel()

    async def _accept(self, listener: trio.socket.SocketType, connections: trio.Nursery) -> None:
        with listener:
            while True:
                try:
                    sock, _ = await listener.accept()
                except OSError as error:
                    self._doorway.counters.accept_errors[errno.errorcode.get(error.errno or 0, "unknown")] += 1
                    if error.errno in _OUT_OF:
                        await trio.sleep(_BACK_OFF_SECONDS)
                    continue
                self._doorway.counters.accepted += 1
                connections.start_soon(self._serve, sock)

    async def _serve(self, sock: trio.socket.SocketType) -> None:
        try:
            async with trio.SocketStream(sock) as stream:
                await self._admit(stream)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it went away, at whatever point
        except* Exception:
            self._doorway.counters.edge_errors += 1
            # One connection's failure must not end the nursery, that is, all others.
            _log.exception("a connection failed")

    async def _admit(self, stream: trio.SocketStream) -> None:
        admission = self._doorway.admission
        stranger = Stranger(self._side.clock())
        if not admission.arrive(stranger):
            await leave_politely(stream, self._doorway.overloaded("full"))
            return
        deadlines = self._side.deadlines
        deadlines.set(stranger, stranger.arrived_at + self._doorway.options.head_seconds)
        try:
            if not await Visit(self._doorway, self._side, self._http, stream, stranger).run():
                reset_on_close(stream.socket)
        finally:
            deadlines.clear(stranger)
            admission.known(stranger)
            admission.leave()
