"""RFC 6455 frames: bytes in, messages and control frames out; payloads in, bytes out. Knows no socket and never raises
for input.

Theory. A connection carries frames. A data message is one frame, or a first frame without FIN and continuations of
which the last has FIN. Control frames (close, ping, pong) are whole and may stand between the fragments. So the decoder
is in one of three states, and a frame's opcode decides what happens:

    state     text, binary        continuation        ping, pong    close
    BETWEEN   begins a message    violation           told          told, then OVER
    WITHIN    violation           goes on, or ends    told          told, then OVER
    OVER      (everything after a close frame or a violation is thrown away)

What a header says is judged before its payload is waited for, so an oversized frame is refused at its 14th byte at the
latest.
"""

import codecs
import enum
from typing import Final, NamedTuple

from realtime.wire.close import Close, CloseCode, Violation, parse_close
from realtime.wire.masking import apply_mask

MESSAGE_LIMIT_BYTES: Final = 256 * 1024
MAX_CONTROL_BYTES: Final = 125
UNLIMITED: Final = 1 << 62

FIN: Final = 0x80
RESERVED_BITS: Final = 0x70
CONTROL_BIT: Final = 0x08


class Opcode(enum.IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_KNOWN: Final = frozenset(int(opcode) for opcode in Opcode)
_FIN_TEXT: Final = FIN | Opcode.TEXT
_TEXT_HEADERS: Final = tuple(bytes((_FIN_TEXT, length)) for length in range(126))
_new_utf8_checker: Final = codecs.getincrementaldecoder("utf-8")


class Binary(NamedTuple):
    """A whole binary message; only a client's decoder tells it."""

    payload: bytes


class Ping(NamedTuple):
    payload: bytes


class Pong(NamedTuple):
    payload: bytes


Event = bytes | Binary | Ping | Pong | Close | Violation
"""What a decoder tells: `bytes` is a whole text message, checked to be UTF-8."""


class Rules(NamedTuple):
    """What differs between the two directions."""

    masked: bool
    binary: bool
    limit_bytes: int


FROM_CLIENT: Final = Rules(masked=True, binary=False, limit_bytes=MESSAGE_LIMIT_BYTES)
# Of who has not said who he is, whose one frame is a hello: thousands of them may each keep back a last byte.
FROM_STRANGER: Final = Rules(masked=True, binary=False, limit_bytes=16 * 1024)
FROM_SERVER: Final = Rules(masked=False, binary=True, limit_bytes=64 * 1024 * 1024)


class Decoder:
    """One direction of one connection. `feed` takes what a read returned and gives back what it means."""

    __slots__ = ("_held", "_message", "_message_opcode", "_need", "_quick", "_rules", "_utf8", "over", "ready")

    def __init__(self, rules: Rules = FROM_CLIENT) -> None:
        self.obey(rules)
        self._held: bytearray | None = None  # bytes of a frame that is not whole yet
        self._need = 0  # how many must be held before it is worth looking again
        self._message: bytearray | None = (
            None  # the fragments so far; a bytearray, for a million empty fragments cost nothing
        )
        self._message_opcode = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        self.over = False  # a close frame or a violation was told
        self.ready = False  # `most` was reached: feed(b"") goes on

    def obey(self, rules: Rules) -> None:
        """From the next frame on."""
        self._rules = rules
        self._quick = rules.masked and rules.limit_bytes > 0xFFFF

    def feed(self, data: bytes, most: int = UNLIMITED) -> list[Event]:
        """Decode at most `most` frames. A violation is told as the last event, after everything that came before it."""
        if self._held is not None:
            # Amortised: one byte at a time must not copy what is held at every byte.
            self._held += data
            if len(self._held) < self._need:
                return []
            data = bytes(self._held)
            self._held = None
        self.ready = False
        events: list[Event] = []
        at, end = 0, len(data)
        while at < end and not self.over:
            if most == 0:
                self.ready = True
                self._hold(data, at, 0)
                break
            most -= 1
            # The hot path: a whole, unfragmented, masked text frame of at most 64 KiB. Everything else is _frame's.
            if data[at] == _FIN_TEXT and self._quick and end - at > 7:
                length = data[at + 1] - 128
                body = at + 6
                if length == 126:
                    length = data[at + 2] << 8 | data[at + 3]
                    body = at + 8 if length > 125 else end
                stop = body + length
                if 0 <= length != 127 and stop <= end:
                    text = apply_mask(data[body:stop], data[body - 4 : body])
                    if text.isascii() or _is_utf8(text):
                        events.append(text)
                        at = stop
                        continue
            stop = self._frame(data, at, events)
            if stop < 0:
                self._hold(data, at, -stop)
                break
            at = stop
        return events

    def _hold(self, data: bytes, at: int, need: int) -> None:
        self._held = bytearray(data[at:])
        self._need = need

    def _frame(self, data: bytes, at: int, events: list[Event]) -> int:
        """Decode one frame of any kind. Returns where the next begins, or minus the bytes needed from `at` on."""
        have = len(data) - at
        if have < 2:
            return -2
        first, second = data[at], data[at + 1]
        fault = self._judge(first, second)
        if fault is not None:
            return self._violate(fault, data, events)
        length, header = second & 0x7F, 2
        if length > 125:
            header = 4 if length == 126 else 10
            if have < header:
                return -header
            shortest = 126 if length == 126 else 0x10000
            length = int.from_bytes(data[at + 2 : at + header], "big")
            if length < shortest or length >> 63:
                return self._violate(Violation(CloseCode.PROTOCOL_ERROR, "a length in the wrong form"), data, events)
        held = len(self._message) if self._message is not None and not first & CONTROL_BIT else 0
        if held + length > self._rules.limit_bytes:
            return self._violate(Violation(CloseCode.TOO_BIG, "larger than the limit"), data, events)
        body = header + 4 if self._rules.masked else header
        if have < body + length:
            return -(body + length)
        stop = at + body + length
        payload = data[at + body : stop]
        if self._rules.masked:
            payload = apply_mask(payload, data[at + body - 4 : at + body])
        self._take(first, payload, events)
        return stop

    def _judge(self, first: int, second: int) -> Violation | None:
        """Everything the first two bytes can do wrong."""
        opcode = first & 0x0F
        if first & RESERVED_BITS:
            return Violation(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in _KNOWN:
            return Violation(CloseCode.PROTOCOL_ERROR, "an unknown opcode")
        if bool(second & 0x80) is not self._rules.masked:
            return Violation(CloseCode.PROTOCOL_ERROR, "masked by the wrong side, or not masked")
        if opcode & CONTROL_BIT:
            if not first & FIN or second & 0x7F > MAX_CONTROL_BYTES:
                return Violation(
                    CloseCode.PROTOCOL_ERROR, "a control frame that is fragmented or longer than 125 bytes"
                )
        elif (opcode == Opcode.CONTINUATION) is (self._message is None):
            return Violation(CloseCode.PROTOCOL_ERROR, "a continuation without a beginning, or a second beginning")
        elif opcode == Opcode.BINARY and not self._rules.binary:
            return Violation(CloseCode.UNSUPPORTED_DATA, "binary messages are not spoken here")
        return None

    def _violate(self, violation: Violation, data: bytes, events: list[Event]) -> int:
        self.over = True
        self._message = self._utf8 = None
        events.append(violation)
        return len(data)

    def _take(self, first: int, payload: bytes, events: list[Event]) -> None:
        """A whole frame that keeps the rules: control frames are told, data frames put together."""
        opcode = first & 0x0F
        if opcode == Opcode.PING:
            events.append(Ping(payload))
        elif opcode == Opcode.PONG:
            events.append(Pong(payload))
        elif opcode == Opcode.CLOSE:
            self.over = True
            events.append(parse_close(payload))
        else:
            self._take_data(opcode, bool(first & FIN), payload, events)

    def _take_data(self, opcode: int, fin: bool, payload: bytes, events: list[Event]) -> None:
        if opcode != Opcode.CONTINUATION:
            self._message_opcode = opcode
            self._message = bytearray()
            self._quick = False  # a text frame inside a message is a violation, so the hot path must not see it
            self._utf8 = _new_utf8_checker() if opcode == Opcode.TEXT else None
        if self._utf8 is not None:
            # Checked at every fragment, so that rubbish is refused before the message is whole.
            try:
                self._utf8.decode(payload, fin)
            except UnicodeDecodeError:
                self._violate(Violation(CloseCode.INVALID_TEXT, "not UTF-8"), b"", events)
                return
        assert self._message is not None  # _judge refused a continuation without a beginning
        self._message += payload
        if fin:
            whole = bytes(self._message)
            self._message = self._utf8 = None
            self._quick = self._rules.masked and self._rules.limit_bytes > 0xFFFF
            events.append(whole if self._message_opcode == Opcode.TEXT else Binary(whole))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def encode(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = None) -> bytes:
    """One frame. A client gives a mask of four bytes, a server none."""
    first = opcode | FIN if fin else opcode
    length = len(payload)
    masked = 0 if mask is None else 0x80
    if length < 126:
        head = bytes((first, masked | length))
    elif length < 0x10000:
        head = bytes((first, masked | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + length.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + apply_mask(payload, mask)


def encode_text(payload: bytes) -> bytes:
    """A server's text frame: the one encoder on the hot path."""
    length = len(payload)
    if length < 126:
        return _TEXT_HEADERS[length] + payload
    if length < 0x10000:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
