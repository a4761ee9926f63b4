"""Random frames: the decoder and a plain second one must tell the same, whatever comes and however it is cut."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.wire.close import Close, Violation
from realtime.wire.frames import Binary, Decoder, Event, Opcode, Ping, encode
from tests.wire.reference_decoder import Told, decode_all

TEXTS = (b"", b"a", b"hello", "żółć".encode(), "𝄞 κόσμε".encode(), b"\xed\xa0\x80", b"\xff", b"x" * 125, b"y" * 130)


def as_told(event: Event) -> Told:
    match event:
        case bytes():
            return "text", event
        case Ping(payload):
            return "ping", payload
        case Close(code, _):
            return "close", code
        case Violation(code, _):
            return "violation", int(code)
        case Binary():
            raise AssertionError("a server tells no binary messages")
        case _:
            return "pong", event.payload


def random_frame(dice: random.Random) -> bytes:
    """Mostly what a client may send, sometimes with a twist; the twists are what this is about."""
    payload = dice.choice(TEXTS) if dice.random() < 0.8 else dice.randbytes(dice.randrange(40))
    if dice.random() < 0.02:
        payload = b"z" * dice.choice((65535, 65536, 70_000, 262_144, 262_145))
    opcode = dice.choices((1, 0, 9, 10, 8, 2, dice.randrange(16)), (60, 25, 8, 4, 1, 0.3, 0.3))[0]
    wire = bytearray(encode(opcode, payload, fin=dice.random() < 0.75, mask=dice.randbytes(4)))
    if dice.random() < 0.03:
        wire[dice.randrange(min(len(wire), 14))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.01:
        del wire[dice.randrange(len(wire)) :]
    return bytes(wire)


def cut(stream: bytes, dice: random.Random) -> list[bytes]:
    pieces = []
    while stream:
        size = dice.choice((1, 2, 7, 100, 5_000, 65_536, len(stream)))
        pieces.append(stream[:size])
        stream = stream[size:]
    return pieces


def run_streams(frames: int, seed: int) -> int:
    """Returns how many connections it took; each ends with its first violation or close."""
    dice = random.Random(seed)
    streams = 0
    while frames > 0:
        stream = b"".join(random_frame(dice) for _ in range(20))
        frames -= 20
        streams += 1
        decoder = Decoder()
        told = []
        for piece in cut(stream, dice):
            told += [as_told(event) for event in decoder.feed(piece, dice.choice((1, 3, 1_000)))]
            while decoder.ready:
                told += [as_told(event) for event in decoder.feed(b"", 4)]
        assert told == decode_all(stream), f"seed {seed}, stream {streams}: {stream[:200].hex()}"
    return streams


def test_a_hundred_thousand_random_frames() -> None:
    assert run_streams(100_000, seed=20261120) == 5_000


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_million_random_frames(seed: int) -> None:
    assert run_streams(100_000, seed=seed) == 5_000


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
@settings(max_examples=500, deadline=None)
def test_any_bytes_at_all(data: bytes, cuts: list[int]) -> None:
    decoder = Decoder()
    told = []
    edges = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    for begin, end in pairwise(edges):
        told += [as_told(event) for event in decoder.feed(data[begin:end])]
    assert told == decode_all(data)


frames = st.builds(
    lambda opcode, fin, payload, mask: encode(opcode, payload, fin=fin, mask=mask),
    st.sampled_from([Opcode.TEXT, Opcode.CONTINUATION, Opcode.PING, Opcode.PONG]),
    st.booleans(),
    st.one_of(st.sampled_from(TEXTS), st.text(max_size=20).map(str.encode), st.binary(max_size=20)),
    st.binary(min_size=4, max_size=4),
)


@given(stream=st.lists(frames, max_size=12).map(b"".join), cut_at=st.integers(0, 500))
@settings(max_examples=500, deadline=None)
def test_frames_that_are_nearly_right(stream: bytes, cut_at: int) -> None:
    decoder = Decoder()
    told = [as_told(event) for event in decoder.feed(stream[:cut_at]) + decoder.feed(stream[cut_at:])]
    assert told == decode_all(stream)
