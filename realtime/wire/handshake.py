"""The opening handshake: request heads in, upgrades or refusals out; for both sides. Does not decide who may enter.

A head that asks for an upgrade is read strictly, because the bytes after it change their meaning: whoever smuggles a
request past a proxy does it with lengths that two readers understand differently. Any other head is only looked at; the
HTTP server judges it.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD_BYTES: Final = 16 * 1024

# The HTTP server behind us also takes bare line feeds, so the end of a head must be seen the way it sees it.
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/(\d\.\d)\r?")
# The blanks around a value are stripped afterwards: a pattern that does it takes cubic time for a head full of blanks.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_EMPTY_LINES: Final = 4
_SINGLE: Final = (b"host", b"authorization", b"sec-websocket-key", b"sec-websocket-version", b"content-length")


class Head(NamedTuple):
    """A request head, looked at but not judged."""

    method: bytes
    target: bytes
    version: bytes
    lines: list[bytes]  # the header lines, as they came
    size: int  # bytes of the head including its blank line

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]


class Upgrade(NamedTuple):
    """A valid upgrade request."""

    path: str
    query: str
    headers: dict[bytes, bytes]
    subprotocols: tuple[str, ...]
    key: bytes


class BadUpgrade(NamedTuple):
    """An upgrade that must not be answered with 101."""

    status: int
    reason: str


def find_head(data: bytes | bytearray, searched: int = 0) -> Head | None:
    """The head at the start of `data`, None while it is not whole. A first line that is no HTTP gives empty fields.

    `searched` bytes were looked at before in vain: a head that comes byte by byte must not be searched whole at each of
    them.
    """
    start = 0
    # RFC 9112: empty lines before a request are skipped; some, because 16 KiB of them byte by byte took 7 s.
    while start < _EMPTY_LINES * 2 and data[start : start + 2] == b"\r\n":
        start += 2
    end = _END_OF_HEAD.search(data, max(start, searched - 3))
    if end is None:
        return None
    first, *lines = bytes(data[start : end.start()]).split(b"\n")
    match = _REQUEST_LINE.fullmatch(first)
    method, target, version = match.groups() if match else (b"", b"", b"")
    return Head(method, target, version, lines, end.end())


def wants_websocket(head: Head) -> bool:
    """Would the HTTP server behind us take this for a WebSocket upgrade, or might another reader?"""
    return head.method == b"GET" and any(
        line[:8].lower() == b"upgrade:" and b"websocket" in line.lower() for line in head.lines
    )


def judge_upgrade(head: Head) -> Upgrade | BadUpgrade:
    """RFC 6455 section 4.2.1, and no doubt about where the head ends."""
    headers = read_fields(head.lines)
    if isinstance(headers, BadUpgrade):
        return headers
    if head.version != b"1.1":
        return BadUpgrade(400, "A WebSocket upgrade needs HTTP/1.1")
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return BadUpgrade(400, "An upgrade has no body")
    if b"host" not in headers:
        return BadUpgrade(400, "The Host header is missing")
    if b"upgrade" not in tokens(headers.get(b"connection", b"")) or b"websocket" not in tokens(headers[b"upgrade"]):
        return BadUpgrade(400, "Connection: Upgrade and Upgrade: websocket belong together")
    if headers.get(b"sec-websocket-version") != b"13":
        return BadUpgrade(426, "Only version 13 of the WebSocket protocol is spoken here")
    key = headers.get(b"sec-websocket-key", b"")
    if not _is_key(key):
        return BadUpgrade(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    path, _, query = head.target.decode("ascii").partition("?")
    return Upgrade(path, query, headers, subprotocols_of(headers), key)


def read_fields(lines: Iterable[bytes]) -> dict[bytes, bytes] | BadUpgrade:
    """Header lines by lower-case name, repeated ones joined by a comma; a second value of a single one is refused."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line[:-1] if line.endswith(b"\r") else line)
        if match is None:
            return BadUpgrade(400, "A header line is malformed")
        name, value = match[1].lower(), match[2].strip(b" \t")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            return BadUpgrade(400, f"The header {name.decode()} is repeated")
        else:
            headers[name] += b", " + value
    return headers


def tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]


def subprotocols_of(headers: dict[bytes, bytes]) -> tuple[str, ...]:
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
    return tuple(name.strip() for name in offered if name.strip())


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def accept_for(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())


def switching_protocols(key: bytes, subprotocol: str | None) -> bytes:
    """The 101."""
    chosen = b"" if subprotocol is None else b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii") + b"\r\n"
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_for(key)
        + b"\r\n"
        + chosen
        + b"\r\n"
    )


_PHRASES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def plain_answer(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A whole HTTP answer that ends the connection."""
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Refused')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


def client_request(host: str, target: str, key: bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A client's upgrade; `key` is 16 random bytes in base64."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode('ascii')}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


class Answer(NamedTuple):
    """What a server said to a client's upgrade."""

    status: int
    headers: dict[bytes, bytes]
    size: int  # bytes of the answer's head


def client_answer(data: bytes | bytearray) -> Answer | None:
    """The answer's head, None while it is not whole. The caller compares `sec-websocket-accept` with
    `accept_for(key)`."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(data[:end]).split(b"\r\n")
    fields = read_fields(lines)
    status = first.split(b" ", 2)[1:2]
    if isinstance(fields, BadUpgrade) or not status or not status[0].isdigit():
        return Answer(0, {}, end + 4)
    return Answer(int(status[0]), fields, end + 4)
