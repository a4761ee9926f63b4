"""HTTP/1 and WebSockets on a connection, by hypercorn's parser; refuses what would make two readers of one stream see
different requests in it. HTTP/2 is not spoken."""

import h11
from hypercorn.events import Closed, Event
from hypercorn.protocol.h11 import H11Protocol

from realtime.wire.handshake import tokens


class UnservedError(Exception):
    """A request that is refused by its head; nothing behind it is read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


class Http1(H11Protocol):
    """hypercorn's own would answer `Upgrade: h2c` with 101. A proxy that passes that on takes all that follows for one
    tunnel, and sees none of the requests in it."""

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except UnservedError as refused:
            await self._send_error_response(refused.status)
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        """Any upgrade but a WebSocket's is ignored, as RFC 9110 allows: the answer is plain HTTP/1.1."""
        if not event.http_version.startswith(b"1."):
            raise UnservedError(505)
        if event.method.upper() == b"GET" and upgrades_with_body(event):
            raise UnservedError(400)


def upgrades_with_body(request: h11.Request) -> bool:
    """A proxy that goes by the length passes on as a body what would be read here as frames."""
    headers = list(request.headers)
    return any(name == b"upgrade" and b"websocket" in tokens(value) for name, value in headers) and any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers
    )
