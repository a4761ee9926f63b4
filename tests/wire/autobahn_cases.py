"""The cases of the Autobahn test suite, groups 1 to 7, 9 and 10, rebuilt as data: what a client sends, what must come
back. Binary messages are not spoken here, so their cases end with 1003; 9 stops at the message limit."""

from collections.abc import Iterator
from dataclasses import dataclass

from realtime.wire.frames import MESSAGE_LIMIT_BYTES, Opcode, encode

MASK = b"\x12\x34\x56\x78"
TEXT, BINARY, CONT, CLOSE, PING, PONG = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CONTINUATION,
    Opcode.CLOSE,
    Opcode.PING,
    Opcode.PONG,
)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, with whatever is wrong about it."""
    wire = bytearray(encode(opcode, payload, fin=fin, mask=MASK))
    wire[0] |= rsv << 4
    return bytes(wire)


def chopped(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + size] for start in range(0, len(data), size))


@dataclass(frozen=True)
class Case:
    """`codes`: the close codes that are right; None: the connection stays open."""

    name: str
    sent: tuple[bytes, ...]
    echoed: tuple[bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    codes: tuple[int, ...] | None = None


def _sizes() -> Iterator[Case]:
    for number, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
        payload = b"*" * size
        yield Case(f"1.1.{number}", (frame(TEXT, payload),), (payload,))
        yield Case(f"1.2.{number}", (frame(BINARY, payload),), codes=(1003,))
    yield Case("1.1.8", chopped(frame(TEXT, b"*" * 65536), 997), (b"*" * 65536,))


def _pings() -> Iterator[Case]:
    yield Case("2.1", (frame(PING),), pongs=(b"",))
    yield Case("2.2", (frame(PING, b"Hello, world!"),), pongs=(b"Hello, world!",))
    yield Case("2.3", (frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),), pongs=(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",))
    yield Case("2.4", (frame(PING, b"\xfe" * 125),), pongs=(b"\xfe" * 125,))
    yield Case("2.5", (frame(PING, b"\xfe" * 126),), codes=(1002,))
    yield Case("2.6", chopped(frame(PING, b"\xfe" * 125), 1), pongs=(b"\xfe" * 125,))
    yield Case("2.7", (frame(PONG),))
    yield Case("2.8", (frame(PONG, b"unsolicited pong payload"),))
    yield Case(
        "2.9", (frame(PONG, b"unsolicited pong payload"), frame(PING, b"ping payload")), pongs=(b"ping payload",)
    )
    payloads = tuple(b"payload-%d" % number for number in range(10))
    ten = b"".join(frame(PING, payload) for payload in payloads)
    yield Case("2.10", (ten,), pongs=payloads)
    yield Case("2.11", chopped(ten, 1), pongs=payloads)


def _reserved() -> Iterator[Case]:
    hello = frame(TEXT, b"Hello, world!")
    bad = frame(TEXT, b"Hello, world!", rsv=2)
    yield Case("3.1", (frame(TEXT, b"Hello, world!", rsv=1),), codes=(1002,))
    yield Case("3.2", (hello, bad, frame(PING)), (b"Hello, world!",), codes=(1002,))
    yield Case("3.3", (hello + frame(TEXT, b"x", rsv=3) + frame(PING),), (b"Hello, world!",), codes=(1002,))
    stream = hello + frame(TEXT, b"x", rsv=4) + frame(PING)
    yield Case("3.4", chopped(stream, 1), (b"Hello, world!",), codes=(1002,))
    yield Case("3.5", (frame(BINARY, b"\x00\xff" * 4, rsv=5),), codes=(1002,))
    yield Case("3.6", (frame(PING, b"Hello, world!", rsv=6),), codes=(1002,))
    yield Case("3.7", (frame(CLOSE, b"\x03\xe8", rsv=7),), codes=(1002,))
    for group, opcodes in ((1, range(3, 8)), (2, range(11, 16))):
        for number, opcode in enumerate(opcodes, 1):
            wrong = frame(opcode, b"Hello, world!" if number > 1 else b"")
            if number < 3:
                yield Case(f"4.{group}.{number}", (wrong,), codes=(1002,))
            else:
                step = 1 if number > 3 else 10_000
                yield Case(f"4.{group}.{number}", chopped(hello + wrong, step), (b"Hello, world!",), codes=(1002,))


def _fragments() -> Iterator[Case]:
    first, last = frame(TEXT, b"fragment1", fin=False), frame(CONT, b"fragment2")
    whole = (b"fragment1fragment2",)
    yield Case("5.1", (frame(PING, b"frag", fin=False), frame(CONT, b"ment")), codes=(1002,))
    yield Case("5.2", (frame(PONG, b"frag", fin=False), frame(CONT, b"ment")), codes=(1002,))
    yield Case("5.3", (first, last), whole)
    yield Case("5.4", (first + last,), whole)
    yield Case("5.5", chopped(first + last, 1), whole)
    ping = frame(PING, b"ping payload")
    yield Case("5.6", (first, ping, last), whole, (b"ping payload",))
    yield Case("5.7", (first + ping + last,), whole, (b"ping payload",))
    yield Case("5.8", chopped(first + ping + last, 1), whole, (b"ping payload",))
    for number, fin in ((9, True), (12, False)):
        lone = frame(CONT, b"non-continuation payload", fin=fin) + frame(TEXT, b"Hello, world!")
        yield Case(f"5.{number}", (lone,), codes=(1002,))
        yield Case(f"5.{number + 1}", chopped(lone, 26), codes=(1002,))
        yield Case(f"5.{number + 2}", chopped(lone, 1), codes=(1002,))
    after = frame(CONT, b"fragment3", fin=False) + frame(TEXT, b"fragment4")
    yield Case("5.15", (first + last + after,), whole, codes=(1002,))
    for number, fin in ((16, False), (17, True)):
        yield Case(f"5.{number}", (frame(CONT, b"fragment1", fin=fin), first, last) * 2, codes=(1002,))
    yield Case("5.18", (first, frame(TEXT, b"fragment2")), codes=(1002,))
    parts = (
        first,
        frame(CONT, b"fragment2", fin=False),
        frame(PING, b"pongme 1!"),
        frame(CONT, b"fragment3", fin=False),
        frame(CONT, b"fragment4", fin=False),
        frame(PING, b"pongme 2!"),
        frame(CONT, b"fragment5"),
    )
    five = (b"fragment1fragment2fragment3fragment4fragment5",)
    yield Case("5.19", parts, five, (b"pongme 1!", b"pongme 2!"))
    yield Case("5.20", chopped(b"".join(parts), 1), five, (b"pongme 1!", b"pongme 2!"))


# Groups 6.5 to 6.23 follow Markus Kuhn's decoder stress test.
VALID_TEXTS = (
    "κόσμε".encode(),
    b"hello\xf0\xa4\xad\xa2world",
    b"\x00",
    b"\xc2\x80",
    b"\xe0\xa0\x80",
    b"\xf0\x90\x80\x80",
    b"\x7f",
    b"\xdf\xbf",
    b"\xef\xbf\xbf",
    b"\xf4\x8f\xbf\xbf",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    b"\xef\xbf\xbe",
    b"\xf0\x9f\xbf\xbe",
    b"\xf4\x8f\xbf\xbe",
)
INVALID_TEXTS = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf",
    b"\x80\xbf\x80\xbf\x80",
    bytes(range(0x80, 0xC0)),
    b"\xc0 \xc1 \xc2 ",
    b"\xe0 \xe1 \xe2 ",
    b"\xf0 \xf1 \xf2 ",
    b"\xf8 \xf9 ",
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xae\x80",
    b"\xed\xaf\xbf",
    b"\xed\xb0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
)


def _octets(payload: bytes) -> tuple[bytes, ...]:
    """One fragment per byte."""
    last = len(payload) - 1
    return tuple(
        frame(TEXT if place == 0 else CONT, payload[place : place + 1], fin=place == last)
        for place in range(len(payload))
    )


def _texts() -> Iterator[Case]:
    yield Case("6.1.1", (frame(TEXT),), (b"",))
    empties = (frame(TEXT, fin=False), frame(CONT, fin=False), frame(CONT))
    yield Case("6.1.2", empties, (b"",))
    yield Case(
        "6.1.3", (empties[0], frame(CONT, b"middle frame payload", fin=False), empties[2]), (b"middle frame payload",)
    )
    text = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    yield Case("6.2.1", (frame(TEXT, text),), (text,))
    yield Case("6.2.2", (frame(TEXT, text[:12], fin=False), frame(CONT, text[12:])), (text,))
    yield Case("6.2.3", _octets(text), (text,))
    yield Case("6.2.4", _octets("κόσμε".encode()), ("κόσμε".encode(),))
    broken = INVALID_TEXTS[0]
    yield Case("6.3.1", (frame(TEXT, broken),), codes=(1007,))
    yield Case("6.3.2", _octets(broken), codes=(1007,))
    good, bad, rest = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", b"\xf4\x90\x80\x80", b"edited"
    pieces = (frame(TEXT, good, fin=False), frame(CONT, bad, fin=False), frame(CONT, rest))
    yield Case("6.4.1", pieces, codes=(1007,))
    yield Case("6.4.2", pieces[:2], codes=(1007,))
    for number, valid in enumerate(VALID_TEXTS, 1):
        yield Case(f"6.5.{number}", (frame(TEXT, valid),), (valid,))
        yield Case(f"6.5.{number}.octets", _octets(valid), (valid,))
    for number, invalid in enumerate(INVALID_TEXTS, 1):
        yield Case(f"6.6.{number}", (frame(TEXT, invalid),), codes=(1007,))
        yield Case(f"6.6.{number}.octets", _octets(invalid), codes=(1007,))


def _closes() -> Iterator[Case]:
    hello, close = frame(TEXT, b"Hello World!"), frame(CLOSE, b"\x03\xe8")
    yield Case("7.1.1", (hello, close), (b"Hello World!",), codes=(1000,))
    yield Case("7.1.2", (close + close,), codes=(1000,))
    yield Case("7.1.3", (close + frame(PING),), codes=(1000,))
    yield Case("7.1.4", (close + hello,), codes=(1000,))
    yield Case("7.1.5", (frame(TEXT, b"fragment1", fin=False) + close + frame(CONT, b"fragment2"),), codes=(1000,))
    large = b"BAsd7&jh23" * 26_000
    sent = (frame(TEXT, large), frame(TEXT, b"Hello World!"), close + frame(PING))
    yield Case("7.1.6", sent, (large, b"Hello World!"), codes=(1000,))
    yield Case("7.3.1", (frame(CLOSE),), codes=(1000, 1005))
    yield Case("7.3.2", (frame(CLOSE, b"a"),), codes=(1002,))
    yield Case("7.3.3", (close,), codes=(1000,))
    yield Case("7.3.4", (frame(CLOSE, b"\x03\xe8Hello World!"),), codes=(1000,))
    yield Case("7.3.5", (frame(CLOSE, b"\x03\xe8" + b"*" * 123),), codes=(1000,))
    yield Case("7.3.6", (frame(CLOSE, b"\x03\xe8" + b"*" * 124),), codes=(1002,))
    yield Case("7.5.1", (frame(CLOSE, b"\x03\xe8" + INVALID_TEXTS[0]),), codes=(1002, 1007))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"7.7.{code}", (frame(CLOSE, code.to_bytes(2, "big")),), codes=(code,))
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
        yield Case(f"7.9.{code}", (frame(CLOSE, code.to_bytes(2, "big")),), codes=(1002,))


def _limits() -> Iterator[Case]:
    for number, size in enumerate((64 * 1024, MESSAGE_LIMIT_BYTES), 1):
        yield Case(f"9.1.{number}", (frame(TEXT, b"*" * size),), (b"*" * size,))
    too_large = MESSAGE_LIMIT_BYTES + 1
    yield Case("9.1.3", (frame(TEXT, b"*" * too_large),), codes=(1009,))
    yield Case("9.1.4", (frame(TEXT, b"*" * 1024 * 1024),), codes=(1009,))
    whole = b"*" * MESSAGE_LIMIT_BYTES
    for number, size in enumerate((64, 1024, 16 * 1024, 64 * 1024), 1):
        parts = chopped(whole, size)
        frames = tuple(
            frame(TEXT if place == 0 else CONT, part, fin=place == len(parts) - 1) for place, part in enumerate(parts)
        )
        yield Case(f"9.3.{number}", (b"".join(frames),), (whole,))
        yield Case(f"9.3.{number}.larger", (b"".join(frames[:-1]), frame(CONT, b"*" * (size + 1))), codes=(1009,))
    for number, size in enumerate((512, 1024, 2048), 1):
        yield Case(f"9.5.{number}", chopped(frame(TEXT, whole), size), (whole,))
    for number, size in enumerate((0, 16, 64, 256, 1024), 1):
        yield Case(f"9.7.{number}", (frame(TEXT, b"*" * size) * 200,), (b"*" * size,) * 200)
    parts = chopped(b"*" * 65536, 1300)
    yield Case(
        "10.1.1",
        tuple(
            frame(TEXT if place == 0 else CONT, part, fin=place == len(parts) - 1) for place, part in enumerate(parts)
        ),
        (b"*" * 65536,),
    )


CASES = [*_sizes(), *_pings(), *_reserved(), *_fragments(), *_texts(), *_closes(), *_limits()]
