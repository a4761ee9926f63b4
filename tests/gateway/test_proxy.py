"""The PROXY protocol, both versions, at every cut."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.gateway.proxy import (
    MAX_V2_BYTES,
    V2_SIGNATURE,
    BadProxyHeader,
    ProxyHeader,
    begins_with_proxy,
    read_proxy_header,
)


def v2(source: str, command: int = 0x21, extra: bytes = b"") -> bytes:
    address = ipaddress.ip_address(source)
    family = 0x11 if address.version == 4 else 0x21
    body = address.packed * 2 + struct.pack("!HH", 1234, 443) + extra
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", "192.0.2.1"),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (v2("192.0.2.1"), "192.0.2.1"),
    (v2("2001:db8::1"), "2001:db8::1"),
    (v2("::ffff:192.0.2.1"), "192.0.2.1"),
    (v2("192.0.2.1", extra=b"\x04\x00\x01x" * 10), "192.0.2.1"),
    (v2("192.0.2.1", command=0x20), None),
    (V2_SIGNATURE + b"\x21\x00\x00\x00", None),
    (V2_SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), None),
]


@pytest.mark.parametrize(("wire", "source"), GOOD)
def test_good_headers_at_every_cut(wire: bytes, source: str | None) -> None:
    for size in range(len(wire)):
        assert begins_with_proxy(wire[:size]) in (None, True)
        if begins_with_proxy(wire[:size]):
            assert read_proxy_header(wire[:size]) is None, f"cut at {size}"
    assert read_proxy_header(wire) == ProxyHeader(source, len(wire))
    assert read_proxy_header(wire + b"GET / HTTP/1.1\r\n") == ProxyHeader(source, len(wire))


@pytest.mark.parametrize(
    "wire",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 nonsense 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 one 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY " + b"x" * 110,
        V2_SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),  # version 1
        V2_SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),  # no such command
        V2_SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),  # too short for its addresses
        V2_SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_bad_headers(wire: bytes) -> None:
    assert isinstance(read_proxy_header(wire), BadProxyHeader)


def test_other_protocols_do_not_begin_so() -> None:
    assert begins_with_proxy(b"GET / HTTP/1.1") is False
    assert begins_with_proxy(b"PROPFIND / HTTP/1.1") is False
    assert begins_with_proxy(b"\r\nGET") is False
    assert begins_with_proxy(b"") is None
    assert begins_with_proxy(b"P") is None


@given(data=st.binary(max_size=200), version=st.sampled_from([b"PROXY ", V2_SIGNATURE]))
def test_rubbish_is_refused_or_waited_for_but_never_raised(data: bytes, version: bytes) -> None:
    header = read_proxy_header(version + data)
    if isinstance(header, ProxyHeader):
        assert 0 < header.size <= max(len(version + data), MAX_V2_BYTES)
