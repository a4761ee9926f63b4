"""Which web pages of other origins may call, and the headers by which their browsers learn it."""

from collections.abc import Iterable
from typing import Final

Header = tuple[bytes, bytes]

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-Id"
ANSWER_HEADERS: Final = (
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "Retry-After, ETag, Idempotent-Replayed, Link"
)
# Two hours is the most that any browser keeps a preflight for.
_PREFLIGHT_SECONDS: Final = 7_200

_EXPOSED: Final[Header] = (b"access-control-expose-headers", ANSWER_HEADERS.encode())
_PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", METHODS),
    ("Access-Control-Allow-Headers", REQUEST_HEADERS),
    ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
)


class Cors:
    """Nothing is ever said about credentials: there is no cookie that a browser could add by itself, and a page that
    holds a token may use it. (docs/decisions/0067)

    A page without an origin of its own (`Origin: null`: a sandboxed frame, a local file) is let in by `*` only, for
    anybody can make one.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        allowed = frozenset(origins)
        self.anybody = "*" in allowed
        # Answers differ by origin wherever some may call and others not, also those to who names none.
        self.varies = bool(allowed) and not self.anybody
        self.silent = not allowed
        self._allowed: dict[str, tuple[Header, ...]] = {
            origin: ((b"access-control-allow-origin", origin.encode("ascii")), _EXPOSED)
            for origin in allowed
            if origin not in ("*", "null")
        }
        self._everybody = ((b"access-control-allow-origin", b"*"), _EXPOSED) if self.anybody else ()

    def headers(self, origin: str | None) -> tuple[Header, ...]:
        """What the answer to a page of this origin carries; nothing for who may not."""
        if self.silent or origin is None:
            return ()
        return self._everybody or self._allowed.get(origin, ())

    def preflight(self, origin: str | None, wanted_method: str | None) -> tuple[tuple[str, str], ...]:
        """The answer to a browser that asks first, nothing when it is no such question or the answer is no.

        The same for every path: a page that asks for a path that is none should read our 404, and could not if the
        question had failed already.
        """
        return _PREFLIGHT if wanted_method is not None and self.headers(origin) else ()
