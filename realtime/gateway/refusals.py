"""Plain HTTP answers of the gateway itself, with the one error body of the protocol."""

import math
import secrets
from collections.abc import Callable
from typing import Final

import orjson

from actors.shapes.errors import ErrorCode
from realtime.link import Refused
from realtime.wire.handshake import plain_answer

_CODES: Final = {
    404: ErrorCode.ROUTE_NOT_FOUND,
    408: ErrorCode.TIMEOUT,
    429: ErrorCode.RATE_LIMIT_EXCEEDED,
    431: ErrorCode.PAYLOAD_TOO_LARGE,
    500: ErrorCode.INTERNAL_ERROR,
    503: ErrorCode.OVERLOADED,
}


class Refusals:
    """Makes the answers; `timestamp` tells wall time as ISO 8601."""

    def __init__(self, timestamp: Callable[[], str]) -> None:
        self._timestamp = timestamp

    def refused(self, status: int, message: str, retry_after: float = 1.0) -> Refused:
        """What only HTTP can get wrong (a missing Host, version 8) counts as an invalid payload."""
        body = {
            "error": {"code": _CODES.get(status, ErrorCode.INVALID_PAYLOAD).value, "message": message, "details": {}},
            "request_id": f"req_{secrets.token_hex(12)}",
            "timestamp": self._timestamp(),
        }
        headers: tuple[tuple[str, str], ...] = ()
        if status == 503:
            headers = (("Retry-After", str(max(1, math.ceil(retry_after)))),)
        elif status == 426:
            headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
        return Refused(status, orjson.dumps(body), headers)

    def answer(self, status: int, message: str) -> bytes:
        return in_http(self.refused(status, message))


def in_http(refused: Refused) -> bytes:
    """A refusal as a whole HTTP answer."""
    return plain_answer(refused.status, refused.body, refused.headers)
