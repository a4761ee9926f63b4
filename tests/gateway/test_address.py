"""Who a client is: addresses as proxies write them, and whom to believe."""

import pytest

from realtime.gateway.address import TrustedProxies, counting_key, normal, parse_address


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:443 ", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_one_spelling(written: str, meant: str) -> None:
    assert normal(written) == meant


@pytest.mark.parametrize("written", ["", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "[::1", "999.0.0.1"])
def test_what_is_no_address(written: str) -> None:
    if written != "[::1":
        assert parse_address(written) is None


def test_ipv6_counts_by_its_64() -> None:
    assert counting_key("2001:db8:1:2:3:4:5:6") == counting_key("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert counting_key("2001:db8:1:3::1") != counting_key("2001:db8:1:2::1")
    assert counting_key("192.0.2.1") == "192.0.2.1"
    assert counting_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert counting_key("unix") == "unix"


TRUSTED = TrustedProxies(("10.0.0.0/8", "2001:db8::/32", "192.0.2.7"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", b"1.1.1.1", "198.51.100.1"),  # not a proxy of ours: hearsay
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", b"6.6.6.6, 1.1.1.1", "1.1.1.1"),  # what the client itself claimed stands left
        ("10.0.0.1", b"6.6.6.6, 1.1.1.1, 10.2.2.2, 192.0.2.7", "1.1.1.1"),
        ("10.0.0.1", b"10.9.9.9, 10.8.8.8", "10.9.9.9"),
        ("10.0.0.1", b"1.1.1.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", b"1.1.1.1, nonsense, 10.3.3.3", "10.3.3.3"),
        ("10.0.0.1", b"1.1.1.1:5555", "1.1.1.1"),
        ("10.0.0.1", b"[2606:4700::1]:443", "2606:4700::1"),
        ("2001:db8::5", b"1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", b"::ffff:1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", b", ,1.1.1.1", "1.1.1.1"),
    ],
)
def test_the_right_most_untrusted_entry(peer: str, forwarded: bytes, client: str) -> None:
    assert TRUSTED.client_of(peer, forwarded) == client


def test_nobody_is_trusted_by_default() -> None:
    nobody = TrustedProxies(())
    assert "127.0.0.1" not in nobody
    assert nobody.client_of("127.0.0.1", b"1.1.1.1") == "127.0.0.1"
    assert "unix" not in TRUSTED


def test_tls_in_front() -> None:
    assert TRUSTED.is_secure("10.0.0.1", b"https", secure=False)
    assert not TRUSTED.is_secure("10.0.0.1", b"http", secure=True)
    assert TRUSTED.is_secure("10.0.0.1", b"", secure=True)
    assert not TRUSTED.is_secure("198.51.100.1", b"https", secure=False)
    assert not TRUSTED.is_secure("10.0.0.1", b"https, http", secure=False)


def test_the_memory_of_peers_is_bounded() -> None:
    trusted = TrustedProxies(("10.0.0.0/8",))
    for number in range(10_000):
        assert f"192.0.{number // 256}.{number % 256}" not in trusted
    assert len(trusted._known) <= 4_096
