"""Who is at the other end: the peer, or what a trusted proxy says about it."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_CACHE_ENTRIES = 4_096


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with or without a port, brackets or zone; IPv4 inside IPv6 becomes IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def normal(text: str) -> str:
    """One spelling per address; what is no address (a Unix socket's peer) stays as it is."""
    address = parse_address(text)
    return text if address is None else str(address)


def counting_key(text: str) -> str:
    """What caps count by: an IPv6 customer has a /64, so its 2**64 addresses are one."""
    address = parse_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return text if address is None else str(address)


class TrustedProxies:
    """The networks whose word about their clients is taken."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            parsed = parse_address(address)
            known = parsed is not None and any(parsed in network for network in self._networks)
            if len(self._known) >= _CACHE_ENTRIES:  # behind many proxies: begin anew rather than grow
                self._known.clear()
            self._known[address] = known
        return known

    def client_of(self, peer: str, forwarded_for: bytes) -> str:
        """The right-most untrusted entry of X-Forwarded-For, if `peer` is trusted; whatever stands left of it is
        hearsay."""
        client = peer
        for entry in reversed(forwarded_for.split(b",")):
            if client not in self:
                return client
            parsed = parse_address(entry.decode("latin-1"))
            if parsed is None:
                return client
            client = str(parsed)
        return client

    def is_secure(self, peer: str, forwarded_proto: bytes, secure: bool) -> bool:
        """Did the client speak TLS? A trusted proxy's X-Forwarded-Proto decides, else what we saw."""
        if not forwarded_proto or peer not in self:
            return secure
        return forwarded_proto.rpartition(b",")[2].strip().lower() in (b"https", b"wss")
