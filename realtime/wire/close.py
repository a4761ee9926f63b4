"""Close codes: RFC 6455's, ours, and the payload of a close frame."""

import enum
from typing import NamedTuple

MAX_REASON_BYTES = 123  # a control frame carries 125 bytes, two of them are the code


class CloseCode(enum.IntEnum):
    """What the client must do is in the hundreds: 4000-4499 come back, 4500-4999 do not."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005  # never on the wire: a close frame without a code
    ABNORMAL = 1006  # never on the wire: no close frame at all
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 4000
    SLOW_CONSUMER = 4001
    NO_PONG = 4002
    OVERLOADED = 4003
    RESYNC = 4004
    NO_HELLO = 4401
    INVALID_TOKEN = 4500
    REVOKED = 4503
    VIOLATIONS = 4508
    REPLACED = 4510
    TOO_MANY_CONNECTIONS = 4513


class Close(NamedTuple):
    """The other side's close frame."""

    code: int
    reason: str


class Violation(NamedTuple):
    """The other side broke the protocol; `code` is what to close with."""

    code: CloseCode
    reason: str


def may_be_sent(code: int) -> bool:
    """RFC 6455 section 7.4 and the registry: what may stand in a close frame.

    1004, 1005, 1006 and 1015 are reserved for other uses; 1012 to 1014 were registered later.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def parse_close(payload: bytes) -> Close | Violation:
    """Two bytes of code, then UTF-8; nothing at all is allowed, one byte is not."""
    if not payload:
        return Close(CloseCode.NO_STATUS, "")
    if len(payload) == 1:
        return Violation(CloseCode.PROTOCOL_ERROR, "a close frame of one byte")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        return Violation(CloseCode.PROTOCOL_ERROR, "a close code that must not be sent")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        return Violation(CloseCode.INVALID_TEXT, "the reason is not UTF-8")


def close_payload(code: int, reason: str = "") -> bytes:
    """The reason is cut between characters: half a character would make the client close with 1007."""
    if code == CloseCode.NO_STATUS:
        return b""
    cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return code.to_bytes(2, "big") + cut.encode()
