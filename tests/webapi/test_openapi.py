"""The document: that it is OpenAPI 3.1, says all there is to say, and that an answer which differs is noticed."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from actors.limiter import Limit
from actors.shapes.errors import TABLE, ErrorCode
from actors.shapes.users import Profile
from tests.webapi.judge import Judge, UndeclaredError
from tests.webapi.node import Node, Person
from webapi.answering import Sent
from webapi.answers import Answer, ErrorBody, Failure
from webapi.app import ROUTES, SHELF
from webapi.call import Call
from webapi.document.openapi import make_document, operation_ids, tag_of
from webapi.document.openapi_answers import creates, error_codes
from webapi.later import LATER_ROUTES
from webapi.routing import Access, Plain, Route, RouteTable

DOCUMENT: dict[str, Any] = json.loads(make_document(ROUTES))
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
BY_NAME = {f"{route.method} {route.path}": route for route in ROUTES}


def test_every_tag_is_the_name_of_one_file() -> None:
    """Two files of one name were one tag with two headings, and the page had its ids twice."""
    names = [tag["name"] for tag in DOCUMENT["tags"]]
    assert len(set(names)) == len(names)


def test_it_is_openapi() -> None:
    """The OpenAPI Initiative's own schema of OpenAPI 3.1 documents, as schemathesis ships it."""
    meta = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [error.message for error in meta.iter_errors(DOCUMENT)] == []
    broken = {**DOCUMENT, "info": {"title": "Kith"}}
    assert not meta.is_valid(broken)


def test_every_schema_of_it_is_json_schema() -> None:
    for where, schema in schemas_in(DOCUMENT):
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})
        assert schema, f"{where} allows anything"


def test_no_object_is_bare() -> None:
    """Each says its fields, or of what kind all its values are."""
    for where, schema in schemas_in(DOCUMENT):
        for part in parts_of(schema):
            if part.get("type") == "object" or "object" in (part.get("type") or ()):
                of_a_kind = isinstance(part.get("additionalProperties"), dict) and part["additionalProperties"]
                assert part.get("properties") or of_a_kind, f"{where} has a bare object: {part}"
            assert part != {}, f"{where} allows anything"


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    text = json.dumps(DOCUMENT)
    wanted = {part["$ref"] for part in parts_of(DOCUMENT) if isinstance(part.get("$ref"), str)}
    for ref in wanted:
        at: Any = DOCUMENT
        for key in ref.removeprefix("#/").split("/"):
            at = at[key]
    for kind, named in DOCUMENT["components"].items():
        for name in named:
            used = f'"#/components/{kind}/{name}"' in text
            assert used or kind == "securitySchemes" or name in ("RouteNotFound", "MethodNotAllowed"), name


def test_every_route_is_there_once() -> None:
    assert set(OPERATIONS) == set(BY_NAME)
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert not set(BY_NAME) & {f"{route.method} {route.path}" for route in LATER_ROUTES}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_route_says_what_it_takes_and_gives(name: str) -> None:
    route, operation = BY_NAME[name], OPERATIONS[name]
    assert route.gives, f"{name}: fill `gives`"
    assert operation["summary"].endswith((".", "?", "!")), f"{name}: its handler needs a docstring"
    assert operation["tags"] == [tag_of(route)]
    for status, kind in route.gives:
        assert (kind is None) == (status in (204, 302, 303)), f"{name}: {status} with {kind}"
        content = operation["responses"][str(status)].get("content", {})
        assert bool(content) == (kind is not None)
    if route.method in ("PUT", "PATCH"):
        assert route.takes is not None, f"{name}: fill `takes`"
    if route.takes is not None:
        assert operation["requestBody"]["content"]["application/json"]["schema"]
        assert operation["requestBody"]["required"] is route.needs_body
    in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
    assert in_path == {part.strip("{}") for part in route.path.split("/") if part.startswith("{")}
    assert len(set(route.refuses)) == len(route.refuses), f"{name}: a code twice in `refuses`"


@pytest.mark.parametrize("name", BY_NAME)
def test_every_route_says_how_it_refuses(name: str) -> None:
    route, operation = BY_NAME[name], OPERATIONS[name]
    told = dict(codes_of(operation))
    assert set(told) == {str(code) for code in error_codes(route)}
    assert all(TABLE[ErrorCode(code)].status == status for code, status in told.items())
    common = {"INVALID_PAYLOAD", "PAYLOAD_TOO_LARGE", "INTERNAL_ERROR"}
    if route.access is not Access.OPEN:
        common |= {"RATE_LIMIT_EXCEEDED", "UNAVAILABLE", "OVERLOADED", "TIMEOUT", "TRY_AGAIN"}
    if route.access.signed_in:
        common |= {"MISSING_AUTH_HEADER", "INVALID_TOKEN", "TOKEN_EXPIRED"}
        assert operation["security"] == [{"bearer": []}]
    else:
        assert operation["security"] == []
    if route.takes is not None:
        common.add("UNSUPPORTED_MEDIA_TYPE")
    if creates(route):
        common.add("IDEMPOTENCY_CONFLICT")
        assert any(one["name"] == "Idempotency-Key" for one in operation["parameters"])
    assert common <= set(told)
    for status in {429, 503} & set(told.values()):
        assert "Retry-After" in resolved(operation["responses"][str(status)])["headers"]
    for answer in operation["responses"].values():
        assert "X-Request-Id" in resolved(answer)["headers"]


