"""The rebuilt Autobahn cases against the decoder alone; tests/gateway/test_autobahn_sockets.py sends them to both
transports."""

import pytest

from realtime.wire.close import Close, Violation
from realtime.wire.frames import Decoder, Event, Ping
from tests.wire.autobahn_cases import CASES, Case


def told(events: list[Event]) -> tuple[tuple[bytes, ...], tuple[bytes, ...], int | None]:
    """Texts, pings and the end, as a case lists them."""
    texts = tuple(event for event in events if isinstance(event, bytes))
    pings = tuple(event.payload for event in events if isinstance(event, Ping))
    ends = [int(event.code) for event in events if isinstance(event, Close | Violation)]
    assert len(ends) <= 1, "a connection ends once"
    return texts, pings, ends[0] if ends else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    decoder = Decoder()
    events: list[Event] = []
    for part in case.sent:
        events += decoder.feed(part)
    texts, pings, code = told(events)
    assert texts == case.echoed
    assert pings == case.pongs
    if case.codes is None:
        assert code is None
    else:
        assert code in case.codes
        assert decoder.over
        assert decoder.feed(b"\x81\x80\x00\x00\x00\x00") == [], "nothing is told after the end"


@pytest.mark.parametrize(
    "case", [case for case in CASES if sum(map(len, case.sent)) < 2_000], ids=lambda case: case.name
)
def test_split_at_every_byte(case: Case) -> None:
    """Where the network cuts a stream must not matter."""
    stream = b"".join(case.sent)
    whole = told(Decoder().feed(stream))
    for cut in range(len(stream) + 1):
        decoder = Decoder()
        assert told(decoder.feed(stream[:cut]) + decoder.feed(stream[cut:])) == whole, f"cut at {cut}"
    decoder = Decoder()
    single: list[Event] = []
    for place in range(len(stream)):
        single += decoder.feed(stream[place : place + 1])
    assert told(single) == whole


@pytest.mark.parametrize("most", [1, 2, 7])
@pytest.mark.parametrize("case", [case for case in CASES if len(case.sent) < 20], ids=lambda case: case.name)
def test_few_frames_at_a_time(case: Case, most: int) -> None:
    """A bounded number of frames per turn tells the same, and `ready` says that there is more."""
    decoder = Decoder()
    events = decoder.feed(b"".join(case.sent), most)
    while decoder.ready:
        turn = decoder.feed(b"", most)
        assert len(turn) <= most
        events += turn
    assert told(events) == told(Decoder().feed(b"".join(case.sent)))
