"""The first bytes of a connection, sans-IO: PROXY header, then the request head, then the question where the connection
goes."""

import enum
from typing import Final, NamedTuple

from realtime.gateway.address import TrustedProxies
from realtime.gateway.proxy import BadProxyHeader, begins_with_proxy, read_proxy_header
from realtime.link import UpgradeRequest
from realtime.wire.handshake import MAX_HEAD_BYTES, BadUpgrade, find_head, judge_upgrade, wants_websocket


class Knock(NamedTuple):
    """A valid upgrade to one of our paths; `rest` are the bytes that followed it."""

    request: UpgradeRequest
    key: bytes
    head: bytes  # as it came: the portable transport gives it to another parser
    rest: bytes


class ToHttp(NamedTuple):
    """Everything else, with every byte read so far."""

    data: bytes


class Turned(NamedTuple):
    """Turned away before anybody was asked."""

    status: int
    reason: str


Destination = Knock | ToHttp | Turned


class Layer(enum.Enum):
    """What the next bytes may be. Each layer is passed once, in this order; TLS, if any, lies between the two."""

    PROXY = "proxy"
    HTTP = "http"


# A TLS hello, or any other binary protocol, on a port that speaks HTTP: told at its first byte.
_FIRST_BYTES: Final = frozenset(b"\r\n!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Arrival:
    """Collects bytes until it is known where they go. `remote` is the best known client address so far."""

    __slots__ = ("_buffer", "_layer", "_paths", "_searched", "_trusted", "remote", "secure")

    def __init__(self, peer: str, paths: tuple[str, ...], trusted: TrustedProxies, *, secure: bool = False) -> None:
        self._buffer = bytearray()
        self._paths = paths
        self._trusted = trusted
        self._searched = 0
        self._layer = Layer.PROXY if peer in trusted else Layer.HTTP
        self.remote = peer
        self.secure = secure

    def feed(self, data: bytes) -> Destination | None:
        """Take what was read; None means that more is needed."""
        self._buffer += data
        if self._layer is Layer.PROXY:
            answer = self.read_proxy()
            if answer is not None or self._layer is Layer.PROXY:
                return answer
        return self._read_head()

    def feed_proxy(self, data: bytes) -> Turned | bytes | None:
        """Only the PROXY layer, for a transport with TLS above it: gives back the bytes that follow the header."""
        self._buffer += data
        if self._layer is Layer.PROXY:
            answer = self.read_proxy()
            if answer is not None or self._layer is Layer.PROXY:
                return answer
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    @property
    def expects_proxy(self) -> bool:
        return self._layer is Layer.PROXY

    def read_proxy(self) -> Turned | None:
        """A trusted proxy may say who its client is; it need not (then X-Forwarded-For may)."""
        begins = begins_with_proxy(self._buffer)
        if begins is None:
            return None
        if begins:
            header = read_proxy_header(self._buffer)
            if header is None:
                return None
            if isinstance(header, BadProxyHeader):
                return Turned(400, header.reason)
            if header.source is not None:
                self.remote = header.source
            del self._buffer[: header.size]
        self._layer = Layer.HTTP
        return None

    def _read_head(self) -> Destination | None:
        buffer = self._buffer
        if not buffer:
            return None
        if buffer[0] not in _FIRST_BYTES:
            return Turned(400, "This is not HTTP")
        head = find_head(buffer, self._searched)
        self._searched = len(buffer)
        if head is None:
            return Turned(431, "The request head is larger than 16 KiB") if len(buffer) > MAX_HEAD_BYTES else None
        if head.size > MAX_HEAD_BYTES:
            return Turned(431, "The request head is larger than 16 KiB")
        if head.version == b"2.0":
            return Turned(505, "HTTP/2 is not spoken here without TLS")
        if not wants_websocket(head) or head.path.decode("latin-1") not in self._paths:
            return ToHttp(bytes(buffer))
        upgrade = judge_upgrade(head)
        if isinstance(upgrade, BadUpgrade):
            return Turned(upgrade.status, upgrade.reason)
        headers = upgrade.headers
        request = UpgradeRequest(
            path=upgrade.path,
            query=upgrade.query,
            headers=headers,
            remote=self._trusted.client_of(self.remote, headers.get(b"x-forwarded-for", b"")),
            subprotocols=upgrade.subprotocols,
            secure=self._trusted.is_secure(self.remote, headers.get(b"x-forwarded-proto", b""), self.secure),
        )
        return Knock(request, upgrade.key, bytes(buffer[: head.size]), bytes(buffer[head.size :]))
