"""The pages for people and the document they show: `/` greets, `/docs` explains, `/openapi.json` is for programs.

All of them are bytes that are made once, before the first request.
"""

import gzip
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from webapi.answering import takes_gzip
from webapi.answers import JSON, Answer
from webapi.call import Call
from webapi.document.openapi import make_document
from webapi.etags import strong_etag
from webapi.routing import Access, Plain, Route

_PAGES: Final = Path(__file__).parent / "pages"
_HTML: Final = "text/html"
_CSS: Final = "text/css"
_JS: Final = "text/javascript"
# Our own files and nothing else: no inline script, no other host; `connect-src` is for the form that tries a route.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


# As much of OpenAPI's own form as our document always has. What else may stand there is OpenAPI's to say, so these are
# not closed; tests hold the document against OpenAPI's schema of it.
class OpenapiInfo(Struct, frozen=True):
    title: str
    version: str
    description: str


class OpenapiOperation(Struct, frozen=True):
    operationId: str  # noqa: N815 - OpenAPI's name
    summary: str
    tags: list[str]


class OpenapiDocument(Struct, frozen=True):
    """By path and method in small letters."""

    openapi: str
    info: OpenapiInfo
    paths: dict[str, dict[str, OpenapiOperation]]


class Leaf(Struct, frozen=True):
    """One of them, with its gzip: compressing 60 KiB for each who asks would cost more than anything else here."""

    plain: bytes
    packed: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...]
    etag: str

    def answer(self, call: Call) -> Answer:
        # Two representations are two strong tags (RFC 9110, 8.8.3).
        if takes_gzip(call.request):
            own = (("ETag", f'{self.etag[:-1]}-gzip"'), ("Content-Encoding", "gzip"))
            return Answer(self.packed, 200, (*own, *self.headers), self.content_type)
        return Answer(self.plain, 200, (("ETag", self.etag), *self.headers), self.content_type)


def leaf(body: bytes, content_type: str) -> Leaf:
    always = [("Cache-Control", "public, no-cache"), ("Vary", "Accept-Encoding")]
    if content_type != JSON:
        always.append(("Content-Security-Policy", _POLICY))
        content_type += "; charset=utf-8"
    return Leaf(body, gzip.compress(body, mtime=0), content_type, tuple(always), strong_etag(body))


class Shelf:
    """Holds them; `described` are the routes that the document is about."""

    def __init__(self, described: Iterable[Route]) -> None:
        self.routes: Final = (
            *described,
            _page("/", self.show_welcome, Plain(_HTML, tagged=True)),
            _page("/docs", self.show_docs, Plain(_HTML, tagged=True)),
            _page("/docs.css", self.show_style, Plain(_CSS, tagged=True)),
            _page("/docs.js", self.show_script, Plain(_JS, tagged=True)),
            _page("/openapi.json", self.show_document, OpenapiDocument),
        )

    @cached_property
    def leaves(self) -> dict[str, Leaf]:
        made = {
            name: leaf((_PAGES / name).read_bytes(), kind)
            for name, kind in (
                ("welcome.html", _HTML),
                ("docs.html", _HTML),
                ("docs.css", _CSS),
                ("docs.js", _JS),
            )
        }
        made["openapi.json"] = leaf(make_document(self.routes), JSON)
        return made

    def fill(self) -> None:
        """Make them now, so that nobody's request has to wait for it."""
        _ = self.leaves

    async def show_welcome(self, call: Call) -> Answer:
        """A page for who opens the address of the server in a browser."""
        return self.leaves["welcome.html"].answer(call)

    async def show_docs(self, call: Call) -> Answer:
        """This document as a page, with a form to try each route."""
        return self.leaves["docs.html"].answer(call)

    async def show_style(self, call: Call) -> Answer:
        """The style of the pages."""
        return self.leaves["docs.css"].answer(call)

    async def show_script(self, call: Call) -> Answer:
        """What makes the page of the document."""
        return self.leaves["docs.js"].answer(call)

    async def show_document(self, call: Call) -> Answer:
        """Every route, in OpenAPI 3.1."""
        return self.leaves["openapi.json"].answer(call)


def _page(path: str, handler: Callable[[Call], Awaitable[Answer]], gives: Any) -> Route:
    return Route("GET", path, handler, Access.OPEN, gives=((200, gives),))
