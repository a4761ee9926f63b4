"""One connection of the portable transport, from its first byte to its last."""

from dataclasses import dataclass, field

import trio

from realtime.gateway.address import normal
from realtime.gateway.arrival import Arrival, Destination, Knock, ToHttp, Turned
from realtime.gateway.deadlines import NOT_SET
from realtime.gateway.doorway import Doorway
from realtime.gateway.handed_stream import HandedStream, TlsHandedStream, face_of
from realtime.gateway.http_side import HttpSide
from realtime.gateway.pumped import PumpedSide
from realtime.gateway.refusals import in_http
from realtime.gateway.trio_websocket_pipe import TrioWebsocketPipe
from realtime.link import Refused

_RECV_BYTES = 16 * 1024
_LINGER_SECONDS = 2.0

Stream = trio.SocketStream | trio.SSLStream[HandedStream]


@dataclass(eq=False)
class Stranger:
    """A connection whose head is being read; it ends by cancelling the wait for its bytes."""

    arrived_at: float
    bucket: int = NOT_SET
    was_shed: bool = False
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def shed(self) -> None:
        self.was_shed = True
        self.scope.cancel()

    def due(self, _now: float) -> None:
        self.scope.cancel()

    def stop(self) -> None:
        self.scope.cancel()


class Visit:
    """`run` returns False when the connection does not deserve a polite end."""

    def __init__(
        self, doorway: Doorway, side: PumpedSide, http: HttpSide, socket_stream: trio.SocketStream, stranger: Stranger
    ) -> None:
        self._doorway = doorway
        self._side = side
        self._http = http
        self._socket_stream = socket_stream
        self._stranger = stranger
        peer = socket_stream.socket.getpeername()
        self._peer = normal(str(peer[0])) if isinstance(peer, tuple) else "unix"
        self._stream: Stream = socket_stream

    async def run(self) -> bool:
        doorway = self._doorway
        arrival = doorway.arrival(self._peer, secure=doorway.options.tls is not None)
        destination: Destination | None = None
        with self._stranger.scope:
            destination = await self._find_out(arrival)
            if destination is None:
                return True
        if destination is None:
            if self._stranger.was_shed:
                return await self._leave(doorway.overloaded("shed"))
            destination = Turned(408, "The request head did not come in time")
        if isinstance(destination, Turned):
            return await self._leave(doorway.turn_away(destination))
        remote = destination.request.remote if isinstance(destination, Knock) else arrival.remote
        key = doorway.admission.claim_address(remote)
        if key is None:
            return await self._leave(doorway.overloaded("address"))
        try:
            if isinstance(destination, Knock):
                return await self._knock(destination, arrival)
            return await self._serve_http(destination, arrival)
        finally:
            doorway.admission.leave_address(key)

    async def _find_out(self, arrival: Arrival) -> Destination | None:
        """The layers in their order: PROXY, TLS, HTTP. None: it went away."""
        tls = self._doorway.options.tls
        if tls is not None:
            rest: bytes | Turned | None = b""
            if arrival.expects_proxy:
                rest = None
                while rest is None:
                    read = await self._socket_stream.receive_some(_RECV_BYTES)
                    if not read:
                        return None
                    rest = arrival.feed_proxy(bytes(read))
            if isinstance(rest, Turned):
                return rest
            stream = trio.SSLStream(self._handed(rest or b"", arrival), tls, server_side=True, https_compatible=True)
            await stream.do_handshake()
            self._stream = stream
        while True:
            data = await self._stream.receive_some(_RECV_BYTES)
            if not data:
                return None
            destination = arrival.feed(bytes(data))
            if destination is not None:
                return destination

    def _handed(self, data: bytes, arrival: Arrival) -> HandedStream:
        face = face_of(self._socket_stream.socket, arrival.remote)
        kind = HandedStream if self._stream is self._socket_stream else TlsHandedStream
        return kind(self._stream, data, face, self._doorway.options.http_write_seconds, self._http.stalled)

    async def _leave(self, answer: bytes) -> bool:
        """Turned away: a stranger no more, and no deadline but the lingering's."""
        self._doorway.admission.known(self._stranger)
        self._side.deadlines.clear(self._stranger)
        await leave_politely(self._stream, answer)
        return True

    async def _serve_http(self, to_http: ToHttp, arrival: Arrival) -> bool:
        admission = self._doorway.admission
        answer = self._doorway.enter_http()
        if answer is not None:
            return await self._leave(answer)
        admission.known(self._stranger)
        self._side.deadlines.clear(self._stranger)
        self._http.prepare(self._socket_stream.socket)
        try:
            await self._http.serve(self._handed(to_http.data, arrival))
        finally:
            admission.leave_http()
        return True

    async def _knock(self, knock: Knock, arrival: Arrival) -> bool:
        answer = self._doorway.answer(knock.request)
        if isinstance(answer, Refused):
            return await self._leave(in_http(answer))
        pipe = TrioWebsocketPipe(self._handed(b"", arrival), knock)
        polite = True
        async with trio.open_nursery() as nursery:
            # A second parser reads the head; should it judge otherwise than ours, the deadline of the head is still on.
            self._stranger.scope = trio.CancelScope()
            with self._stranger.scope:
                await pipe.open(nursery, answer.subprotocol)
            if pipe.is_open:
                self._side.deadlines.clear(self._stranger)
                polite = await self._side.serve(answer, pipe, self._stranger)
                if polite:
                    with trio.move_on_after(_LINGER_SECONDS):
                        await pipe.ended()
            nursery.cancel_scope.cancel()
        if polite and not pipe.heard_close:
            await leave_politely(self._stream, b"")
        return polite


async def leave_politely(stream: Stream, answer: bytes) -> None:
    """Closing at once would reset the connection while the client still sends, and with it the answer."""
    with trio.move_on_after(_LINGER_SECONDS):
        try:
            if answer:
                await stream.send_all(answer)
            if isinstance(stream, trio.SSLStream):
                await stream.aclose()
                return
            await stream.send_eof()
            while await stream.receive_some(_RECV_BYTES):
                pass  # whatever it still says is thrown away
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
