"""Holds every answer of the web app against the document that it publishes about itself."""

import gzip
import json
from functools import cache
from typing import Any

import jsonschema_rs

from webapi.answering import Sent
from webapi.app import ROUTES
from webapi.call import Call
from webapi.document.openapi import make_document
from webapi.routing import Route

JSON = "application/json"
# What is answered before a route is found, or because none is.
NOWHERE = {
    400: {"INVALID_PAYLOAD"},
    404: {"ROUTE_NOT_FOUND"},
    405: {"METHOD_NOT_ALLOWED"},
    413: {"PAYLOAD_TOO_LARGE"},
    429: {"RATE_LIMIT_EXCEEDED"},
}
LATER = (400, 401, 403, 413, 415, 429, 500, 503)


class UndeclaredError(AssertionError):
    """An answer that the document does not know."""


class Judge:
    """Validators are compiled once for each answer of each route, and by the first test that gets it."""

    def __init__(self, document: bytes) -> None:
        self._document: dict[str, Any] = json.loads(document)
        components = self._document["components"]
        schemas = components["schemas"].items()
        # What stands inside the document itself is OpenAPI's to say: test_openapi.py asks OpenAPI's own schema.
        closed = {name: schema if name.startswith("Openapi") else strict(schema) for name, schema in schemas}
        self._strict = {**components, "schemas": closed}
        self._compiled: dict[str, jsonschema_rs.Validator] = {}

    def check(self, call: Call, sent: Sent) -> None:
        """Raises UndeclaredError with the route, the status and the difference."""
        method = "GET" if call.request.method == "HEAD" else call.request.method
        if method == "OPTIONS":
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in sent.headers}
        body = gzip.decompress(sent.body) if headers.get("content-encoding") == "gzip" else sent.body
        name = "(no route)" if call.route is None else f"{call.route.method} {call.route.path}"
        try:
            self._hold(self._declared(call.route, sent.status), headers, body)
            if call.route is None and json.loads(body)["error"]["code"] not in NOWHERE[sent.status]:
                raise UndeclaredError("not the code of such an answer")
        except UndeclaredError as error:
            raise UndeclaredError(f"{name} answered {sent.status}: {error}; it was {body[:500]!r}") from None

    def _declared(self, route: Route | None, status: int) -> dict[str, Any]:
        described = None if route is None else self._document["paths"].get(route.path, {}).get(route.method.lower())
        if described is None:  # nowhere, or not built yet (webapi/later.py)
            if status not in (NOWHERE if route is None else {501, *LATER}):
                raise UndeclaredError("not an answer of what is no route")
            return {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Failure"}}}}
        responses = described["responses"]
        declared = responses.get(str(status))
        if declared is None:
            raise UndeclaredError(f"declared are {', '.join(responses)}")
        if "$ref" in declared:
            declared = self._document["components"]["responses"][declared["$ref"].rpartition("/")[2]]
        found: dict[str, Any] = declared
        return found

    def _hold(self, declared: dict[str, Any], headers: dict[str, str], body: bytes) -> None:
        for header, described in declared.get("headers", {}).items():
            required = described["$ref"].endswith(("/RequestId", "/RetryAfter", "/Authenticate", "/ETag"))
            if required and header.lower() not in headers:
                raise UndeclaredError(f"without {header}")
        content = declared.get("content")
        if content is None:
            if body:
                raise UndeclaredError("a body where none is declared")
            return
        kind = headers.get("content-type", "").partition(";")[0]
        if kind not in content:
            raise UndeclaredError(f"{kind or 'no type'} where {', '.join(content)} is declared")
        if kind != JSON:
            return
        schema = content[JSON]["schema"]
        for error in self._validator(schema).iter_errors(json.loads(body)):
            raise UndeclaredError(f"{error.message} at {'/'.join(map(str, error.instance_path)) or 'its top'}")

    def _validator(self, schema: dict[str, Any]) -> jsonschema_rs.Validator:
        key = json.dumps(schema)
        compiled = self._compiled.get(key)
        if compiled is None:
            whole = {**schema, "components": self._strict}
            compiled = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
            self._compiled[key] = compiled
        return compiled


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Clients ignore fields they do not know; here such a field is an answer made of the wrong struct."""
    return {"additionalProperties": False, **schema} if "properties" in schema else schema


@cache
def the_judge() -> Judge:
    return Judge(make_document(ROUTES))
