"""A WebSocket spoken by trio-websocket, as the pumped links want it."""

import contextlib

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from realtime.gateway.arrival import Knock
from realtime.gateway.handed_stream import HandedStream
from realtime.wire.close import Close, CloseCode, Violation, close_payload
from realtime.wire.frames import MESSAGE_LIMIT_BYTES, Opcode, encode

_RECV_BYTES = 64 * 1024
_FIRST_BYTE_OF_CLOSE = 0x88
_VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_TEXT})


class GoodbyeStream(trio.abc.Stream):
    """Mends two habits of trio-websocket: a client that breaks the protocol is not told why, and bytes that come with
    the head are not looked at before the next read."""

    def __init__(self, stream: HandedStream, head: bytes, rest: bytes) -> None:
        self._stream = stream
        self._head = head
        self._rest = rest
        self._sending = trio.Lock()  # the goodbye is ours, and must not cut a frame of the library's in two
        self.accepted = trio.Event()
        self.connection: WebSocketConnection | None = None
        self.said_goodbye = False
        self.closed = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        # trio-websocket sends one frame per call, so a close frame is seen by its first byte.
        if bytes(data[:1]) == bytes((_FIRST_BYTE_OF_CLOSE,)):
            self.said_goodbye = True
        async with self._sending:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """First the head alone; anything else only once the upgrade was accepted."""
        if self._head:
            head, self._head = self._head, b""
            return head
        await self.accepted.wait()
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        return await self._stream.receive_some(max_bytes)

    @property
    def violation(self) -> Violation | None:
        """The connection is over, we said nothing, and it is the client's fault."""
        reason = None if self.connection is None else self.connection.closed
        if reason is None or self.said_goodbye or reason.code not in _VIOLATIONS:
            return None
        return Violation(CloseCode(reason.code), reason.reason or "")

    async def aclose(self) -> None:
        """Says what is to be said, and leaves the socket to its owner, who lingers."""
        violation = self.violation
        if violation is not None and not self.closed.is_set():
            wire = encode(Opcode.CLOSE, close_payload(violation.code, violation.reason))
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with self._sending:
                    await self._stream.send_all(wire)
        await trio.lowlevel.checkpoint()
        self.closed.set()


class TrioWebsocketPipe:
    """Opened by `open`; its reader task lives in the nursery given there."""

    can_ping = True

    def __init__(self, stream: HandedStream, knock: Knock) -> None:
        self.remote = knock.request.remote
        self._stream = GoodbyeStream(stream, knock.head, knock.rest)
        self._connection: WebSocketConnection | None = None
        self._over = False
        self.heard_close = False
        self._closing = False

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    async def open(self, nursery: trio.Nursery, subprotocol: str | None) -> None:
        """Let trio-websocket read the head again and answer it."""
        request = await wrap_server_stream(
            nursery,
            self._stream,
            message_queue_size=1,
            max_message_size=MESSAGE_LIMIT_BYTES,
            receive_buffer_size=_RECV_BYTES,
        )
        try:
            self._connection = await request.accept(subprotocol=subprotocol)
        except ConnectionClosed:
            return  # it went away while it was let in
        self._stream.connection = self._connection
        self._stream.accepted.set()

    async def ended(self) -> None:
        """Returns when the library is done with the stream, or has left it to us."""
        if self._stream.violation is not None:
            await self._stream.closed.wait()

    @property
    def _websocket(self) -> WebSocketConnection:
        assert self._connection is not None, "used before it was opened"
        return self._connection

    async def receive(self) -> bytes | Close | Violation | None:
        if self._over:
            return None
        try:
            message = await self._websocket.get_message()
        except ConnectionClosed as closed:
            self._over = True
            return self._end_of(closed)
        if isinstance(message, bytes):
            return Violation(CloseCode.UNSUPPORTED_DATA, "binary messages are not spoken here")
        payload = message.encode()
        if len(payload) > MESSAGE_LIMIT_BYTES:  # trio-websocket counts characters
            return Violation(CloseCode.TOO_BIG, "larger than the limit")
        return payload

    def _end_of(self, closed: ConnectionClosed) -> Close | Violation | None:
        violation = self._stream.violation
        if violation is not None:
            return violation
        reason = closed.reason
        if reason is None or reason.code == CloseCode.ABNORMAL:
            return None
        if reason.code == CloseCode.TOO_BIG and (reason.reason or "").startswith("Exceeded maximum message size"):
            return Violation(CloseCode.TOO_BIG, "larger than the limit")
        # After our own close trio-websocket raises the same, and the client's goodbye is still to come.
        self.heard_close = not self._closing
        return Close(reason.code, reason.reason or "")

    async def send(self, payload: bytes) -> None:
        try:
            await self._websocket.send_message(payload.decode())
        except ConnectionClosed:
            raise trio.BrokenResourceError from None

    async def ping(self) -> None:
        try:
            await self._websocket.ping()
        except ConnectionClosed:
            raise trio.BrokenResourceError from None

    async def close(self, code: int, reason: str) -> None:
        self._closing = True
        await self._websocket.aclose(code, reason)