def test_what_validates_is_what_is_told() -> None:
    """Bounds of the structs, the fields that are always there, ids and moments."""
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["NewMessage"]["properties"]["media_ids"]["maxItems"] == 10
    assert schemas["Registration"]["required"] == ["email", "password"]
    assert "email" not in schemas["Profile"]["required"]  # only its owner sees it
    assert {"bio", "interests", "created_at"} <= set(schemas["Profile"]["required"])  # null, and never missing
    assert schemas["MessageView"]["properties"]["id"]["format"] == "uuid"
    assert schemas["MessageView"]["properties"]["created_at"]["format"] == "date-time"
    assert "format" not in schemas["Failure"]["properties"]["request_id"]
    assert schemas["ErrorBody"]["properties"]["details"]["additionalProperties"]
    parameters = {one["name"]: one for one in OPERATIONS["GET /conversations/{conversation_id}/messages"]["parameters"]}
    assert parameters["before_seq"]["schema"]["minimum"] == 0
    assert parameters["limit"]["schema"]["minimum"] == 1
    assert parameters["order"]["schema"]["enum"] == ["asc", "desc"]


def test_fields_say_more_than_that_they_are_text() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    def of(struct: str, field: str) -> dict[str, Any]:
        found: dict[str, Any] = schemas[struct]["properties"][field]
        return found["anyOf"][0] if "anyOf" in found else found

    for field in ("after", "idempotency_key", "client_id"):
        assert of("NewMessage", field)["format"] == "uuid"
    assert of("NewConversation", "initial_members")["items"]["format"] == "uuid"
    for struct, field in (("AdminAction", "at"), ("Measure", "at"), ("Measure", "until"), ("ActionDetails", "until")):
        assert of(struct, field)["format"] == "date-time"
    for struct in ("MemberView", "MyMembership"):
        assert of(struct, "role") == {"type": "string", "enum": ["admin", "member", "owner"]}
    assert of("Measure", "action")["enum"] == ["delete_message", "suspend_user", "warn_user"]
    assert "8,000 characters" in of("NewMessage", "text")["description"]
    assert "8 characters" in of("Registration", "password")["description"]


def test_names_are_ones_that_a_client_can_be_made_of() -> None:
    """A generator made classes called Page_UserSummary_ and methods called showMessageMessages."""
    assert [name for name in DOCUMENT["components"]["schemas"] if "_" in name] == []
    assert "UserSummaryPage" in DOCUMENT["components"]["schemas"]
    ids = {name: operation["operationId"] for name, operation in OPERATIONS.items()}
    assert ids["GET /messages/{message_id}"] == "show_message"
    assert ids["GET /conversations/{conversation_id}/messages/{message_id}"] == "show_message_in_conversation"
    assert ids["DELETE /admin/messages/{message_id}"] == "admin_delete_message"
    assert (ids["GET /reports"], ids["GET /admin/reports"]) == ("list_reports", "admin_list_reports")


