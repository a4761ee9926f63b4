"""The outbox: bounds, classes, order, and what a socket is offered."""

import random

import pytest

from actors.shapes.frames import COUNTER, DURABLE, EPHEMERAL, Frame, FrameClass
from realtime.outbox import CHUNK_BYTES, PONG_BYTES, Bounds, Outbox, Pushed
from realtime.wire.close import Close
from realtime.wire.frames import FROM_SERVER, Decoder, Opcode, Ping, Pong, encode

BOUNDS = Bounds(soft_bytes=1_000, hard_bytes=3_000, low_water_bytes=300)
KILO = b"x" * 96  # 98 bytes on the wire


def new() -> tuple[Outbox, list[int]]:
    drops = [0, 0, 0]
    return Outbox(BOUNDS, drops), drops


def texts_in(wire: bytes, decoder: Decoder | None = None) -> list[bytes]:
    events = (decoder or Decoder(FROM_SERVER)).feed(wire)
    return [event for event in events if isinstance(event, bytes)]


def drain(outbox: Outbox, most: int = 1 << 30) -> bytes:
    """What a socket that takes `most` bytes per call would receive."""
    out = b""
    while outbox.queued_bytes:
        chunk = bytes(outbox.chunk()[:most])
        outbox.sent(len(chunk))
        out += chunk
    return out


def fill(outbox: Outbox, upto: int) -> None:
    while outbox.queued_bytes < upto:
        assert outbox.push(Frame(KILO)) is Pushed.QUEUED


def test_a_single_frame_is_offered_without_a_copy() -> None:
    outbox, _ = new()
    frame = Frame(b"hello")
    outbox.push(frame)
    assert outbox.chunk() is frame.wire
    assert outbox.sent(len(frame.wire)) == [frame]
    assert outbox.queued_bytes == 0


def test_everything_of_a_tick_is_one_chunk() -> None:
    outbox, _ = new()
    frames = [Frame(b"%d" % number) for number in range(5)]
    for frame in frames:
        outbox.push(frame)
    chunk = outbox.chunk()
    assert Decoder(FROM_SERVER).feed(bytes(chunk)) == [b"0", b"1", b"2", b"3", b"4"]
    assert outbox.sent(3) == ()
    assert bytes(outbox.chunk()) == bytes(chunk)[3:]
    assert outbox.sent(len(chunk) - 3) == frames


def test_a_chunk_is_bounded_so_that_the_rest_stays_droppable() -> None:
    outbox = Outbox(Bounds(), [0, 0, 0])
    for _ in range(200):
        outbox.push(Frame(b"y" * 1_000))
    assert CHUNK_BYTES <= len(outbox.chunk()) < CHUNK_BYTES + 1_004
    assert len(Decoder(FROM_SERVER).feed(drain(outbox))) == 200


def test_over_the_soft_bound_ephemerals_go_and_stay_out() -> None:
    outbox, drops = new()
    outbox.push(Frame(b"typing", EPHEMERAL))
    fill(outbox, BOUNDS.soft_bytes)
    assert drops[EPHEMERAL] == 0
    outbox.push(Frame(b"message"))
    assert drops[EPHEMERAL] == 1
    assert outbox.push(Frame(b"typing again", EPHEMERAL)) is Pushed.DROPPED
    texts = Decoder(FROM_SERVER).feed(drain(outbox))
    assert b"typing" not in texts
    assert texts[-1] == b"message"


@pytest.mark.parametrize("pressed", [False, True])
def test_the_latest_counter_wins_in_the_place_of_the_first(pressed: bool) -> None:
    outbox, drops = new()
    outbox.push(Frame(b"a1", COUNTER, "a"))
    outbox.push(Frame(b"b1", COUNTER, "b"))
    if pressed:
        fill(outbox, BOUNDS.soft_bytes)
    assert outbox.push(Frame(b"a2 is longer", COUNTER, "a")) is Pushed.QUEUED
    assert drops[COUNTER] == 1
    assert Decoder(FROM_SERVER).feed(drain(outbox))[:2] == [b"a2 is longer", b"b1"]
    outbox.push(Frame(b"a3", COUNTER, "a"))
    assert Decoder(FROM_SERVER).feed(drain(outbox)) == [b"a3"]


def test_a_new_counter_does_not_queue_over_the_soft_bound() -> None:
    outbox, drops = new()
    fill(outbox, BOUNDS.soft_bytes)
    assert outbox.push(Frame(b"c", COUNTER, "c")) is Pushed.DROPPED
    assert drops[COUNTER] == 1


def test_counters_find_their_place_after_others_have_left() -> None:
    outbox = Outbox(Bounds(soft_bytes=1 << 20), [0, 0, 0])
    for number in range(100):
        outbox.push(Frame(b"y" * 1_000))
        outbox.push(Frame(b"%d" % number, COUNTER, f"key {number}"))
    first = bytes(outbox.chunk())
    outbox.sent(len(first))
    outbox.push(Frame(b"new", COUNTER, "key 99"))
    outbox.push(Frame(b"again", COUNTER, "key 0"))  # its first value has been sent
    texts = [text for text in texts_in(first + drain(outbox)) if len(text) < 100]
    assert texts == [b"%d" % number for number in range(99)] + [b"new", b"again"]


