"""One connection of the swarm: its socket, the handshake, whole frames out of bytes. Knows nothing of messages."""

import abc
import enum
import errno
import json
import select
import socket
import time
from typing import Final, Protocol

from loadtest.ledger import Ledger
from loadtest.plan import Plan
from realtime.wire.masking import apply_mask

READ_BYTES: Final = 1 << 14  # a fresh buffer per read: 5 µs; with 256 KiB, which malloc maps and unmaps, it was 35
HANDSHAKE_TRIES: Final = 8
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="  # the server need not know that it is always the same
ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIN_TEXT: Final = 0x81
IP_BIND_ADDRESS_NO_PORT: Final = 24  # Linux; socket names it from Python 3.12 on


class State(enum.Enum):
    WAITING = "waiting"
    CONNECTING = "connecting"
    UPGRADING = "upgrading"
    GREETING = "greeting"
    READY = "ready"
    GONE = "gone"


class Loop(Protocol):
    """What a connection needs of the process it lives in."""

    plan: Plan
    ledger: Ledger
    epoll: select.epoll
    mask: bytes

    def moved(self, connection: "Connection", before: State) -> None: ...


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """A real mask, so that the server's unmasking is measured, too."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length)) + mask + apply_mask(payload, mask)
    return bytes((0x80 | opcode, 0xFE)) + length.to_bytes(2, "big") + mask + apply_mask(payload, mask)


class Connection(abc.ABC):
    """Sans loop: the engine calls `open` and `handle`; what happens is told through `moved` and `_text`."""

    __slots__ = ("_held", "_loop", "_out", "_token", "_tries", "fd", "retry_ns", "sock", "state")

    def __init__(self, loop: Loop, token: str) -> None:
        self._loop = loop
        self._token = token
        self.state = State.WAITING
        self.fd = -1
        self.sock: socket.socket | None = None
        self.retry_ns = 0
        self._tries = 0
        self._held = b""
        self._out = b""

    @abc.abstractmethod
    def _text(self, data: bytes, body: int, stop: int, now: int) -> None:
        """A whole text message is data[body:stop]; it was read at `now`."""

    # -- connecting ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        plan = self._loop.plan
        self.sock = sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if plan.source:  # 28,000 ports per source address; the kernel picks the port when it knows the target
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((plan.source, 0))
        self.fd = sock.fileno()
        problem = sock.connect_ex((plan.host, plan.port))
        if problem not in (0, errno.EINPROGRESS):
            raise OSError(problem, f"connecting to {plan.host}:{plan.port}")
        self._loop.epoll.register(self.fd, select.EPOLLIN | select.EPOLLOUT)
        self._held = self._out = b""
        self._become(State.CONNECTING)

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        self._loop.moved(self, before)

    def gone(self, code: str) -> None:
        """The connection is over; while the run lasts nobody wanted that."""
        if self.state is State.GONE:
            return
        self._loop.ledger.closes[code] += 1
        self.close(State.GONE)

    def close(self, state: State) -> None:
        if self.sock is not None:
            self.sock.close()
        self._become(state)

    def _ask_upgrade(self) -> None:
        plan = self._loop.plan
        assert self.sock is not None
        problem = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            self._loop.ledger.errors["connect"] += 1
            self.gone("refused")
            return
        self._loop.epoll.modify(self.fd, select.EPOLLIN)
        bearer = f"Authorization: Bearer {self._token}\r\n" if plan.auth == "header" else ""
        self._become(State.UPGRADING)
        head = (
            f"GET {plan.path} HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: kith.v1\r\n{bearer}\r\n"
        )
        self._put(head.encode())

    def _upgraded(self, data: bytes) -> bytes | None:
        """The answer to the upgrade: what follows its head, None while there is nothing to go on with."""
        head, ended, rest = data.partition(b"\r\n\r\n")
        if not ended:
            self._held = data
            return None
        if head[9:12] == b"503" and self._tries < HANDSHAKE_TRIES:  # the server's admission: back after a second
            self._tries += 1
            self._loop.ledger.errors["handshake 503"] += 1
            self.retry_ns = time.perf_counter_ns() + 1_000_000_000
            self.close(State.WAITING)
            return None
        if not head.startswith(b"HTTP/1.1 101") or ACCEPT not in head:
            self._loop.ledger.errors[f"handshake {head[9:12].decode(errors='replace')}"] += 1
            self.gone("refused")
            return None
        token = {"token": self._token} if self._loop.plan.auth == "hello" else {}
        self._become(State.GREETING)
        self._put(
            client_frame(1, json.dumps({"type": "hello", "ref": "hello", "payload": token}).encode(), self._loop.mask)
        )
        return rest

    # -- bytes out ----------------------------------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        assert self.sock is not None
        taken = 0
        if not self._out:
            try:
                taken = self.sock.send(data)
            except BlockingIOError:
                taken = 0
            except OSError:
                return  # the reading side learns of it
            if taken == len(data):
                return
            self._loop.epoll.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
        self._out += data[taken:]

    def write_out(self) -> None:
        assert self.sock is not None
        try:
            self._out = self._out[self.sock.send(self._out) :]
        except OSError:
            return
        if not self._out:
            self._loop.epoll.modify(self.fd, select.EPOLLIN)

    def say_goodbye(self) -> None:
        self._put(client_frame(8, b"\x03\xe8", self._loop.mask))

    # -- bytes in -----------------------------------------------------------------------------------------------------

    def handle(self, events: int) -> None:
        if self.state is State.CONNECTING:
            self._ask_upgrade()
            return
        if events & select.EPOLLOUT and self._out:
            self.write_out()
        if events & ~select.EPOLLOUT:
            self._readable()

    def _readable(self) -> None:
        assert self.sock is not None
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.gone("1006")
            return
        if self._held:
            data = self._held + data
            self._held = b""
        if self.state is State.UPGRADING:
            rest = self._upgraded(data)
            if not rest:
                return
            data = rest
        self._frames(data, time.perf_counter_ns())

    def _frames(self, data: bytes, now: int) -> None:
        """Every whole frame of `data`; the rest is held."""
        at, end = 0, len(data)
        while end - at >= 2:
            length, body = data[at + 1], at + 2
            if length == 126:
                body = at + 4
                length = int.from_bytes(data[at + 2 : body], "big") if end >= body else 0
            elif length > 126:
                body = at + 10
                length = int.from_bytes(data[at + 2 : body], "big") if end >= body else 0
                if data[at + 1] > 127 or length > 64 << 20:
                    self._loop.ledger.totals.strange += 1
                    self.gone("1002")
                    return
            stop = body + length
            if stop > end or body > end:
                break
            first = data[at]
            if first == FIN_TEXT:
                self._text(data, body, stop, now)
            else:
                self._other(first, data[body:stop])
            if self.state is State.GONE:
                return
            at = stop
        if at < end:
            self._held = data[at:]

    def _other(self, first: int, payload: bytes) -> None:
        """Control frames; anything else the server has no reason to send."""
        if first == 0x89:
            self._put(client_frame(10, payload, self._loop.mask))
        elif first == 0x88:
            self._put(client_frame(8, payload[:2], self._loop.mask))
            self.gone(str(int.from_bytes(payload[:2], "big") if len(payload) > 1 else 1005))
        elif first != 0x8A:
            self._loop.ledger.totals.strange += 1
