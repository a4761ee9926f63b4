"""The OpenAPI 3.1 document: every route, made from the typed structs that validate what comes and encode what goes."""

import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any, Final

from actors.shapes.errors import TABLE, ErrorCode
from webapi.answers import JSON, encode
from webapi.document.openapi_answers import HEADERS, Answers, creates, failure
from webapi.document.openapi_fields import UUID_PATTERN, Json
from webapi.document.openapi_schemas import Schemas, schema_of
from webapi.etags import is_tagged
from webapi.routing import PREFIX, Route

_ABOUT: Final = """\
Accounts, conversations and messages over HTTP; the same and everything live over a WebSocket.

**Signing in.** `POST /auth/register` or `POST /auth/login` gives an `access_token` for fifteen minutes and a
`refresh_token` for thirty days. Send `Authorization: Bearer <access_token>`; `POST /auth/refresh` trades the latter for
a new pair. No cookie is ever set or read.

**Paths.** Every path answers with the prefix `/api/v1` and without it. `HEAD` is answered wherever `GET` is, `OPTIONS`
everywhere. Ids are UUIDs; `me` stands for one's own where a path says `{user_id}`. A path
that is no route is 404 `ROUTE_NOT_FOUND`, and a method that a path does not have is 405 `METHOD_NOT_ALLOWED` with
`Allow`.

**Errors** have one body, `Failure`. Go by `error.code`; the text is for people. 429 and 503 carry `Retry-After`; 503
says in `error.details.outcome` whether the request may have taken effect (`unknown`) or has not (`none`).

**Repeating.** A `POST` that creates takes an `Idempotency-Key`: sent again with the same body within a day it is
answered as before, and with another body it is 409 `IDEMPOTENCY_CONFLICT`.

**Limits.** `X-RateLimit-Limit`, `-Remaining` and `-Reset` tell the bucket that paid. Bodies have at most 1 MiB, heads
at most 16 KiB.

**The WebSocket** is `GET /ws` with an upgrade: one JSON object per text frame, `{"type": "message.send", "ref": 1,
"payload": {…}}`. OpenAPI has no words for it; [/docs](/docs#websocket) says how to begin, and docs/protocol.md has all
of it.
"""
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Any text of your own, a UUID for example; the same for each repetition of this request",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_KNOWN: Final[Json] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of what you have: 304 when it is still the same",
    "schema": {"type": "string", "pattern": "^[!-~]*$"},
}


def make_document(routes: Iterable[Route]) -> bytes:
    """The whole document in JSON. Equal routes make equal bytes."""
    routes = list(routes)
    schemas = Schemas(routes)
    answers = Answers(routes, schemas)
    names = operation_ids(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        name = names[f"{route.method} {route.path}"]
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, name, schemas, answers)
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Kith", "version": "1", "description": _ABOUT},
        "servers": [{"url": PREFIX, "description": "This server; the prefix may be left out"}],
        "tags": _tags(routes),
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": {**answers.components, **_nowhere()},
            "headers": HEADERS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
        "x-error-codes": [
            {"code": str(code), "status": row.status, "text": row.text, "retryable": row.retryable}
            for code, row in TABLE.items()
        ],
    }
    return encode(document)


def _nowhere() -> Json:
    """What no operation of the document can answer, because it is no operation of the document."""
    return {
        "RouteNotFound": failure(404, [ErrorCode.ROUTE_NOT_FOUND]),
        "MethodNotAllowed": failure(405, [ErrorCode.METHOD_NOT_ALLOWED]),
    }


def _operation(route: Route, name: str, schemas: Schemas, answers: Answers) -> Json:
    summary, _, more = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "tags": [tag_of(route)],
        "parameters": _parameters(route),
        "responses": answers.of(route),
        "security": [{"bearer": []}] if route.access.signed_in else [],
    }
    if more.strip():
        operation["description"] = more.strip()
    if route.takes is not None:
        operation["requestBody"] = {
            "required": route.needs_body,
            "content": {JSON: {"schema": schemas.body(route.takes)}},
        }
    return operation


def _parameters(route: Route) -> list[Json]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in _PARAMETER.findall(route.path)
    ]
    for parameter in route.query:
        schema = schema_of(parameter.kind)
        found.append({"name": parameter.name, "in": "query", "description": parameter.meaning, "schema": schema})
    if creates(route):
        found.append(_KEY)
    if is_tagged(route):
        found.append(_KNOWN)
    return found


def _path_schema(name: str) -> Json:
    if name == "user_id":
        return {"anyOf": [{"const": "me"}, _path_schema("id")], "description": "`me` is the caller"}
    if name == "emoji":
        return {"type": "string", "minLength": 1, "maxLength": 32}
    return {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}


def operation_ids(routes: Iterable[Route]) -> dict[str, str]:
    """By method and path: the handler's name, with `admin` before an admin's twin of it, with `in_conversation` where
    the same is to be had with and without one, and else with the method or the path's last word."""
    taken: dict[str, str] = {}
    routes = list(routes)
    names = [str(getattr(route.handler, "__name__", "answer")) for route in routes]
    for route, name in zip(routes, names, strict=True):
        last = re.sub(r"\W+", "_", route.path).strip("_").rpartition("_")[2]
        tries = [name, f"{name}_{tag_of(route)}", f"{name}_{last}", f"{route.method.lower()}_{name}_{last}"]
        if names.count(name) > 1 and route.path.startswith("/admin/"):
            tries.insert(0, f"admin_{name}")
        elif names.count(name) > 1 and route.path.startswith("/conversations/"):
            tries.insert(0, f"{name}_in_conversation")
        taken[next(one for one in tries if one not in taken)] = f"{route.method} {route.path}"
    return {key: name for name, key in taken.items()}


def tag_of(route: Route) -> str:
    return _tag(_module_of(route))


def _tag(module: str) -> str:
    """Its file; what is an admin's says so, for there are users and messages on both sides."""
    _, *folders, name = module.split(".")
    return "_".join(["admin", name] if "admin" in folders else [name])


def _module_of(route: Route) -> str:
    return str(getattr(route.handler, "__module__", ""))


def _tags(routes: list[Route]) -> list[Json]:
    """One per file of handlers, in their order; its docstring says what it is about."""
    modules = dict.fromkeys(_module_of(route) for route in routes)
    found: list[Json] = []
    for module in modules:
        about: Any = getattr(sys.modules.get(module), "__doc__", None) or ""
        found.append({"name": _tag(module), "description": inspect.cleandoc(about).partition("\n\n")[0]})
    return found
