"""The line between the supervisor and one worker: small messages over a pair of sockets, in both directions.

Its end of file is news, too: for a worker that the supervisor has gone, however it went.
"""

from typing import Final

import msgspec
import trio

LONGEST_BYTES: Final = 64 * 1024 * 1024
_SIZE_BYTES: Final = 4
# What waits for a worker that does not read: more than that is not sent, for it would be of no use any more.
_MOST_WAITING: Final = 64


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """Worker: I serve."""


class Beat(msgspec.Struct, tag="beat", frozen=True):
    """Supervisor: are you there? So many are, and the one with the fewest connections has so many."""

    live: int
    fewest: int


class HereIAm(msgspec.Struct, tag="here", frozen=True):
    """Worker: the answer to a beat, and how many connections I have."""

    connections: int


class AskNumbers(msgspec.Struct, tag="ask", frozen=True):
    """Worker: I was asked for the numbers of all."""

    ticket: int


class GiveNumbers(msgspec.Struct, tag="give", frozen=True):
    """Supervisor: tell me yours."""

    ticket: int


class Numbers(msgspec.Struct, tag="numbers", frozen=True):
    """Worker: here they are."""

    ticket: int
    text: bytes


class Gathered(msgspec.Struct, tag="gathered", frozen=True):
    """Supervisor: what the others told, by their number; who is missing did not answer in time."""

    ticket: int
    texts: dict[int, bytes]


FromWorker = Ready | HereIAm | AskNumbers | Numbers
FromSupervisor = Beat | GiveNumbers | Gathered
Message = FromWorker | FromSupervisor

_decode: Final = msgspec.msgpack.Decoder(Message).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class Line:
    """One end. `post` never waits; `run` sends what was posted."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._read = bytearray()
        self._posts, self._to_send = trio.open_memory_channel[Message](_MOST_WAITING)

    def post(self, message: Message) -> bool:
        """False: too much waits already, and this is not sent."""
        try:
            self._posts.send_nowait(message)
        except trio.WouldBlock:
            return False
        return True

    async def run(self) -> None:
        """Send, until the other end is gone."""
        try:
            async for message in self._to_send:
                body = _encode(message)
                await self._stream.send_all(len(body).to_bytes(_SIZE_BYTES, "big") + body)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # who receives finds out

    async def receive(self) -> Message | None:
        """The next message; None when the other end is gone, or sends what no end of ours would."""
        head = await self._take(_SIZE_BYTES)
        if head is None:
            return None
        size = int.from_bytes(head, "big")
        body = await self._take(size) if size <= LONGEST_BYTES else None
        try:
            return None if body is None else _decode(body)
        except msgspec.DecodeError:
            return None

    async def _take(self, size: int) -> bytes | None:
        while len(self._read) < size:
            try:
                more = await self._stream.receive_some(max(65_536, size - len(self._read)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not more:
                return None
            self._read += more
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    async def aclose(self) -> None:
        await self._stream.aclose()
