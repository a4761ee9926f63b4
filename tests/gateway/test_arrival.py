"""The first bytes of a connection: where they lead, at every cut, and what an attacker gets."""

import pytest

from realtime.gateway.address import TrustedProxies
from realtime.gateway.arrival import Arrival, Destination, Knock, ToHttp, Turned
from realtime.gateway.proxy import V2_SIGNATURE
from realtime.wire.handshake import MAX_HEAD_BYTES, client_request

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
TRUSTED = TrustedProxies(("10.0.0.0/8",))
UPGRADE = client_request("h", "/ws?ticket=1", KEY)


def arrive(peer: str = "198.51.100.1") -> Arrival:
    return Arrival(peer, ("/ws",), TRUSTED)


def fed(arrival: Arrival, data: bytes, step: int) -> Destination | None:
    for start in range(0, len(data), step):
        destination = arrival.feed(data[start : start + step])
        if destination is not None:
            return destination
    return None


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("proxy", [b"", b"PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n"])
def test_an_upgrade_of_ours_knocks(step: int, proxy: bytes) -> None:
    knock = fed(arrive("10.0.0.1"), proxy + UPGRADE, step)
    assert isinstance(knock, Knock)
    assert knock.request.remote == ("192.0.2.9" if proxy else "10.0.0.1")
    assert (knock.request.path, knock.request.query, knock.key) == ("/ws", "ticket=1", KEY)
    assert knock.head == UPGRADE
    assert knock.rest == b""


def test_what_follows_the_head_is_kept_apart() -> None:
    knock = arrive().feed(UPGRADE + b"\x81\x80more")
    assert isinstance(knock, Knock)
    assert knock.rest == b"\x81\x80more"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /api/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        client_request("h", "/other", KEY),
        client_request("h", "/WS", KEY),
        b"nonsense\r\n\r\n",  # the HTTP server has its own words for it
        b"GET / HTTP/1.0\n\n",
    ],
)
def test_everything_else_goes_to_http_with_every_byte(data: bytes) -> None:
    assert arrive().feed(data) == ToHttp(data)


def test_a_proxy_header_is_not_passed_on() -> None:
    arrival = arrive("10.0.0.1")
    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    assert arrival.feed(b"PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n" + request) == ToHttp(request)
    assert arrival.remote == "192.0.2.9"


def test_a_stranger_cannot_name_another_address() -> None:
    arrival = arrive()
    assert not isinstance(arrival.feed(b"PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n" + UPGRADE), Knock)
    assert arrival.remote == "198.51.100.1"
    assert isinstance(arrive().feed(V2_SIGNATURE + b"\x21\x11\x00\x0c" + bytes(12) + b"\n\n"), ToHttp | Turned)


def test_forwarded_for_counts_behind_a_proxy_header_only_if_that_names_a_proxy() -> None:
    data = client_request("h", "/ws", KEY, [("X-Forwarded-For", "203.0.113.5"), ("X-Forwarded-Proto", "https")])
    through_two = arrive("10.0.0.1").feed(b"PROXY TCP4 10.0.0.2 10.0.0.1 1 2\r\n" + data)
    assert isinstance(through_two, Knock)
    assert through_two.request.remote == "203.0.113.5"
    assert through_two.request.secure
    direct = arrive("10.0.0.1").feed(b"PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n" + data)
    assert isinstance(direct, Knock)
    assert direct.request.remote == "192.0.2.9"
    assert not direct.request.secure


def test_a_bad_proxy_header_is_turned_away() -> None:
    turned = arrive("10.0.0.1").feed(b"PROXY TCP4 nonsense\r\n" + UPGRADE)
    assert isinstance(turned, Turned)
    assert turned.status == 400


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02\x00", b"\x00", b"\xff\xfe", b" GET"])
def test_other_protocols_are_known_by_their_first_byte(first: bytes) -> None:
    """Else a TLS hello on the plain port would be waited for until the deadline."""
    turned = arrive().feed(first)
    assert isinstance(turned, Turned)
    assert turned.status == 400


@pytest.mark.parametrize("step", [1_000, 100_000])
def test_a_head_that_does_not_end(step: int) -> None:
    data = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000
    turned = fed(arrive(), data, step)
    assert isinstance(turned, Turned)
    assert turned.status == 431


def test_a_head_that_ends_too_late() -> None:
    data = b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n"
    turned = arrive().feed(data)
    assert isinstance(turned, Turned)
    assert turned.status == 431


def test_http2_without_tls() -> None:
    turned = arrive().feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert isinstance(turned, Turned)
    assert turned.status == 505