def test_keys_that_have_left_are_forgotten() -> None:
    """A connection that is always a little behind has no empty queue ever, and must not remember every story it saw."""
    outbox = Outbox(Bounds(), [0, 0, 0])
    outbox.push(Frame(b"y" * CHUNK_BYTES))
    for number in range(5_000):
        outbox.push(Frame(b"y" * 1_000, COUNTER, f"key {number}"))
        popped = outbox.pop() if number > 50 else None
        if popped is not None:
            outbox.popped(popped)
    assert outbox._counters is not None
    assert len(outbox._counters) < 300


def test_the_hard_bound_throws_everything_out() -> None:
    outbox, drops = new()
    verdicts = [outbox.push(Frame(KILO)) for _ in range(32)]
    assert verdicts[:31] == [Pushed.QUEUED] * 31
    assert verdicts[31] is Pushed.OVERFLOW
    assert outbox.queued_bytes == 0
    assert drops == [32, 0, 0]


def test_what_was_begun_is_finished_after_an_overflow() -> None:
    """Half a frame followed by a close frame would be read as the rest of the frame."""
    outbox, _ = new()
    for _ in range(10):
        outbox.push(Frame(KILO))
    begun = bytes(outbox.chunk()[:50])
    outbox.sent(50)
    outbox.drop_all()
    while outbox.push(Frame(KILO)) is not Pushed.OVERFLOW:
        pass
    outbox.finish(Frame(b"lagging"), encode(Opcode.CLOSE, b"\x0f\xa1"))
    events = Decoder(FROM_SERVER).feed(begun + drain(outbox))
    assert events == [KILO] * 10 + [b"lagging", Close(4001, "")]


def test_one_large_answer_fits_into_an_empty_outbox() -> None:
    outbox, _ = new()
    assert outbox.push(Frame(b"z" * 100_000)) is Pushed.QUEUED
    assert outbox.push(Frame(b"next")) is Pushed.OVERFLOW


def test_control_frames_overtake_what_waits() -> None:
    outbox, _ = new()
    outbox.push(Frame(b"waits"))
    outbox.overtake(encode(Opcode.PING, b""))
    outbox.pong(encode(Opcode.PONG, b"1"))
    outbox.pong(encode(Opcode.PONG, b"2"))
    assert Decoder(FROM_SERVER).feed(drain(outbox)) == [Ping(b""), Pong(b"1"), Pong(b"2"), b"waits"]


def test_pings_without_reads_queue_nothing() -> None:
    outbox, _ = new()
    for number in range(10_000):
        outbox.pong(encode(Opcode.PONG, b"%d" % number))
        assert outbox.queued_bytes <= PONG_BYTES
    assert Decoder(FROM_SERVER).feed(drain(outbox))[-1] == Pong(b"9999")


def test_nothing_is_kept_of_what_was_sent() -> None:
    """An idle connection must not hold its last message."""
    outbox, _ = new()
    outbox.push(Frame(b"x"))
    outbox.push(Frame(b"y"))
    drain(outbox)
    assert outbox._flying == ()
    assert outbox._frames == []


def test_frame_by_frame() -> None:
    outbox, _ = new()
    frames = [Frame(b"a"), Frame(b"b", EPHEMERAL), Frame(b"c", COUNTER, "c")]
    for frame in frames:
        outbox.push(frame)
    seen = []
    while (popped := outbox.pop()) is not None:
        assert outbox.queued_bytes > 0
        seen.append(popped)
        outbox.popped(popped)
    assert seen == frames
    assert outbox.queued_bytes == 0


@pytest.mark.parametrize("seed", range(20))
def test_at_random_the_books_are_right_and_durable_frames_keep_their_order(seed: int) -> None:
    dice = random.Random(seed)
    outbox, drops = new()
    decoder = Decoder(FROM_SERVER)
    pushed, received, overflows = 0, list[bytes](), 0
    for number in range(2_000):
        frame_class = FrameClass(dice.choices((DURABLE, COUNTER, EPHEMERAL), (6, 3, 2))[0])
        key = f"k{dice.randrange(5)}" if frame_class is COUNTER else None
        frame = Frame(b"%d %d" % (frame_class, number) + b"." * dice.randrange(200), frame_class, key)
        verdict = outbox.push(frame)
        pushed += 1
        if verdict is Pushed.OVERFLOW:
            overflows += 1
        assert 0 <= outbox.queued_bytes <= BOUNDS.hard_bytes + 220 * 6, "one frame over, or five grown counters"
        if dice.random() < 0.12:
            chunk = bytes(outbox.chunk()) if outbox.queued_bytes else b""
            count = dice.randrange(len(chunk) + 1)
            outbox.sent(count)
            received += texts_in(chunk[:count], decoder)
    received += texts_in(drain(outbox), decoder)
    assert overflows, "the bounds were never reached: this test tests nothing"
    assert len(received) + sum(drops) == pushed
    durable = [int(text.split(b".")[0].split()[1]) for text in received if text.startswith(b"0 ")]
    assert durable == sorted(durable)
