"""A server of one page that speaks message.send, ok and message.created: here the swarm is the question, not Kith."""

import os
import select
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from loadtest.roster import Line
from realtime.wire.close import Close
from realtime.wire.frames import Decoder, Ping, encode, encode_text

UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: kith.v1\r\n\r\n"
)
CREATED_AT = "2026-11-20T07:00:00.000Z"


READ_SECONDS = 20.0


class ChatServer:
    """Gapless numbers per conversation, idempotent by client id; everything in memory and gone afterwards."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.by_token = {line.access_token: line for line in lines}
        self.members: dict[str, dict[str, trio.SocketStream]] = {}
        self.stored: dict[tuple[str, str], int] = {}  # (sender, client id): seq
        self.heads: dict[str, int] = {}
        self.refuse: dict[str, str] = {}  # user: the error code that all his sends get
        self.hellos: list[bool] = []  # whether each came with a token

    async def serve(self, stream: trio.SocketStream) -> None:
        head, rest = b"", b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        head, _, rest = head.partition(b"\r\n\r\n")
        bearer = head.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0].decode()
        await stream.send_all(UPGRADE)
        line = self.by_token.get(bearer)
        decoder = Decoder()
        try:
            while True:
                answers = b""
                for event in decoder.feed(rest):
                    if isinstance(event, Close):
                        return
                    if isinstance(event, Ping):
                        answers += encode(10, event.payload)
                    if isinstance(event, bytes):
                        frame = msgspec.json.decode(event)
                        if frame["type"] == "hello":
                            line, answer = self._hello(frame, line, stream)
                        else:
                            assert line is not None
                            answer = self._send(line, frame)
                        answers += answer
                if answers:
                    await stream.send_all(answers)
                rest = bytes(await stream.receive_some())
                if not rest:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            await trio.aclose_forcefully(stream)

    def _hello(self, frame: dict[str, Any], line: Line | None, stream: trio.SocketStream) -> tuple[Line, bytes]:
        token = frame["payload"].get("token")
        self.hellos.append(token is not None)
        line = line or self.by_token[token]
        self.members.setdefault(line.conversation_id, {})[line.user_id] = stream
        connected = {"type": "connected", "ref": frame["ref"], "payload": {"user_id": line.user_id}}
        caught_up = {
            "type": "caught_up",
            "payload": {"cursor": "c", "epoch": "e", "heads": {}, "user_rev": 0, "reload": []},
        }
        return line, encode_text(msgspec.json.encode(connected)) + encode_text(msgspec.json.encode(caught_up))

    def _send(self, line: Line, frame: dict[str, Any]) -> bytes:
        if line.user_id in self.refuse:
            error = {"code": self.refuse[line.user_id], "message": "no", "details": {}, "outcome": "none"}
            return encode_text(msgspec.json.encode({"type": "error", "ref": frame["ref"], "error": error}))
        payload = frame["payload"]
        key = (line.user_id, payload["client_id"])
        duplicate = key in self.stored
        if not duplicate:
            self.stored[key] = self.heads[line.conversation_id] = self.heads.get(line.conversation_id, 0) + 1
        seq = self.stored[key]
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, payload["client_id"]))
        if not duplicate:
            message = {
                "id": name, "conversation_id": line.conversation_id, "seq": seq, "rev": seq,
                "sender_id": line.user_id, "sender_name": "somebody", "client_id": payload["client_id"],
                "text": payload["text"], "created_at": CREATED_AT,
            }  # fmt: skip
            event = encode_text(msgspec.json.encode({"type": "message.created", "payload": message}))
            for user, stream in list(self.members[line.conversation_id].items()):
                if user != line.user_id:
                    self._give(stream, event)
        ok = {"message_id": name, "seq": seq, "rev": seq, "created_at": CREATED_AT, "duplicate": duplicate}
        self._give(
            self.members[line.conversation_id][line.user_id],
            encode_text(msgspec.json.encode({"type": "ok", "ref": frame["ref"], "payload": ok})),
        )
        return b""

    def _give(self, stream: trio.SocketStream, data: bytes) -> None:
        """At once and without a checkpoint, so that order on a connection is the order of numbers."""
        if stream.socket.fileno() < 0:
            return  # the other one has gone
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(stream.socket.fileno(), left) :]
            except BlockingIOError:  # a client on a busy machine; it is a process of its own, and reads sooner or later
                _, writable, _ = select.select((), (stream.socket.fileno(),), (), READ_SECONDS)
                assert writable, f"the client of this test has read nothing for {READ_SECONDS} s"
