"""The PROXY protocol, versions 1 and 2, as a proxy writes it before the first byte of its client; sans-IO."""

import ipaddress
import struct
from typing import Final, NamedTuple

from realtime.gateway.address import normal, parse_address

V1_PREFIX: Final = b"PROXY "
V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_V1_BYTES: Final = 107  # the specification's own bound
MAX_V2_BYTES: Final = 2_048  # addresses and some TLVs; nobody sends the 64 KiB the format allows
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


class ProxyHeader(NamedTuple):
    """`source` is None when the proxy speaks for itself (a health check) or for something that is no TCP."""

    source: str | None
    size: int


class BadProxyHeader(NamedTuple):
    reason: str


def begins_with_proxy(data: bytes | bytearray) -> bool | None:
    """Does a PROXY header begin here? None: too few bytes to tell."""
    for signature in (V1_PREFIX, V2_SIGNATURE):
        if data.startswith(signature):
            return True
        if signature.startswith(bytes(data[: len(signature)])):
            return None
    return False


def read_proxy_header(data: bytes | bytearray) -> ProxyHeader | BadProxyHeader | None:
    """The header at the start of `data`, None while it is not whole."""
    if data.startswith(V2_SIGNATURE):
        return _read_v2(bytes(data[: MAX_V2_BYTES + 1]))
    return _read_v1(bytes(data[: MAX_V1_BYTES + 1]))


def _read_v1(data: bytes) -> ProxyHeader | BadProxyHeader | None:
    end = data.find(b"\r\n", 0, MAX_V1_BYTES)
    if end < 0:
        return None if len(data) < MAX_V1_BYTES else BadProxyHeader("a PROXY line of more than 107 bytes")
    words = data[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(None, end + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6") or not (words[4].isdigit() and words[5].isdigit()):
        return BadProxyHeader("a malformed PROXY line")
    source = parse_address(words[2])
    if source is None or (words[1] == "TCP4") is not (":" not in words[2]):
        return BadProxyHeader("a malformed address in a PROXY line")
    return ProxyHeader(str(source), end + 2)


def _read_v2(data: bytes) -> ProxyHeader | BadProxyHeader | None:
    if len(data) < 16:
        return None
    command, family, length = struct.unpack("!BBH", data[12:16])
    size = 16 + length
    if command not in (_LOCAL, _PROXY) or size > MAX_V2_BYTES:
        return BadProxyHeader("a PROXY header of unknown version or size")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return ProxyHeader(None, size)
    if length < (12 if family == _TCP4 else 36):
        return BadProxyHeader("a PROXY header too short for its addresses")
    packed = data[16:20] if family == _TCP4 else data[16:32]
    return ProxyHeader(normal(str(ipaddress.ip_address(packed))), size)
