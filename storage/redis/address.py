"""Where Redis is and how one signs in there, as REDIS_URL says it."""

from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

PORT: Final = 6379


class RedisAddress(Struct, frozen=True):
    """`redis://user:password@host:port/db`, or `rediss://` over TLS."""

    host: str
    port: int = PORT
    tls: bool = False
    username: str = ""
    password: str = ""
    database: int = 0

    def __repr__(self) -> str:
        """Without the password: it stands in tracebacks and logs."""
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.database}"


def address_of(url: str) -> RedisAddress:
    """The settings have checked the form of the URL; raises ValueError on one that they would refuse."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError("this is no address of Redis")
    return RedisAddress(
        parts.hostname,
        parts.port or PORT,
        parts.scheme == "rediss",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        int(parts.path.strip("/") or 0),
    )
