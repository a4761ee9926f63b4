"""What every answer has around it: the headers that protect, those that tell, the tag, the compression."""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from quart.wrappers import Request

from webapi.answers import Answer, compressed
from webapi.call import Call
from webapi.cors import Cors, Header
from webapi.etags import is_known, is_tagged, weak_etag
from webapi.routing import Route
from webapi.services import WebOptions

# Made once, as the server wants them: a dozen headers cost an answer one copy of a list. Our answers are no documents,
# so a browser is told to run nothing in them, to frame them nowhere and to guess nothing.
PROTECTING: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
STAY_WITH_TLS: Final[Header] = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_ASK_AGAIN: Final[Header] = (b"cache-control", b"private, no-cache")
_SMALL: Final = 4_096
_LENGTHS: Final = tuple(str(length).encode() for length in range(_SMALL))
_TEXTUAL: Final = ("text/", "application/json", "application/javascript", "image/svg+xml")


class Sent(NamedTuple):
    """An answer as it goes to the server."""

    status: int
    headers: list[Header]
    body: bytes


class Answering:
    """Turns answers into what is sent."""

    def __init__(self, options: WebOptions, routes: Iterable[Route]) -> None:
        self.cors = Cors(options.cors_origins)
        self._gzip_from = options.gzip_from
        self._always_tls = options.public_is_https
        self._plain = list(PROTECTING)
        self._secure = [*PROTECTING, STAY_WITH_TLS]
        # By handler: a route is a struct, and hashing one hashes all its fields.
        self._tagged = frozenset(route.handler for route in routes if is_tagged(route))

    def sent(self, call: Call, answer: Answer) -> Sent:
        body, status = answer.body(), answer.status
        headers = self._around(call, answer)
        etag = self._tag(call, answer, body, headers)
        vary = [b"Origin"] if self.cors.varies else []
        shrinks = self._may_shrink(answer, body)
        if shrinks:
            vary.append(b"Accept-Encoding")
        if vary:
            _vary(headers, vary)
        if etag and is_known(etag, call.request.headers.get("If-None-Match", "")):
            return Sent(304, [header for header in headers if header[0] != b"content-encoding"], b"")
        if shrinks and takes_gzip(call.request):
            body = compressed(body)
            headers.append((b"content-encoding", b"gzip"))
        if status != 204:
            headers.append((b"content-type", answer.content_type.encode("ascii")))
            size = len(body)
            headers.append((b"content-length", _LENGTHS[size] if size < _SMALL else str(size).encode()))
        return Sent(status, headers, body)

    def _around(self, call: Call, answer: Answer) -> list[Header]:
        """What does not depend on the body."""
        secure = self._always_tls or call.request.scheme == "https"
        headers = list(self._secure if secure else self._plain)
        if answer.headers:
            headers = _overridden(headers, answer.headers)
        if not self.cors.silent:
            headers += self.cors.headers(call.request.headers.get("Origin"))
        self._tell(headers, call)
        return headers

    def _tag(self, call: Call, answer: Answer, body: bytes, headers: list[Header]) -> str:
        """The answer's ETag, if it has one, and how long it may be kept."""
        own = dict(answer.headers)
        etag = own.get("ETag", "")
        if answer.status != 200:
            etag = ""
        elif not etag and call.route is not None and call.route.handler in self._tagged:
            etag = weak_etag(body)
            headers.append((b"etag", etag.encode("ascii")))
        if "Cache-Control" not in own:
            headers.append(_ASK_AGAIN if etag else _NO_STORE)
        return etag

    def _tell(self, headers: list[Header], call: Call) -> None:
        headers.append((b"x-request-id", call.request_id.encode("ascii")))
        verdict = call.verdict
        if verdict is not None:
            headers.append((b"x-ratelimit-limit", str(verdict.limit).encode()))
            headers.append((b"x-ratelimit-remaining", str(verdict.remaining).encode()))
            headers.append((b"x-ratelimit-reset", str(math.ceil(verdict.reset)).encode()))

    def _may_shrink(self, answer: Answer, body: bytes) -> bool:
        """What is compressed already grows; what came compressed says so itself."""
        if len(body) < self._gzip_from or not answer.content_type.startswith(_TEXTUAL):
            return False
        return not any(name == "Content-Encoding" for name, _ in answer.headers)


def takes_gzip(request: Request) -> bool:
    return request.accept_encodings.quality("gzip") > 0  # `gzip;q=0` says no to it


def _overridden(headers: list[Header], own: Iterable[tuple[str, str]]) -> list[Header]:
    """With the handler's, which go before ours. Whatever they were made of, they stay in their line."""
    mine = [(name.lower().encode("ascii"), _one_line(value)) for name, value in own]
    names = {name for name, _ in mine}
    return [header for header in headers if header[0] not in names] + mine


def _one_line(value: str) -> bytes:
    if "\r" in value or "\n" in value or "\x00" in value:
        raise ValueError("a header's value has one line")
    return value.encode("latin-1")


def _vary(headers: list[Header], names: list[bytes]) -> None:
    for place, (name, value) in enumerate(headers):
        if name == b"vary":
            headers[place] = (name, b", ".join([value, *(part for part in names if part not in value)]))
            return
    headers.append((b"vary", b", ".join(names)))
