"""What a route may answer, as the OpenAPI document tells it: its own answers, its errors, and the headers of both."""

from collections.abc import Iterable
from typing import Any, Final

from actors.shapes.errors import TABLE, ErrorCode
from webapi.answers import JSON
from webapi.document.openapi_fields import Json
from webapi.document.openapi_schemas import Schemas
from webapi.etags import is_tagged
from webapi.routing import Access, Plain, Route

_C = ErrorCode
# Any request may be framed badly or have too large a head, and any handler may have a bug.
_ANY: Final = (_C.INVALID_PAYLOAD, _C.PAYLOAD_TOO_LARGE, _C.INTERNAL_ERROR)
# Whoever asks an actor or the database may find it away, busy or slow.
_WORKING: Final = (_C.DATABASE_ERROR, _C.UNAVAILABLE, _C.OVERLOADED, _C.TRY_AGAIN, _C.TIMEOUT)
_SIGNED_IN: Final = (_C.MISSING_AUTH_HEADER, _C.INVALID_TOKEN, _C.TOKEN_EXPIRED)

_MEANINGS: Final = {
    200: "Done",
    201: "Made",
    202: "Taken on; it happens by and by",
    204: "Done; there is nothing to say",
    302: "Elsewhere",
    303: "Elsewhere",
    304: "What you have is what there is",
    503: "Not able to serve",
}

HEADERS: Final[Json] = {
    "RequestId": {
        "description": "Names this request in the logs; yours, if you sent one of 4 to 64 letters, digits or `._-`",
        "schema": {"type": "string"},
        "required": True,
    },
    "RateLimit": {"description": "What the bucket that paid holds when it is full", "schema": {"type": "integer"}},
    "RateRemaining": {"description": "What is left in it", "schema": {"type": "integer"}},
    "RateReset": {"description": "Seconds until it is full again", "schema": {"type": "integer"}},
    "RetryAfter": {"description": "Seconds to wait before the next try", "schema": {"type": "integer", "minimum": 1}},
    "ETag": {"description": "Send it back as `If-None-Match`", "schema": {"type": "string"}},
    "Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}},
    "Replayed": {
        "description": "`true`: the answer to an earlier request with the same Idempotency-Key",
        "schema": {"type": "string", "const": "true"},
    },
}


# What these give is good once, or secret: an answer that could be given again would have to be kept. A sign-in with a
# provider that is repeated is refused by its flow, and a ticket that got lost is nobody's loss.
_GOOD_ONCE: Final = ("/auth/oidc/finish", "/auth/oidc/link/finish", "/auth/ticket")


def creates(route: Route) -> bool:
    """Such a route honours an Idempotency-Key."""
    makes = route.method == "POST" and any(status == 201 for status, _ in route.gives)
    return makes and route.path not in _GOOD_ONCE


def error_codes(route: Route) -> tuple[ErrorCode, ...]:
    """Every code that this route may answer with, in the order of the table of errors."""
    found: set[ErrorCode] = {*_ANY, *route.refuses}
    if route.access is not Access.OPEN:
        found |= {*_WORKING, _C.RATE_LIMIT_EXCEEDED}
    if route.access.signed_in:
        found |= {*_SIGNED_IN}
    if route.access is Access.ADMIN:
        found.add(_C.FORBIDDEN)
    if "{" in route.path:
        found.add(_C.ROUTE_NOT_FOUND)  # what is no id is no route
    if route.takes is not None:
        found |= {_C.UNSUPPORTED_MEDIA_TYPE, _C.TIMEOUT}
    if route.query:
        found.add(_C.INVALID_QUERY)
    if creates(route):
        found.add(_C.IDEMPOTENCY_CONFLICT)
    return tuple(code for code in TABLE if code in found)


def failure(status: int, codes: Iterable[ErrorCode]) -> Json:
    """The answer with one of these codes."""
    codes = list(codes)
    named = {"properties": {"error": {"properties": {"code": {"enum": [str(code) for code in codes]}}}}}
    headers = _refs({"X-Request-Id": "RequestId"})
    if status == 401:
        headers |= _refs({"WWW-Authenticate": "Authenticate"})
    if status in (429, 503):
        headers |= _refs({"Retry-After": "RetryAfter"})
    return {
        "description": "; ".join(f"`{code}`: {TABLE[code].text}" for code in codes),
        "headers": headers,
        "content": {JSON: {"schema": {"allOf": [{"$ref": "#/components/schemas/Failure"}, named]}}},
    }


class Answers:
    """Makes them; an error answer that several routes share is a component of its own."""

    def __init__(self, routes: Iterable[Route], schemas: Schemas) -> None:
        self._schemas = schemas
        self.components: Json = {}
        self._names: dict[tuple[int, tuple[ErrorCode, ...]], str] = {}
        used: dict[tuple[int, tuple[ErrorCode, ...]], int] = {}
        for route in routes:
            for key in self._failures(route):
                used[key] = used.get(key, 0) + 1
        numbers: dict[int, int] = {}
        for status, codes in sorted(key for key, times in used.items() if times > 1):
            numbers[status] = numbers.get(status, 0) + 1
            name = f"Error{status}" + (f"_{numbers[status]}" if numbers[status] > 1 else "")
            self._names[status, codes] = name
            self.components[name] = failure(status, codes)

    def of(self, route: Route) -> Json:
        answers: Json = {str(status): self._given(route, status, kind) for status, kind in route.gives}
        if is_tagged(route):
            headers = _refs({"X-Request-Id": "RequestId", "ETag": "ETag"})
            answers["304"] = {"description": _MEANINGS[304], "headers": headers}
        for status, codes in self._failures(route):
            name = self._names.get((status, codes))
            told: Json = failure(status, codes) if name is None else {"$ref": f"#/components/responses/{name}"}
            if str(status) in answers:  # health: 503 has a body of its own, and may be an error, too
                own, other = answers[str(status)], failure(status, codes)
                both = [own["content"][JSON]["schema"], other["content"][JSON]["schema"]]
                told = {**other, "content": {JSON: {"schema": {"anyOf": both}}}}
            answers[str(status)] = told
        return dict(sorted(answers.items()))

    def _failures(self, route: Route) -> list[tuple[int, tuple[ErrorCode, ...]]]:
        by_status: dict[int, list[ErrorCode]] = {}
        for code in error_codes(route):
            by_status.setdefault(TABLE[code].status, []).append(code)
        return [(status, tuple(codes)) for status, codes in sorted(by_status.items())]

    def _given(self, route: Route, status: int, kind: Any) -> Json:
        names = {"X-Request-Id": "RequestId"}
        if route.access is not Access.OPEN:
            names |= {
                "X-RateLimit-Limit": "RateLimit",
                "X-RateLimit-Remaining": "RateRemaining",
                "X-RateLimit-Reset": "RateReset",
            }
        if is_tagged(route) and status == 200:
            names["ETag"] = "ETag"
        if status == 503:
            names["Retry-After"] = "RetryAfter"
        if creates(route):
            names["Idempotent-Replayed"] = "Replayed"
        answer: Json = {"description": _MEANINGS.get(status, "Done"), "headers": _refs(names)}
        if isinstance(kind, Plain):
            answer["content"] = {kind.media_type: {"schema": {"type": "string"}}}
        elif kind is not None:
            answer["content"] = {JSON: {"schema": self._schemas.answer(kind)}}
        return answer


def _refs(names: dict[str, str]) -> Json:
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}
