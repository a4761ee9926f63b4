"""Whatever goes wrong, the caller gets the one body of errors, and the log what he does not."""

import logging
import re

import pytest

from actors.shapes.errors import TABLE, ErrorCode, KithError
from actors.shapes.users import LoginView
from realtime.gateway.options import GatewayOptions
from storage.database_errors import DatabaseAwayError, StatementFailedError
from tests.webapi.node import Node, Person
from webapi.app import SOCKET_PATHS

SECRET = "the text of somebody's message"


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_error_handling(node: Node, anna: Person, monkeypatch: pytest.MonkeyPatch, code: ErrorCode) -> None:
    """T6: each row of the table becomes its status and the same body."""

    async def fail(*_: object) -> None:
        raise KithError(code, details={"allowed": ["GET"]})

    node.judge = None  # most of them this route never answers by itself
    monkeypatch.setattr(type(node.services.accounts), "logins", fail)
    answer = await anna.client.get("/auth/sessions")
    assert answer.status_code == TABLE[code].status
    body = answer.json()
    assert set(body) == {"error", "request_id", "timestamp"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert (body["error"]["code"], body["error"]["message"]) == (code, TABLE[code].text)
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["timestamp"] == "2026-11-18T11:06:40.000Z"
    assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)


async def test_a_socket_without_an_upgrade_says_what_it_wants(node: Node) -> None:
    """ROUTE_NOT_FOUND sent people to look for another path, when a proxy had taken their upgrade away."""
    assert set(GatewayOptions().websocket_paths) == SOCKET_PATHS
    async with node.client(prefix="") as client:
        for path in sorted(SOCKET_PATHS):
            answer = await client.get(f"{path}?ticket=x")
            assert (answer.status_code, answer.headers["Upgrade"]) == (400, "websocket")
            assert answer.json()["error"]["code"] == ErrorCode.INVALID_PAYLOAD
            assert answer.json()["error"]["message"] == "This is a WebSocket: send an upgrade"
            assert (await client.post(path)).status_code == 404
        assert (await client.get("/ws/other")).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code", "level"),
    [
        (RuntimeError(SECRET), 500, "INTERNAL_ERROR", logging.ERROR),
        (KeyError(SECRET), 500, "INTERNAL_ERROR", logging.ERROR),
        (StatementFailedError("42P01", "no such table"), 500, "DATABASE_ERROR", logging.ERROR),
        (DatabaseAwayError("connection refused"), 503, "UNAVAILABLE", None),
    ],
)
async def test_what_nobody_expected_is_logged_and_not_shown(
    node: Node,
    anna: Person,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
    level: int | None,
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(node.services.accounts), "logins", fail)
    answer = await anna.client.get("/auth/sessions", headers={"X-Request-Id": "my-own-id"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["request_id"] == "my-own-id"
    assert "table" not in answer.text
    assert SECRET not in answer.text
    assert [record.levelno for record in caplog.records if record.name == "kith.web"] == ([level] if level else [])
    assert node.metrics.value("http_requests_total", "/auth/sessions", "GET", str(status)) == 1


async def test_an_answer_that_cannot_be_encoded_is_a_fault_like_any_other(
    node: Node, anna: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def logins(*_: object) -> object:
        return [LoginView(anna.login, "lone \ud800", None, "", "", "")]

    monkeypatch.setattr(type(node.services.accounts), "logins", logins)
    answer = await anna.client.get("/auth/sessions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert [record.getMessage() for record in caplog.records] == ["request failed"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("trace-0af7651916cd43dd8448eb211c80319c", True),
        ("req_1234", True),
        ("", False),
        ("abc", False),
        ("with space", False),
        ("x" * 65, False),
        ("<script>", False),
        ('"},{"', False),
    ],
)
async def test_a_sane_request_id_of_the_client_is_kept(node: Node, sent: str, kept: bool) -> None:
    async with node.client() as client:
        answer = await client.get("/users/me", headers={"X-Request-Id": sent})
    given = answer.headers["X-Request-Id"]
    assert given == answer.json()["request_id"]
    assert (given == sent) if kept else re.fullmatch(r"req_[0-9a-f]{24}", given)


async def test_each_request_has_a_name_of_its_own(node: Node) -> None:
    async with node.client() as client:
        names = {(await client.get("/healthz")).headers["X-Request-Id"] for _ in range(50)}
    assert len(names) == 50


NO_ROUTES = [
    "/nope",
    "/users",
    "/users/not-a-uuid",
    "/users/0190aaaa00007000800000000000000a",
    "/users//me",
    "/users/me/x",
    "/users/me%00",
    "/conversations/me",
    "/api/v1nope",
    "/%00",
    "/%ff",
]


@pytest.mark.parametrize("path", NO_ROUTES)
async def test_an_unknown_path_is_no_route(node: Node, path: str) -> None:
    async with node.client(prefix="") as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ROUTE_NOT_FOUND")
    assert node.metrics.value("http_requests_total", "(unknown)", "GET", "404") == 1


async def test_a_wrong_method_is_told_the_right_ones(node: Node, anna: Person) -> None:
    cases: dict[str, str] = {
        "/auth/register": "OPTIONS, POST",
        "/users/me": "GET, HEAD, OPTIONS, PATCH",
        "/conversations": "GET, HEAD, OPTIONS, POST",
        f"/auth/sessions/{anna.login}": "DELETE, OPTIONS",
    }
    for path, allowed in cases.items():
        answer = await anna.client.put(path, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
        assert answer.headers["Allow"] == allowed
        asked = await anna.client.options(path)
        assert (asked.status_code, asked.headers["Allow"], asked.content) == (204, allowed, b"")
    assert (await anna.client.options("/nope")).status_code == 404


async def test_a_head_is_a_get_without_its_body(node: Node, anna: Person) -> None:
    """The server leaves the body out; the app must say the same about it as for a GET."""
    for path in ("/healthz", "/users/me"):
        whole, head = await anna.client.get(path), await anna.client.head(path)
        assert head.status_code == 200
        assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(whole.content))
    assert (await anna.client.head("/users/nobody")).status_code == 404


async def test_strange_methods_share_one_label(node: Node) -> None:
    async with node.client() as client:
        for method in ("BREW", "PROPFIND"):
            assert (await client.request(method, "/users/me")).status_code == 405
    assert node.metrics.value("http_requests_total", "(unknown)", "OTHER", "405") == 2


async def test_large_answers_are_compressed_for_who_can_read_it(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    await anna.say(chat, "x" * 8_000)
    path = f"/conversations/{chat}/messages"
    packed = await anna.client.get(path, headers={"Accept-Encoding": "gzip, br"})
    plain = await anna.client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < 1_000 < int(plain.headers["Content-Length"])
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert packed.json() == plain.json()
    small = await anna.client.get("/users/me", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("br, GZIP;q=0.001", True),
        ("*", True),
        ("*;q=0, gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("notgzip", False),
        ("gzip;q=much", False),
        ("", False),
    ],
)
async def test_gzip_is_for_who_takes_it(node: Node, anna: Person, ben: Person, accepted: str, packed: bool) -> None:
    chat = await anna.chat_with(ben)
    await anna.say(chat, "x" * 8_000)
    answer = await anna.client.get(f"/conversations/{chat}/messages", headers={"Accept-Encoding": accepted})
    assert ("Content-Encoding" in answer.headers) is packed
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert "x" * 8_000 in answer.text


async def test_answers_are_nobody_elses(node: Node, anna: Person) -> None:
    assert (await anna.client.get("/auth/sessions")).headers["Cache-Control"] == "no-store"
    answer = await anna.client.get("/users/me")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/json"


async def test_both_prefixes_are_the_same_routes(node: Node, anna: Person) -> None:
    async with node.client(anna.token, prefix="") as client:
        bodies = [(await client.get(f"{prefix}/users/me")).json() for prefix in ("", "/api/v1")]
    assert bodies[0] == bodies[1]
    assert node.metrics.value("http_requests_total", "/users/{user_id}", "GET", "200") == 2


def test_every_code_of_the_table_has_a_text_and_a_status() -> None:
    assert set(TABLE) == set(ErrorCode)
    for code, row in TABLE.items():
        assert code == code.upper()
        assert row.text
        assert row.status in {400, 401, 403, 404, 405, 409, 410, 413, 415, 429, 500, 501, 503}
        assert not row.retryable or row.status in (409, 429, 503)
