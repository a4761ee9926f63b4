"""The headers around every answer: what protects, and that nobody writes his own into it."""

from typing import Any

import msgspec
import pytest

from tests.clocks import HandClock
from tests.webapi.node import Node, Person, memory_stores, open_node
from webapi.answering import PROTECTING, Answering
from webapi.answers import Answer
from webapi.app import ROUTES
from webapi.routing import RouteTable

BASICS = {name.decode(): value.decode() for name, value in PROTECTING}


def test_what_protects() -> None:
    assert BASICS == {
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }


async def test_every_answer_is_protected(node: Node, anna: Person) -> None:
    answers = [
        await anna.client.get("/users/me"),
        await anna.client.get("/users/me", headers={"If-None-Match": "*"}),
        await anna.client.patch("/users/me", content=b"nonsense"),
        await anna.client.get("/nope"),
        await anna.client.put("/users/me"),
        await anna.client.options("/users/me"),
        await anna.client.get("/healthz"),
        await anna.client.get("http://kith.test/metrics"),
        await anna.client.post("/auth/logout", json={"refresh_token": anna.refresh_token}),
        await anna.client.get("/users/me"),
    ]
    assert [one.status_code for one in answers] == [200, 304, 415, 404, 405, 204, 200, 200, 204, 401]
    for answer in answers:
        assert BASICS.items() <= dict(answer.headers).items()
        names = [name for name, _ in answer.headers.multi_items()]
        assert len(names) == len(set(names))  # none twice: which of the two counts is anybody's guess
        assert "server" not in names
        assert "set-cookie" not in names
        assert "strict-transport-security" not in names


async def test_pages_keep_all_but_the_policy_that_lets_them_work(node: Node) -> None:
    async with node.client(prefix="") as client:
        answer = await client.get("/docs")
    kept = {name: value for name, value in BASICS.items() if name != "content-security-policy"}
    assert kept.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(("scheme", "public", "told"), [
    ("http", False, False), ("https", False, True), ("http", True, True), ("https", True, True),
])  # fmt: skip
async def test_who_came_by_tls_is_told_to_stay_with_it(clock: HandClock, scheme: str, public: bool, told: bool) -> None:
    """The scheme is what the gateway made of TLS in process and of X-Forwarded-Proto from a trusted proxy."""
    async with open_node(memory_stores(clock), clock) as node:
        options = msgspec.structs.replace(node.services.options, public_is_https=public)
        node.answer_with(Answering(options, ROUTES))
        async with node.client() as client:
            client.base_url = f"{scheme}://kith.test"
            for path in ("/healthz", "/nope", "/docs"):
                answer = await client.get(path)
                said = answer.headers.get("Strict-Transport-Security")
                assert said == ("max-age=31536000; includeSubDomains" if told else None)


async def test_a_client_cannot_claim_tls(node: Node) -> None:
    """X-Forwarded-Proto is the gateway's to believe, not ours."""
    async with node.client() as client:
        answer = await client.get("/healthz", headers={"X-Forwarded-Proto": "https", "Forwarded": "proto=https"})
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("value", ["x\x00y", "x" * 500, "é" * 8, "a b", '"quoted"', "x\x0by", "x\x85y"])
async def test_no_odd_value_comes_back_in_a_header(node: Node, value: str) -> None:
    headers = [(b"x-request-id", value.encode()), (b"origin", value.encode()), (b"if-none-match", value.encode())]
    sent = await whole_answer(node, "GET", "/users/me", headers)
    assert not [header for header in sent["headers"] if value.encode() in header[1]]
    assert dict(sent["headers"])[b"x-request-id"].startswith(b"req_")


@pytest.mark.parametrize("value", ["x\r\nSet-Cookie: a=b", "x\nSet-Cookie: a=b", "x\r\n\r\n<html>"])
async def test_no_line_break_of_a_path_becomes_a_header(node: Node, value: str) -> None:
    """`%0d%0a` is a legal path, and is a line break by the time it is here."""
    for path in ("/nope/" + value, "/users/me" + value, "/api/v1/users/" + value):
        sent = await whole_answer(node, "GET", path, [])
        assert sent["status"] == 404
        for name, text in sent["headers"]:
            assert not {b"\r", b"\n"} & {bytes([byte]) for byte in name + text}
            assert name != b"set-cookie"


async def test_a_line_break_in_a_header_is_no_request(node: Node) -> None:
    """h11 lets none in. Behind another server such a request dies before it is one."""
    with pytest.raises(ValueError, match="newline"):
        await whole_answer(node, "GET", "/users/me", [(b"x-request-id", b"req_1\r\nSet-Cookie: a=b")])


async def test_a_strange_method_is_not_echoed(node: Node) -> None:
    sent = await whole_answer(node, "GET\r\nX: y", "/users/me", [])
    assert sent["status"] == 405
    assert dict(sent["headers"])[b"allow"] == b"GET, HEAD, OPTIONS, PATCH"


@pytest.mark.parametrize("broken", ["/x\r\nSet-Cookie: a=b", "/x\nSet-Cookie: a=b", "/x\x00", "/\u2028"])
async def test_a_handler_that_makes_a_broken_header_is_a_fault_of_ours(
    node: Node, anna: Person, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async def redirecting(_: object) -> Answer:
        return Answer(None, 204, (("Location", broken),))

    node.judge = None
    routes = [
        msgspec.structs.replace(route, handler=redirecting) for route in ROUTES if route.path == "/users/{user_id}"
    ]
    monkeypatch.setattr(node.app, "routes", RouteTable(routes))
    answer = await anna.client.get("/users/me")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers


async def whole_answer(node: Node, method: str, path: str, headers: "list[tuple[bytes, bytes]]") -> "dict[str, Any]":
    """What the app says to a request that no HTTP client would send."""
    scope: Any = {
        "type": "http", "http_version": "1.1", "asgi": {"version": "3.0"}, "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("192.0.2.9", 1), "server": ("kith.test", 80), "extensions": {},
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app: Any = node.app
    await app(scope, receive, send)
    return sent[0]
