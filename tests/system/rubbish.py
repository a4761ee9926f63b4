"""What nobody should send: HTTP and WebSocket clients at random, from half heads to commands that make no sense."""

import json
import random
import uuid
from typing import Any

import trio

from realtime.inbound import COMMANDS
from realtime.wire.frames import encode
from realtime.wire.handshake import client_request
from tests.wire.test_frames_random import random_frame
from webapi.app import ROUTES

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
WORDS = ("", "a", "\x00", "\ud7ff", "🙂", "x" * 9_000, "../../etc/passwd", "' or 1=1 --", "<script>", "\u202e", "%s%n")
FIELDS = (
    "text", "conversation_id", "client_id", "message_id", "after", "limit", "cursor", "member_ids", "type", "token",
    "email", "password", "username", "reason", "totp", "code", "id", "kind", "ticket", "flow", "redirect_uri", "bio",
)  # fmt: skip
READ_SECONDS = 0.5


class Rubbish:
    """One source of it; the same seed sends the same things. `tokens` are good ones, so that it gets past the door."""

    def __init__(self, seed: int, tokens: list[str], ids: list[str]) -> None:
        self.dice = random.Random(seed)
        self._tokens = tokens
        self._ids = ids

    async def visit(self, host: str, port: int) -> None:
        """One connection, begun and ended somehow."""
        dice = self.dice
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError:
            return
        async with stream:
            kind = dice.choices((self._bytes, self._http, self._socket), (1, 6, 4))[0]
            try:
                for piece in self._cut(kind()):
                    await stream.send_all(piece)
                if dice.random() < 0.3:
                    await stream.send_eof()
                if dice.random() < 0.8:
                    with trio.move_on_after(dice.random() * READ_SECONDS):
                        async for _ in stream:
                            pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    def _cut(self, words: bytes) -> list[bytes]:
        dice = self.dice
        if dice.random() < 0.1 and words:
            place = dice.randrange(len(words))
            words = words[:place] + dice.randbytes(dice.randrange(4)) + words[place + 1 :]
        if dice.random() < 0.1:
            words = words[: dice.randrange(len(words) + 1)]
        pieces = []
        while words:
            size = dice.choice((3, 50, 2_000, len(words)))
            pieces.append(words[:size])
            words = words[size:]
        return pieces

    def _bytes(self) -> bytes:
        return self.dice.randbytes(self.dice.randrange(1, 3_000))

    # -- HTTP -----------------------------------------------------------------------------------------------------

    def _http(self) -> bytes:
        return b"".join(self._request() for _ in range(self.dice.choice((1, 1, 1, 3))))

    def _request(self) -> bytes:
        dice = self.dice
        route = dice.choice(ROUTES)
        method = route.method if dice.random() < 0.8 else dice.choice(("PUT", "TRACE", "G\x00T", "OPTIONS", "PRI", "x"))
        path = "/".join(self._id() if part.startswith("{") else part for part in route.path.split("/"))
        if dice.random() < 0.3:
            path += "?" + "&".join(f"{dice.choice(FIELDS)}={dice.choice(WORDS)[:50]}" for _ in range(3))
        if dice.random() < 0.05:
            path = dice.choice(("*", "//", "/%00", "/%ff%fe", "http://x/", "/" + "a" * 20_000, "/..%2f..", "/\x7f"))
        body = self._body()
        headers = [
            ("Host", "kith.test"),
            ("Content-Type", dice.choice(("application/json", "text/plain", "application/json; charset=utf-7"))),
        ]
        if dice.random() < 0.9:
            headers.append(("Content-Length", str(len(body))))
        if dice.random() < 0.8:
            headers.append(("Authorization", f"Bearer {dice.choice(self._tokens)}"))
        if dice.random() < 0.2:
            headers.append(self._odd_header())
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        return head.encode("utf-8", "surrogatepass") + body

    def _odd_header(self) -> tuple[str, str]:
        return self.dice.choice(
            (
                ("Transfer-Encoding", "chunked"),
                ("Content-Length", "-1"),
                ("Content-Length", "99999999999"),
                ("Expect", "100-continue"),
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", "h2c"),
                ("X-Request-Id", "a" * 5_000),
                ("X-Forwarded-For", "1.2.3.4, " * 300),
                ("Idempotency-Key", self.dice.choice(WORDS)),
                ("If-None-Match", '"' * 999),
                ("Origin", "null"),
                ("Accept-Encoding", "gzip;q=nan, *;q=9"),
                ("Content-Encoding", "gzip"),
                ("Cookie", "a=b; " * 500),
                ("Range", "bytes=0-,-1,5-2"),
                ("X", "y" * 17_000),
            )
        )

    def _body(self) -> bytes:
        dice = self.dice
        if dice.random() < 0.1:
            return dice.choice(
                (b"", b"{", b"[" * 5_000, b'{"a":' * 2_000, b"null", b"\xff\xfe", b'{"a":1e999}', b"NaN")
            )
        return json.dumps(self._struct()).encode()

    def _struct(self) -> dict[str, Any]:
        return {self.dice.choice(FIELDS): self._value() for _ in range(self.dice.randrange(6))}

    def _value(self, depth: int = 0) -> Any:
        dice = self.dice
        if depth < 3 and dice.random() < 0.2:
            return [self._value(depth + 1) for _ in range(dice.randrange(4))]
        if depth < 3 and dice.random() < 0.1:
            return {dice.choice(FIELDS): self._value(depth + 1)}
        return dice.choice((None, True, 0, -1, 2**63, 1e308, dice.choice(WORDS), self._id(), "someone@example.org"))

    def _id(self) -> str:
        return self.dice.choice((*self._ids, "me", str(uuid.UUID(int=self.dice.getrandbits(128))), "x", ""))

    # -- WebSocket ------------------------------------------------------------------------------------------------

    def _socket(self) -> bytes:
        dice = self.dice
        path = dice.choice(("/ws", "/ws", "/api/v1/ws/notifications", "/ws?ticket=" + "a" * dice.randrange(300)))
        headers = () if dice.random() < 0.5 else (("Authorization", f"Bearer {dice.choice(self._tokens)}"),)
        upgrade = client_request("kith.test", path, KEY).decode()
        head = upgrade.replace("\r\n\r\n", "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n")
        said = b"" if headers else self._frame({"type": "hello", "payload": {"token": dice.choice(self._tokens)}})
        frames = [self._command() if dice.random() < 0.8 else random_frame(dice) for _ in range(dice.randrange(25))]
        return head.encode() + said + b"".join(frames)

    def _command(self) -> bytes:
        dice = self.dice
        if dice.random() < 0.05:
            return encode(1, self._body()[:100_000], mask=dice.randbytes(4))
        kind = dice.choice((*COMMANDS, "story.view", "no.such", "", "hello", 7))
        return self._frame({"type": kind, "ref": self._value(), "payload": self._struct()})

    def _frame(self, value: dict[str, Any]) -> bytes:
        return encode(1, json.dumps(value).encode(), mask=self.dice.randbytes(4))
