"""A connection handed to other protocol code: gives back the bytes already read, and puts a deadline on every write."""

import contextlib
import socket
from collections.abc import Callable
from typing import NamedTuple

import trio

from realtime.gateway.address import parse_address

# A write is cut into pieces, each with its own deadline: 64 KiB in 30 s is a client that still reads, 10 MB in one
# piece would tell nothing.
_PIECE_BYTES = 64 * 1024


class SocketFace(NamedTuple):
    """The part of a socket the HTTP server looks at: whom it is connected to, as a trusted proxy told it."""

    family: int
    peer: tuple[str, int]
    own: tuple[str, int]

    def getpeername(self) -> tuple[str, int]:
        return self.peer

    def getsockname(self) -> tuple[str, int]:
        return self.own


def face_of(sock: socket.socket | trio.socket.SocketType, remote: str) -> SocketFace:
    """`remote` may be another address than the socket's own peer; then its port is not known."""
    own, peer = ("", 0), ("", 0)
    with contextlib.suppress(OSError, IndexError):  # reset meanwhile, or no IP socket
        own = tuple(sock.getsockname()[:2])
        peer = tuple(sock.getpeername()[:2])
    address = parse_address(remote)
    if address is None:
        return SocketFace(socket.AF_UNIX, peer, own)
    port = peer[1] if parse_address(str(peer[0])) == address else 0
    return SocketFace(socket.AF_INET if address.version == 4 else socket.AF_INET6, (str(address), port), own)


class HandedStream(trio.abc.HalfCloseableStream):
    """What hypercorn or trio-websocket reads from and writes to."""

    secure = False

    def __init__(
        self,
        stream: "trio.SocketStream | trio.SSLStream[HandedStream]",
        data: bytes,
        face: SocketFace,
        write_seconds: float,
        stalled: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._data = data
        self._write_seconds = write_seconds
        self._stalled = stalled
        self._finished = False
        self.socket = face  # hypercorn asks its stream for this attribute

    @property
    def _raw(self) -> trio.socket.SocketType:
        if isinstance(self._stream, trio.SSLStream):
            return self._stream.transport_stream._raw
        return self._stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._data and not self._finished:
            await trio.lowlevel.checkpoint()
            given = self._data[:max_bytes]
            self._data = self._data[len(given) :]
            return given
        data = bytes(await self._stream.receive_some(max_bytes))
        while self._finished and data:  # nobody asks any more; read so that closing is no reset
            data = bytes(await self._stream.receive_some(max_bytes))
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """hypercorn calls this inside a shielded scope without a deadline, so a client that stops reading would be kept
        for ever."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            with trio.move_on_after(self._write_seconds) as scope:
                await self._stream.send_all(view[start : start + _PIECE_BYTES])
            if scope.cancelled_caught:
                self._stalled()
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError(f"the client took no 64 KiB within {self._write_seconds} s")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if isinstance(self._stream, trio.SSLStream):
            raise trio.ClosedResourceError  # TLS has no half-close; hypercorn goes on with aclose
        await self._stream.send_eof()

    async def aclose(self) -> None:
        # TLS says goodbye in aclose, which is a write like any other.
        with trio.move_on_after(self._write_seconds):
            await self._stream.aclose()

    def finish(self) -> None:
        """Nothing more will be sent, and what comes is thrown away. Awaits nothing, so nobody's cancellation undoes
        it."""
        self._finished = True
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End it at once; whoever waits on it is told."""
        self._raw.close()


class TlsHandedStream(HandedStream):
    """The same above TLS, so the scheme is https."""

    secure = True
