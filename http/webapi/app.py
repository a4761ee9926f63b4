"""The ASGI application: finds the route, admits the caller, runs the handler, answers whatever comes of it."""

import logging
import math
import re
import secrets
from time import perf_counter
from typing import Any, Final

from quart.wrappers import Request, Response
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers as WerkzeugHeaders

from actors.journey import request_id as current_request_id
from actors.limiter import Limit
from actors.metrics import LATENCY_BOUNDS
from actors.shapes.errors import ErrorCode, KithError
from webapi import auth, conversations, health, jwks, messages, metrics, sessions, users
from webapi.access import Doorkeeper
from webapi.answers import Answer, compressed, failed
from webapi.call import Call
from webapi.connection import Connection
from webapi.later import LATER_ROUTES
from webapi.routing import RouteTable
from webapi.services import Services

log = logging.getLogger("kith.web")

ROUTES: Final = (
    *auth.ROUTES,
    *sessions.ROUTES,
    *users.ROUTES,
    *conversations.ROUTES,
    *messages.ROUTES,
    *jwks.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
)
UNKNOWN: Final = "(unknown)"  # one label for all paths that are no route, however many a scanner tries
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{4,64}").fullmatch
_ALWAYS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class WebApp(QuartTrio):
    """Quart for the protocol work; its own dispatch is replaced by `handle_request`.

    Measured: Quart answers the smallest request in 160 us, of which 50 are signals, cookies' sessions and three
    context stacks that no handler of ours looks at, because each is handed its `Call`.
    """

    asgi_http_class = Connection

    def __init__(self, services: Services) -> None:
        super().__init__("webapi", static_folder=None, template_folder=None)
        self.config["MAX_CONTENT_LENGTH"] = services.options.body_limit
        self.config["BODY_TIMEOUT"] = services.options.body_timeout
        self.routes = RouteTable((*ROUTES, *LATER_ROUTES))
        self._services = services
        self._doorkeeper = Doorkeeper(services)
        self._requests = services.metrics.counters(
            "http_requests_total", "HTTP requests answered", ("route", "method", "code")
        )
        self._seconds = services.metrics.spreads(
            "http_request_seconds", "From the request's head to its answer", ("route",), LATENCY_BOUNDS
        )

    async def handle_request(self, request: Request) -> Response:
        begun = perf_counter()
        call = self._call(request)
        token = current_request_id.set(call.request_id)
        try:
            answer = await self._answer(call)
        finally:
            current_request_id.reset(token)
        route = _label(call)
        method = request.method if request.method in _METHODS else "OTHER"
        self._requests.of(route, method, str(answer.status)).value += 1
        self._seconds.of(route).observe(perf_counter() - begun)
        return self._response(call, answer)

    def _call(self, request: Request) -> Call:
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if _SANE_REQUEST_ID(sent) else f"req_{secrets.token_hex(12)}"
        scope: Any = request.scope
        peer = (scope.get("client") or ("",))[0]
        # All lines of it: a proxy may add one of its own below what the client made up.
        forwarded = b",".join(value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for")
        return Call(self._services, request, request_id, self._services.client_address(peer, forwarded))

    async def _answer(self, call: Call) -> Answer:
        try:
            return await self._handled(call)
        except KithError as error:
            if error.status == 500:  # a store's or an actor's: its text is for the log, its code for the client
                log.error("request refused", extra={"route": _label(call), "code": error.code, "error": str(error)})
            return failed(error, call.request_id, call.now)
        except Exception:
            log.exception("request failed", extra={"route": _label(call), "method": call.request.method})
            return failed(KithError(ErrorCode.INTERNAL_ERROR), call.request_id, call.now)

    async def _handled(self, call: Call) -> Answer:
        request = call.request
        self._check_head(request)
        if _framed_twice(request):
            # A proxy that goes by the length sees another end of this request than h11, which goes by the chunks: what
            # follows could be anybody's. Nothing behind this head is believed, the connection ends.
            error = KithError(ErrorCode.INVALID_PAYLOAD, "Send Content-Length or Transfer-Encoding, not both")
            return failed(error, call.request_id, call.now)._replace(headers=(("Connection", "close"),))
        method = "GET" if request.method == "HEAD" else request.method
        try:
            call.route, call.params = self.routes.find(method, request.path)
        except KithError as error:
            if error.code is ErrorCode.METHOD_NOT_ALLOWED and method == "OPTIONS":
                return Answer(None, 204, (("Allow", ", ".join(error.details["allowed"])),))
            call.pay_by_address(Limit.UNAUTHENTICATED)
            raise
        await self._doorkeeper.admit(call, call.route)
        answer = await call.route.handler(call)
        # Encoded here, where whatever goes wrong is still answered.
        return answer._replace(value=answer.body())

    def _check_head(self, request: Request) -> None:
        scope: Any = request.scope
        size = len(scope.get("raw_path") or request.path) + len(scope["query_string"])
        for name, value in scope["headers"]:
            size += len(name) + len(value)
        if size > self._services.options.head_limit:
            raise KithError(ErrorCode.PAYLOAD_TOO_LARGE, "The head of the request is too large")

    def _response(self, call: Call, answer: Answer) -> Response:
        body = answer.body()
        headers = _ALWAYS | dict(answer.headers)
        headers["X-Request-Id"] = call.request_id
        verdict = call.verdict
        if verdict is not None:
            headers["X-RateLimit-Limit"] = str(verdict.limit)
            headers["X-RateLimit-Remaining"] = str(verdict.remaining)
            headers["X-RateLimit-Reset"] = str(math.ceil(verdict.reset))
        if len(body) >= self._services.options.gzip_from:
            headers["Vary"] = "Accept-Encoding"
            if call.request.accept_encodings.quality("gzip") > 0:  # `gzip;q=0` says no to it
                body = compressed(body)
                headers["Content-Encoding"] = "gzip"
        if answer.status != 204:
            headers["Content-Type"] = answer.content_type
            headers["Content-Length"] = str(len(body))
        response = self.response_class(body, status=answer.status)
        response.headers = WerkzeugHeaders(list(headers.items()))
        return response


def _framed_twice(request: Request) -> bool:
    return "Transfer-Encoding" in request.headers and "Content-Length" in request.headers


def _label(call: Call) -> str:
    return UNKNOWN if call.route is None else call.route.path


def create_app(services: Services) -> WebApp:
    return WebApp(services)