def test_a_struct_that_is_read_and_written_has_two_schemas() -> None:
    class Both(msgspec.Struct):
        name: str = ""

    async def both(_: Call) -> Answer:
        """Both."""
        return Answer(None)

    route = Route("POST", "/both", both, takes=Both, gives=((200, Both),))
    document = json.loads(make_document([route]))
    schemas = document["components"]["schemas"]
    assert schemas["Both"]["required"] == ["name"]
    assert schemas["BothInput"]["required"] == []
    body = document["paths"]["/both"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/BothInput"}


def test_two_handlers_of_one_name_are_two_operations() -> None:
    async def twin(_: Call) -> Answer:
        """Twin."""
        return Answer(None)

    routes = [Route("GET", "/a", twin), Route("GET", "/b", twin), Route("POST", "/b", twin), Route("GET", "/c", twin)]
    assert len(set(operation_ids(routes).values())) == 4


def test_equal_routes_make_equal_bytes() -> None:
    assert make_document(ROUTES) == SHELF.leaves["openapi.json"].plain


async def test_an_answer_that_is_not_declared_is_noticed(node: Node, anna: Person) -> None:
    """The judge itself: a status, a code, a field, a type and a header that the document does not know."""
    told: list[tuple[Answer, str]] = [
        (Answer(Profile_with(anna), 202), "declared are"),
        (Answer(Failure(ErrorBody("GROUP_FULL", "", {}), "", "2026-11-20T07:00:00.000Z"), 404), "GROUP_FULL"),
        (Answer({"id": anna.id, "extra": 1}), "extra"),
        (Answer(msgspec.structs.replace(Profile_with(anna), follower_count="many")), "follower_count"),
        (Answer(msgspec.structs.replace(Profile_with(anna), id="no uuid")), "id"),
        (Answer(msgspec.structs.replace(Profile_with(anna), created_at="soon")), "created_at"),
        (Answer(b"{}", content_type="text/html"), "text/html"),
        (Answer(None, 304), "declared"),
    ]  # fmt: skip
    for answer, difference in told:
        node.undeclared.clear()
        await given(node, anna, answer)
        if answer.status != 304:
            assert len(node.undeclared) == 1
            assert node.undeclared[0].startswith("GET /users/{user_id} answered ")
            assert difference in node.undeclared[0]
    node.undeclared.clear()
    await given(node, anna, Answer(Profile_with(anna)))
    assert not node.undeclared


def Profile_with(person: Person) -> Profile:  # noqa: N802
    return Profile(person.id, "anna", None, None, None, (), 0, 0, "2026-11-20T07:00:00.000Z")


async def given(node: Node, person: Person, answer: Answer) -> None:
    """`GET /users/me` answers so."""

    async def handler(_: Call) -> Answer:
        return answer

    route = next(route for route in ROUTES if (route.method, route.path) == ("GET", "/users/{user_id}"))
    before = node.app.routes
    node.app.routes = RouteTable([msgspec.structs.replace(route, handler=handler)])
    node.app.answering._tagged |= {handler}
    try:
        await person.client.get("/users/me")
    finally:
        node.app.routes = before


async def test_a_body_that_is_not_the_declared_one_is_noticed(node: Node, anna: Person) -> None:
    """Call.body refuses to read another struct than the route declares."""

    class Other(msgspec.Struct):
        bio: str = ""

    async def handler(call: Call) -> Answer:
        return Answer(await call.body(Other))

    route = next(route for route in ROUTES if (route.method, route.path) == ("PATCH", "/users/{user_id}"))
    node.app.routes = RouteTable([msgspec.structs.replace(route, handler=handler)])
    answer = await anna.client.patch("/users/me", json={"bio": "x"})
    assert answer.status_code == 500


def test_the_judge_needs_the_headers_that_are_promised() -> None:
    judge = Judge(make_document(ROUTES))
    declared = judge._declared(BY_NAME["GET /users/{user_id}"], 429)
    with pytest.raises(UndeclaredError, match="Retry-After"):
        judge._hold(declared, {"x-request-id": "req_1", "content-type": "application/json"}, b"{}")


async def test_the_document_is_what_is_served(node: Node) -> None:
    async with node.client() as client:
        answer = await client.get("/openapi.json")
    assert answer.json() == DOCUMENT
    assert len(answer.content) < 400_000


def test_limits_are_of_the_table() -> None:
    assert all(route.limit in Limit for route in ROUTES)
    assert not any(isinstance(kind, Plain) for route in ROUTES if route.method != "GET" for _, kind in route.gives)


def test_sent_is_what_the_server_takes() -> None:
    assert Sent._fields == ("status", "headers", "body")


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        at: Any = DOCUMENT
        for key in value["$ref"].removeprefix("#/").split("/"):
            at = at[key]
        value = at
    return value


def codes_of(operation: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for status, answer in operation["responses"].items():
        schema = resolved(answer).get("content", {}).get("application/json", {}).get("schema", {})
        for choice in schema.get("anyOf", [schema]):
            for part in choice.get("allOf", []):
                for code in (
                    part.get("properties", {}).get("error", {}).get("properties", {}).get("code", {}).get("enum", [])
                ):
                    yield code, int(status)


def schemas_in(value: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema that stands in the document by itself."""
    for name, schema in value["components"]["schemas"].items():
        yield f"schemas/{name}", schema
    for name, operation in OPERATIONS.items():
        for parameter in operation["parameters"]:
            yield f"{name} {parameter['name']}", parameter["schema"]
        for body in [operation.get("requestBody"), *operation["responses"].values()]:
            for kind, content in resolved(body or {}).get("content", {}).items():
                yield f"{name} {kind}", content["schema"]


def parts_of(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for key, part in value.items():
            if key in ("properties", "$defs"):
                for one in part.values():
                    yield from parts_of(one)
            elif key not in ("enum", "const", "default", "examples"):
                yield from parts_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from parts_of(part)
