"""Executes a statement that the driver has prepared, on the connection's own socket.

It knows four messages of PostgreSQL's protocol, and nothing of asyncio.

A flush stands on the way of every message. Through the driver and the bridge it cost 280 us of CPU and, because each of
half a dozen hand-overs waits for a turn of the loop, 10 ms under load in which PostgreSQL had nothing to do. Here it is
one write and one read in trio's own loop.
"""

import contextlib
import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import trio

_CHUNK: Final = 65_536
_LONGEST_MESSAGE: Final = 1 << 30  # PostgreSQL's own limit of a value
_HEADER: Final = struct.Struct("!cI")
_EXECUTE_AND_SYNC: Final = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00S\x00\x00\x00\x04"
# Bind complete, and what a server may say at any time: parameter status, notice, notification.
_PASSED_OVER: Final = frozenset((b"2", b"S", b"N", b"A"))


class LineLostError(Exception):
    """The connection is gone, or says what nobody here understands; whether the statement took effect is not known."""


class Refusal(NamedTuple):
    """What the server said instead of an answer; the statement had no effect."""

    sqlstate: str
    constraint: str | None
    text: str


Rows = list[tuple[str, ...]]


class DirectLine:
    """A socket at the point between two statements. Values and columns travel as text; NULL is not among them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()  # what the server said behind an answer
        self._between = True  # no answer is owed: one that was given up would be taken for the next statement's
        sock.setblocking(False)

    async def execute(self, statement: str, values: Sequence[object]) -> Rows | Refusal:
        """Raises LineLostError; the caller then drops the connection. The answer is read to its end: the implied COMMIT
        is behind it. After a cancellation the line is lost, too."""
        if not self._between:
            raise LineLostError("the answer to an earlier statement was given up")
        self._between = False
        try:
            await self._send(_bind(statement, [str(value).encode() for value in values]) + _EXECUTE_AND_SYNC)
            return await self._answer()
        except (OSError, trio.ClosedResourceError) as error:
            raise LineLostError(f"{type(error).__name__}: {error}") from None

    def close(self) -> None:
        """Wakes whoever waits for an answer with LineLostError."""
        trio.lowlevel.notify_closing(self._sock)
        with contextlib.suppress(OSError):
            self._sock.close()

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)

    async def _answer(self) -> Rows | Refusal:
        buffer = self._buffer
        rows: Rows = []
        refusal: Refusal | None = None
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            with contextlib.suppress(BlockingIOError):
                data = self._sock.recv(_CHUNK)
                if not data:
                    raise LineLostError(refusal.text if refusal is not None else "the server closed the connection")
                buffer += data
            while (message := _next(buffer)) is not None:
                kind, body = message
                if kind == b"Z":
                    self._between = True
                    return refusal if refusal is not None else rows
                if kind == b"D":
                    rows.append(_columns(body))
                elif kind == b"E":
                    refusal = _refusal(body)
                elif kind not in _PASSED_OVER and kind != b"C":
                    raise LineLostError(f"unexpected message {kind!r}")


def _bind(statement: str, values: Sequence[bytes]) -> bytes:
    """Unnamed portal, all parameters and all results as text."""
    parts = [b"\x00", statement.encode(), b"\x00\x00\x00", len(values).to_bytes(2, "big")]
    for value in values:
        parts += (len(value).to_bytes(4, "big"), value)
    parts.append(b"\x00\x00")
    body = b"".join(parts)
    return _HEADER.pack(b"B", len(body) + 4) + body


def _next(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Take one whole message off the front."""
    if len(buffer) < _HEADER.size:
        return None
    kind, length = _HEADER.unpack_from(buffer)
    if not 4 <= length <= _LONGEST_MESSAGE:
        raise LineLostError(f"a message of {length} bytes")
    if len(buffer) < length + 1:
        return None
    body = bytes(buffer[_HEADER.size : length + 1])
    del buffer[: length + 1]
    return kind, body


def _columns(body: bytes) -> tuple[str, ...]:
    count, place = int.from_bytes(body[:2], "big"), 2
    columns = []
    for _ in range(count):
        length = int.from_bytes(body[place : place + 4], "big", signed=True)
        if length < 0:
            raise LineLostError("a NULL where none can be")
        columns.append(body[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return tuple(columns)


def _refusal(body: bytes) -> Refusal:
    fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\x00") if field}
    return Refusal(fields.get(b"C", "XX000"), fields.get(b"n"), fields.get(b"M", ""))
