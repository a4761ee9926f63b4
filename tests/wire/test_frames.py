"""The codec: RFC 6455's own examples, both directions, and the rules that no Autobahn case touches."""

import pytest

from realtime.wire.close import Close, CloseCode, Violation
from realtime.wire.frames import (
    FROM_SERVER,
    MESSAGE_LIMIT_BYTES,
    Binary,
    Decoder,
    Event,
    Opcode,
    Ping,
    Pong,
    Rules,
    encode,
    encode_text,
)

HELLO_MASK = b"\x37\xfa\x21\x3d"


def test_rfc_section_5_7_masked_hello() -> None:
    assert encode(Opcode.TEXT, b"Hello", mask=HELLO_MASK) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert Decoder().feed(bytes.fromhex("818537fa213d7f9f4d5158")) == [b"Hello"]


def test_rfc_section_5_7_unmasked_hello_is_a_servers() -> None:
    assert encode_text(b"Hello") == bytes.fromhex("810548656c6c6f")
    assert Decoder(FROM_SERVER).feed(bytes.fromhex("810548656c6c6f")) == [b"Hello"]
    [violation] = Decoder().feed(bytes.fromhex("810548656c6c6f"))
    assert isinstance(violation, Violation)
    assert violation.code == CloseCode.PROTOCOL_ERROR


def test_rfc_section_5_7_fragments_and_control_frames_of_a_server() -> None:
    decoder = Decoder(FROM_SERVER)
    assert decoder.feed(bytes.fromhex("010348656c")) == []
    assert decoder.feed(bytes.fromhex("890548656c6c6f")) == [Ping(b"Hello")]
    assert decoder.feed(bytes.fromhex("80026c6f")) == [b"Hello"]
    assert decoder.feed(bytes.fromhex("8a0548656c6c6f")) == [Pong(b"Hello")]
    assert decoder.feed(bytes.fromhex("827e0100") + bytes(256)) == [Binary(bytes(256))]
    assert decoder.feed(bytes.fromhex("827f0000000000010000") + bytes(65536)) == [Binary(bytes(65536))]


def test_a_client_refuses_a_masked_server() -> None:
    assert isinstance(Decoder(FROM_SERVER).feed(encode(Opcode.TEXT, b"x", mask=HELLO_MASK))[0], Violation)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, MESSAGE_LIMIT_BYTES])
def test_both_encoders_agree_and_are_read_back(size: int) -> None:
    payload = b"x" * size
    assert encode_text(payload) == encode(Opcode.TEXT, payload)
    assert Decoder(FROM_SERVER).feed(encode_text(payload)) == [payload]
    assert Decoder().feed(encode(Opcode.TEXT, payload, mask=HELLO_MASK)) == [payload]


@pytest.mark.parametrize(
    "header",
    [
        b"\x81\xfe\x00\x7d",  # 125 in two bytes
        b"\x81\xfe\x00\x00",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff",  # 65535 in eight
        b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00",  # the top bit
    ],
)
def test_a_length_has_one_form(header: bytes) -> None:
    """Two spellings of one length are what request smugglers look for."""
    [violation] = Decoder().feed(header)
    assert violation == Violation(CloseCode.PROTOCOL_ERROR, "a length in the wrong form")


def test_an_oversized_frame_is_refused_by_its_header() -> None:
    """Nothing of its payload is waited for, let alone kept."""
    header = b"\x81\xff" + (MESSAGE_LIMIT_BYTES + 1).to_bytes(8, "big")
    [violation] = Decoder().feed(header)
    assert isinstance(violation, Violation)
    assert violation.code == CloseCode.TOO_BIG


def test_fragments_count_together() -> None:
    decoder = Decoder(Rules(masked=True, binary=False, limit_bytes=10))
    first = encode(Opcode.TEXT, b"123456", fin=False, mask=HELLO_MASK)
    assert decoder.feed(first + encode(Opcode.PING, b"0123456789", mask=HELLO_MASK)) == [Ping(b"0123456789")]
    [violation] = decoder.feed(encode(Opcode.CONTINUATION, b"78901", mask=HELLO_MASK)[:2])
    assert violation == Violation(CloseCode.TOO_BIG, "larger than the limit")


def test_what_came_before_a_violation_is_told() -> None:
    stream = encode(Opcode.TEXT, b"first", mask=HELLO_MASK) + b"\xff\xff"
    first, violation = Decoder().feed(stream)
    assert first == b"first"
    assert isinstance(violation, Violation)


def test_a_close_frame_ends_the_decoder() -> None:
    decoder = Decoder()
    stream = encode(Opcode.CLOSE, b"\x0f\xa0bye", mask=HELLO_MASK) + encode(Opcode.TEXT, b"late", mask=HELLO_MASK)
    assert decoder.feed(stream) == [Close(4000, "bye")]
    assert decoder.over


def test_text_inside_a_fragmented_message_is_refused_on_the_hot_path_too() -> None:
    """The hot path takes whole text frames without asking for the state; it must be off inside a message."""
    begun = encode(Opcode.TEXT, b"a", fin=False, mask=HELLO_MASK)
    whole = encode(Opcode.TEXT, b"b" * 50, mask=HELLO_MASK)
    [violation] = Decoder().feed(begun + whole)
    assert isinstance(violation, Violation)
    ended = encode(Opcode.CONTINUATION, b"c", mask=HELLO_MASK)
    assert Decoder().feed(begun + ended + whole) == [b"ac", b"b" * 50]


def test_a_million_empty_fragments_keep_nothing() -> None:
    decoder = Decoder()
    decoder.feed(encode(Opcode.TEXT, b"", fin=False, mask=HELLO_MASK))
    empty = encode(Opcode.CONTINUATION, b"", fin=False, mask=HELLO_MASK) * 1_000
    for _ in range(1_000):
        assert decoder.feed(empty) == []
    assert decoder.feed(encode(Opcode.CONTINUATION, b"end", mask=HELLO_MASK)) == [b"end"]


def test_a_frame_that_comes_byte_by_byte_is_looked_at_a_few_times() -> None:
    """Looking at all that is held at every byte would cost 34 GB of copying for one frame of 256 KiB."""

    class Counting(Decoder):
        looks = 0

        def _frame(self, data: bytes, at: int, events: list[Event]) -> int:
            Counting.looks += 1
            return super()._frame(data, at, events)

    decoder, stream = Counting(), encode(Opcode.TEXT, b"x" * 20_000, mask=HELLO_MASK)
    told = [event for place in range(len(stream)) for event in decoder.feed(stream[place : place + 1])]
    assert told == [b"x" * 20_000]
    assert Counting.looks <= 4
