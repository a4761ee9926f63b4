"""A gateway on a real loopback port, sessions that remember what they were told, and a client that speaks bytes."""

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from hypercorn.typing import ASGIFramework

from actors.clock import FakeClock
from actors.shapes.frames import Frame
from realtime.gateway.gateway import Gateway, Timekeeping
from realtime.gateway.options import GatewayOptions
from realtime.link import Admitted, Link, LostReason, Refused, UpgradeRequest
from realtime.wire.close import Close, close_payload
from realtime.wire.frames import FROM_SERVER, Decoder, Event, Opcode, Ping, encode
from realtime.wire.handshake import Answer, accept_for, client_answer, client_request

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x21\x43\x65\x87"
TIMESTAMP = "2026-11-20T07:00:00.000Z"


class Listener:
    """A session that answers every text with the same text, and remembers everything."""

    def __init__(self, link: Link, *, echo: bool) -> None:
        self.link = link
        self.echo = echo
        self.heard: list[bytes] = []
        self.reasons: list[LostReason] = []
        self.idle_hellos = 0
        self.drains = 0
        self.on_text: Callable[[bytes], None] | None = None
        self.inside = 0  # are we in a call that we made on the link?
        self._changed = trio.Event()

    def text(self, payload: bytes) -> None:
        assert not self.reasons, "text after lost"
        self.heard.append(payload)
        self._change()
        if self.on_text is not None:
            self.on_text(payload)
        if self.echo:
            self.link.send(Frame(payload, born=self.link.read_at))

    def lost(self, reason: LostReason) -> None:
        assert not self.inside, "lost from inside a call of the session"
        self.reasons.append(reason)
        self._change()

    def idle_hello(self) -> None:
        assert not self.reasons, "idle_hello after lost"
        self.idle_hellos += 1
        self._change()

    def drained(self) -> None:
        assert not self.reasons, "drained after lost"
        self.drains += 1
        self._change()

    def close(self, code: int, reason: str = "", before: Frame | None = None) -> None:
        """As a session calls it: `lost` must not come from in here."""
        self.inside += 1
        self.link.close(code, reason, before)
        self.inside -= 1

    def send(self, frame: Frame) -> None:
        self.inside += 1
        self.link.send(frame)
        self.inside -= 1

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the session to be told something."""
        while not condition():
            await self._changed.wait()


class Door:
    """A reception that lets everybody in, or does what a test says."""

    def __init__(self) -> None:
        self.echo = True
        self.authenticated = True
        self.subprotocol: str | None = None
        self.words: Callable[[Frame], Frame] | None = None
        self.refuse: Refused | None = None
        self.fail = False
        self.requests: list[UpgradeRequest] = []
        self.sessions: list[Listener] = []

    def upgrade(self, request: UpgradeRequest) -> Admitted | Refused:
        self.requests.append(request)
        if self.fail:
            raise RuntimeError("the reception has a bug")
        if self.refuse is not None:
            return self.refuse
        return Admitted(self._seat, self.subprotocol, self.authenticated, self.words)

    def _seat(self, link: Link) -> Listener:
        session = Listener(link, echo=self.echo)
        self.sessions.append(session)
        return session


class Served:
    """A gateway that runs."""

    def __init__(self, gateway: Gateway, door: Door, port: int, latencies: list[float]) -> None:
        self.gateway = gateway
        self.door = door
        self.port = port
        self.latencies = latencies
        self.counters = gateway.counters
        self.options = gateway.options

    async def connect(self) -> "Client":
        return Client(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def websocket(self, **headers: str) -> "Client":
        """An open one, with its session seated."""
        seated = len(self.door.sessions)
        client = await self.connect()
        answer = await client.upgrade("/ws", b"", **headers)
        assert answer.status == 101, answer
        await self.until(lambda: len(self.door.sessions) > seated)
        return client

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the gateway to have done something that no session is told; a turn of the loop at a time."""
        while not condition():
            await trio.lowlevel.checkpoint()


class Client:
    """A WebSocket client in plain sight."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.decoder = Decoder(FROM_SERVER)
        self.hears_pings = True
        self.events: deque[Event] = deque()
        self.buffer = b""

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def upgrade(self, path: str = "/ws", after: bytes = b"", **headers: str) -> Answer:
        """Send an upgrade, and `after` right behind it."""
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        await self.raw(client_request("kith.test", path, KEY, pairs) + after)
        answer = await self.answer()
        if answer.status == 101:
            assert answer.headers[b"sec-websocket-accept"] == accept_for(KEY)
            self._take(self.buffer)
            self.buffer = b""
        return answer

    async def answer(self) -> Answer:
        """The head of an HTTP answer; its body begins in `buffer`."""
        while (answer := client_answer(self.buffer)) is None:
            data = await self.stream.receive_some()
            assert data, f"the connection ended inside an answer: {self.buffer!r}"
            self.buffer += bytes(data)
        self.buffer = self.buffer[answer.size :]
        return answer

    async def body(self, answer: Answer) -> bytes:
        size = int(answer.headers.get(b"content-length", b"0"))
        while len(self.buffer) < size:
            data = await self.stream.receive_some()
            assert data, f"the connection ended inside a body: {self.buffer!r}"
            self.buffer += bytes(data)
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return body

    async def rest(self) -> bytes:
        """Everything until the end of the connection."""
        parts, self.buffer = [self.buffer], b""
        try:
            while data := await self.stream.receive_some():
                parts.append(bytes(data))
        except trio.BrokenResourceError:
            pass
        return b"".join(parts)

    async def send(self, *texts: bytes) -> None:
        await self.raw(b"".join(encode(Opcode.TEXT, text, mask=MASK) for text in texts))

    async def frame(self, opcode: int, payload: bytes = b"") -> None:
        await self.raw(encode(opcode, payload, mask=MASK))

    async def close(self, code: int = 1000) -> None:
        await self.frame(Opcode.CLOSE, close_payload(code))

    async def event(self) -> Event | None:
        """The next thing the server says; None: it ended, and politely."""
        while not self.events:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._take(bytes(data))
        return self.events.popleft()

    def _take(self, data: bytes) -> None:
        for event in self.decoder.feed(data):
            if self.hears_pings or not isinstance(event, Ping):
                self.events.append(event)

    async def ends_with(self, code: int) -> Close:
        """A close frame comes next; answer it, then the stream ends."""
        event = await self.event()
        assert isinstance(event, Close), event
        assert event.code == code
        await self.close(code)
        assert await self.event() is None
        await self.aclose()
        return event

    async def aclose(self) -> None:
        await self.stream.aclose()

    def reset(self) -> None:
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.stream.socket.close()


@asynccontextmanager
async def serving(options: GatewayOptions, app: ASGIFramework | None = None) -> AsyncIterator[Served]:
    """A gateway whose every second is the test's: only a jump of the mock clock makes a deadline come."""
    clock = FakeClock()
    door, latencies = Door(), list[float]()
    gateway = Gateway(door, options, Timekeeping(clock.monotonic, lambda: TIMESTAMP, latencies.append), app)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port: int = listener.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.serve, [listener])
        try:
            yield Served(gateway, door, port, latencies)
        finally:
            nursery.cancel_scope.cancel()
