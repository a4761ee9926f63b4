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


# The same that http/webapi/answering.py puts around its answers, as far as a refusal needs it.
PROTECTING: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
_STAY_WITH_TLS: Final = (("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),)


class Refusals:
    """Makes the answers; `timestamp` tells wall time as ISO 8601, `public_is_https` that clients come by TLS whatever
    we see of it."""

    def __init__(self, timestamp: Callable[[], str], public_is_https: bool = False) -> None:
        self._timestamp = timestamp
        self._public_is_https = public_is_https

    def refused(self, status: int, message: str, retry_after: float = 1.0) -> Refused:
        """What only HTTP can get wrong (a missing Host, version 8) counts as an invalid payload."""
        request_id = f"req_{secrets.token_hex(12)}"
        body = {
            "error": {"code": _CODES.get(status, ErrorCode.INVALID_PAYLOAD).value, "message": message, "details": {}},
            "request_id": request_id,
            "timestamp": self._timestamp(),
        }
        headers: tuple[tuple[str, str], ...] = (("X-Request-Id", request_id),)
        if status == 503:
            headers += (("Retry-After", str(max(1, math.ceil(retry_after)))),)
        elif status == 426:
            headers += (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
        return Refused(status, orjson.dumps(body), headers)

    def answer(self, status: int, message: str) -> bytes:
        return in_http(self.protected(self.refused(status, message)))

    def protected(self, refused: Refused, secure: bool = False) -> Refused:
        """With the headers that every answer of ours has; `secure`: this client came by TLS."""
        stay = _STAY_WITH_TLS if secure or self._public_is_https else ()
        return Refused(refused.status, refused.body, (*refused.headers, *PROTECTING, *stay))


def in_http(refused: Refused) -> bytes:
    """A refusal as a whole HTTP answer."""
    return plain_answer(refused.status, refused.body, refused.headers)
