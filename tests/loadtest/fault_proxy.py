"""Stands between swarm and server and drops, doubles and swaps frames, noting what the swarm must therefore report."""

import random
from collections import Counter
from collections.abc import Callable

import msgspec
import trio

from realtime.wire.frames import FROM_CLIENT, FROM_SERVER, Decoder, encode, encode_text

MASK = b"kith"
WATCHED = {"message.send", "ok", "message.created"}


class _Payload(msgspec.Struct, frozen=True):
    client_id: str = ""


class _Frame(msgspec.Struct):
    type: str
    ref: int | str | None = None
    payload: _Payload = _Payload()


_decode = msgspec.json.Decoder(_Frame).decode


class FaultProxy:
    """One watched frame in `one_in` is tampered with, at most once per message, so that effects never overlap."""

    def __init__(self, port: int, one_in: int, watched_until: int) -> None:
        self.port = port
        self.one_in = one_in
        self.watched_until = watched_until  # afterwards nothing is done: a frame lost at the very end leaves no hole
        self.watched = 0
        self.done: Counter[str] = Counter()  # "drop ok": 3
        self._random = random.Random(20261120)
        self._touched: set[str] = set()

    def expected(self) -> Counter[str]:
        """What exact accounting must say."""
        effects = {
            "drop message.send": ("unacknowledged", "lost"),
            "drop ok": ("unacknowledged", "seq_missing"),
            "drop message.created": ("lost", "acknowledged_lost", "seq_missing"),
            "double message.send": ("acknowledged_twice",),
            "double ok": ("acknowledged_twice",),
            "double message.created": ("received_twice",),
            "swap message.send": ("reordered",),
            "swap ok": ("out_of_order",),
            "swap message.created": ("out_of_order",),
        }
        told: Counter[str] = Counter()
        for what, times in self.done.items():
            for name in effects[what]:
                told[name] += times
        return told

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self.port)
        names: dict[int | str | None, str] = {}  # ref: client id, for the `ok`s
        async with client, server, trio.open_nursery() as nursery:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await client.receive_some()
            await server.send_all(head)
            head = b""
            while b"\r\n\r\n" not in head:
                head += await server.receive_some()
            head, _, rest = head.partition(b"\r\n\r\n")
            await client.send_all(head + b"\r\n\r\n")
            nursery.start_soon(_Way(self, names, Decoder(FROM_SERVER), encode_text).run, server, client, rest)
            await _Way(self, names, Decoder(FROM_CLIENT), lambda text: encode(1, text, mask=MASK)).run(
                client, server, b""
            )
            nursery.cancel_scope.cancel()

    def choose(self, name: str) -> str | None:
        self.watched += 1
        if name in self._touched or self.watched >= self.watched_until or self._random.randrange(self.one_in):
            return None
        return self._random.choice(("drop", "double", "swap"))

    def note(self, fault: str, kind: str, *names: str) -> None:
        self.done[f"{fault} {kind}"] += 1
        self._touched.update(names)

    def untouched(self, name: str) -> bool:
        return name not in self._touched


class _Way:
    """One direction of one connection."""

    def __init__(
        self, proxy: FaultProxy, names: dict[int | str | None, str], decoder: Decoder, encoded: Callable[[bytes], bytes]
    ) -> None:
        self._proxy = proxy
        self._names = names
        self._decoder = decoder
        self._encoded = encoded
        self._passed = 0
        self._held: tuple[bytes, str, str] | None = None  # a frame that waits for the next one, to swap with

    async def run(self, source: trio.SocketStream, target: trio.SocketStream, data: bytes) -> None:
        try:
            while True:
                out = b"".join(self._frame(event) for event in self._decoder.feed(data) if isinstance(event, bytes))
                if out:
                    await target.send_all(out)
                data = b""
                with trio.move_on_after(0.2 if self._held else 60):  # nobody to swap with: let it go
                    data = bytes(await source.receive_some())
                    if not data:
                        return
                if not data and self._held:
                    await target.send_all(self._encoded(self._held[0]))
                    self._held = None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def _frame(self, text: bytes) -> bytes:
        frame = _decode(text)
        if frame.type not in WATCHED:
            return self._encoded(text)
        if frame.type == "message.send":
            self._names[frame.ref] = frame.payload.client_id
        name = frame.payload.client_id or self._names[frame.ref]
        self._passed += 1
        if self._held is not None:
            return self._swap(text, name)
        fault = self._proxy.choose(name) if self._passed > 2 else None
        if fault == "swap":
            self._held = (text, frame.type, name)
            return b""
        if fault is not None:
            self._proxy.note(fault, frame.type, name)
        return self._encoded(text) * {None: 1, "drop": 0, "double": 2}[fault]

    def _swap(self, text: bytes, name: str) -> bytes:
        assert self._held is not None
        (held, held_kind, held_name), self._held = self._held, None
        if not (self._proxy.untouched(name) and self._proxy.untouched(held_name)) or name == held_name:
            return self._encoded(held) + self._encoded(text)
        self._proxy.note("swap", held_kind, name, held_name)
        return self._encoded(text) + self._encoded(held)
