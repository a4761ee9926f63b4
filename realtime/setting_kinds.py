"""How the text of one environment variable becomes a checked value; it knows no variable by name."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Value = str | int | float | bool | tuple[str, ...]


class BadValueError(ValueError):
    """The text is not what the kind allows."""


@dataclass(frozen=True)
class Kind:
    """`allowed` ends the sentence "… must be" and stands in the error and in .env.example's test."""

    allowed: str
    parse: Callable[[str], Value]


def _refuse_unless(condition: bool) -> None:
    if not condition:
        raise BadValueError


def whole(least: int, most: int) -> Kind:
    def parse(text: str) -> int:
        # int() also takes "1_000", " 7 " and Arabic digits; a typing error should not become a number.
        _refuse_unless(re.fullmatch(r"[0-9]{1,15}", text) is not None)
        _refuse_unless(least <= int(text) <= most)
        return int(text)

    return Kind(f"a whole number from {least} to {most}", parse)


def number(least: float, most: float) -> Kind:
    def parse(text: str) -> float:
        _refuse_unless(re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text) is not None)
        _refuse_unless(least <= float(text) <= most)
        return float(text)

    return Kind(f"a number from {least:g} to {most:g}", parse)


def one_of(*words: str) -> Kind:
    def parse(text: str) -> str:
        _refuse_unless(text in words)
        return text

    return Kind(" or ".join(words) if len(words) < 3 else "one of " + ", ".join(words), parse)


def _parse_yes_or_no(text: str) -> bool:
    _refuse_unless(text.lower() in ("0", "1", "no", "yes", "false", "true"))
    return text.lower() in ("1", "yes", "true")


yes_or_no = Kind("yes or no (also 1, 0, true, false)", _parse_yes_or_no)


def _parse_networks(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        # Strict: 10.0.0.1/8 is one host to its writer and sixteen million to the rule.
        return tuple(str(ipaddress.ip_network(name)) for name in names)
    except ValueError:
        raise BadValueError from None


networks = Kind("networks like 10.0.0.0/8 or fd00::/8, divided by commas (no bits right of the mask)", _parse_networks)


def _parse_hosts(text: str) -> tuple[str, ...]:
    names = text.replace("localhost", "127.0.0.1,::1").split(",")
    try:
        addresses = tuple(str(ipaddress.ip_address(name.strip())) for name in names)
    except ValueError:
        raise BadValueError from None
    _refuse_unless(len(set(addresses)) == len(addresses))
    return addresses


hosts = Kind("IP addresses to listen on, divided by commas, like 127.0.0.1,::1 or 0.0.0.0 (or localhost)", _parse_hosts)


def _parse_database_url(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        _refuse_unless(parts.scheme in ("postgres", "postgresql") and len(parts.path) > 1)
        _refuse_unless(bool(parts.hostname) or "host=" in parts.query)
        _ = parts.port
    except ValueError:
        raise BadValueError from None
    return text


database_url = Kind("postgresql://user:password@host:port/database, or empty for the embedded one", _parse_database_url)


def _parse_redis_url(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        _refuse_unless(parts.scheme in ("redis", "rediss") and bool(parts.hostname))
        _refuse_unless(re.fullmatch(r"/?[0-9]{0,4}", parts.path) is not None)
        _ = parts.port
    except ValueError:
        raise BadValueError from None
    return text


redis_url = Kind("redis://:password@host:port/0, or empty for none", _parse_redis_url)


def _parse_host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    _refuse_unless(not text or (bool(host) and re.fullmatch(r"[0-9]{1,5}", port) is not None and int(port) < 65_536))
    return text


host_and_port = Kind("host:port, or empty", _parse_host_and_port)


def _parse_bucket_name(text: str) -> str:
    _refuse_unless(re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text) is not None and ".." not in text)
    return text


bucket_name = Kind("3 to 63 small letters, digits, dots or hyphens", _parse_bucket_name)


def _web_address(text: str, *, bare: bool) -> str:
    """http or https and a host; `bare`: nothing behind the port."""
    try:
        parts = urlsplit(text)
        _refuse_unless(parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable())
        _refuse_unless(parts.username is None and not parts.query and not parts.fragment and " " not in text)
        _refuse_unless(not bare or parts.path in ("", "/"))
        _ = parts.port
    except ValueError:
        raise BadValueError from None
    return text.rstrip("/")


public_url = Kind(
    "http://host or https://host, with a port if need be, or empty", lambda text: text and _web_address(text, bare=True)
)
issuer = Kind(
    "the https:// (or http://) address of a provider, or empty", lambda text: text and _web_address(text, bare=False)
)


def _parse_store_endpoint(text: str) -> str:
    if text and "://" not in text:
        return _web_address(f"https://{text}", bare=True).removeprefix("https://")
    return text and _web_address(text, bare=True)


store_endpoint = Kind("host:port, or the same with http:// or https:// before it, or empty", _parse_store_endpoint)


def _parse_origins(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple("*" if name == "*" else _origin(name) for name in names)


def _origin(text: str) -> str:
    """As browsers write it: small letters, and no port that goes without saying."""
    address = _web_address(text, bare=True).lower()
    scheme = address.partition(":")[0]
    return address.removesuffix({"http": ":80", "https": ":443"}[scheme])


origins = Kind("origins like https://app.example.org, divided by commas, or *", _parse_origins)


def _parse_addresses(text: str) -> tuple[str, ...]:
    """Where a provider may send people back to: also an app's own scheme, like org.example.app:/signed-in."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        _refuse_unless(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+", name) is not None)
        _refuse_unless(not name.lower().startswith(("javascript:", "data:", "file:")))
    return tuple(names)


addresses = Kind("addresses like https://app.example.org/signed-in, divided by commas", _parse_addresses)


def _parse_words(text: str) -> str:
    _refuse_unless(re.fullmatch(r"[A-Za-z0-9_.:/-]*( [A-Za-z0-9_.:/-]+)*", text) is not None)
    return text


words = Kind("words divided by single spaces", _parse_words)


def _parse_plain(text: str) -> str:
    _refuse_unless(text.isprintable() and len(text) <= 500)
    return text


plain = Kind("at most 500 printable characters", _parse_plain)


def _parse_name(text: str) -> str:
    _refuse_unless(not text or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text) is not None)
    return text


node_name = Kind("at most 63 letters, digits, dots, hyphens or underscores", _parse_name)


def _parse_path(text: str) -> str:
    _refuse_unless(bool(text) and "\0" not in text)
    return text


path = Kind("the path of a folder", _parse_path)


def _parse_secret(text: str) -> str:
    _refuse_unless(text.isprintable())
    return text


secret = Kind("printable characters, or empty for one that is made once and kept", _parse_secret)
