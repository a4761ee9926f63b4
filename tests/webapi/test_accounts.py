"""Registering, signing in, staying in and leaving; on rows in memory and on PostgreSQL."""

from typing import Any

import httpx
import pytest

from actors.shapes.users import Ending
from tests.webapi.node import PASSWORD, Node, Person


def code(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['code']}"


async def post(node: Node, path: str, **body: Any) -> httpx.Response:
    async with node.client() as client:
        return await client.post(path, json=body)


# -- registering ------------------------------------------------------------------------------------------------------


async def test_registering_answers_with_everything_one_needs(any_node: Node) -> None:
    answer = await post(any_node, "/auth/register", email="Anna.B+x@Example.org", password=PASSWORD, username="Anna_B")
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {
        "user_id", "username", "email", "access_token", "token", "refresh_token", "token_type", "expires_in",
    }  # fmt: skip
    assert (body["username"], body["email"]) == ("Anna_B", "Anna.B+x@Example.org")
    assert body["token"] == body["access_token"]
    assert (body["token_type"], body["expires_in"]) == ("bearer", 900)
    claims = any_node.tokens.verify(body["token"], any_node.clock.now())
    assert claims.user_id == body["user_id"]
    async with any_node.client(body["token"]) as client:
        assert (await client.get("/users/me")).json()["email"] == "Anna.B+x@Example.org"


async def test_a_username_is_made_from_the_email_when_none_is_chosen(any_node: Node) -> None:
    first = await post(any_node, "/auth/register", email="anna.b+news@example.org", password=PASSWORD)
    second = await post(any_node, "/auth/register", email="anna.b@example.com", password=PASSWORD, username=None)
    assert first.json()["username"] == "anna_b"
    assert second.json()["username"].startswith("anna_b_")


async def test_an_email_is_taken_once_whatever_its_case(any_node: Node) -> None:
    await any_node.person("anna", "anna@example.org")
    answer = await post(any_node, "/auth/register", email="ANNA@example.ORG", password=PASSWORD, username="other")
    assert code(answer) == "409 EMAIL_TAKEN"
    assert answer.json()["error"]["details"] == {"field": "email"}


async def test_a_username_is_taken_once_whatever_its_case(any_node: Node) -> None:
    await any_node.person("anna")
    answer = await post(any_node, "/auth/register", email="b@example.org", password=PASSWORD, username="ANNA")
    assert code(answer) == "409 USERNAME_TAKEN"
    assert answer.json()["error"]["details"] == {"field": "username"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"email": "no at sign"}, "400 INVALID_EMAIL"),
        ({"email": "a@b"}, "400 INVALID_EMAIL"),
        ({"email": ""}, "400 INVALID_EMAIL"),
        ({"email": "a@example.org\r\nBcc: b@example.org"}, "400 INVALID_EMAIL"),
        ({"username": "ab"}, "400 INVALID_USERNAME"),
        ({"username": "a" * 31}, "400 INVALID_USERNAME"),
        ({"username": "anna-b"}, "400 INVALID_USERNAME"),
        ({"username": "änna"}, "400 INVALID_USERNAME"),
        ({"password": "seven77"}, "400 WEAK_PASSWORD"),
        ({"password": "ä" * 513}, "400 WEAK_PASSWORD"),
        ({"password": None}, "400 INVALID_PAYLOAD"),
        ({"email": 7}, "400 INVALID_PAYLOAD"),
        ({"password": "with\u0000zero"}, "400 INVALID_PAYLOAD"),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_name(node: Node, change: dict[str, Any], expected: str) -> None:
    answer = await post(
        node, "/auth/register", **{"email": "anna@example.org", "password": PASSWORD, "username": "anna"} | change
    )
    assert code(answer) == expected
    assert answer.json()["error"]["details"]["field"] == next(iter(change))


async def test_the_wrong_email_is_shown_back(node: Node) -> None:
    answer = await post(node, "/auth/register", email="invalid-email", password=PASSWORD)
    assert answer.json()["error"] == {
        "code": "INVALID_EMAIL",
        "message": "Email format is invalid",
        "details": {"field": "email", "value": "invalid-email"},
    }


async def test_bounds_of_passwords_are_inside(node: Node) -> None:
    for number, password in enumerate(("eight888", "ä" * 512, " " * 8)):
        answer = await post(node, "/auth/register", email=f"a{number}@example.org", password=password)
        assert answer.status_code == 201
        assert (await post(node, "/auth/login", email=f"a{number}@example.org", password=password)).status_code == 200


# -- signing in -------------------------------------------------------------------------------------------------------


async def test_signing_in_is_another_login_of_the_same_account(any_node: Node) -> None:
    anna = await any_node.person("anna", "anna@example.org")
    answer = await post(any_node, "/auth/login", email="ANNA@example.org", password=PASSWORD)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["user_id"], body["email"], body["token_type"]) == (anna.id, "anna@example.org", "bearer")
    assert body["token"] == body["access_token"] != anna.token
    assert any_node.tokens.verify(body["token"], any_node.clock.now()).login_id != anna.login


async def test_an_unknown_email_and_a_wrong_password_answer_alike(any_node: Node) -> None:
    await any_node.person("anna")
    bodies = []
    for body in (
        {"email": "anna@example.org", "password": "wrong horse battery staple"},
        {"email": "nobody@example.org", "password": PASSWORD},
        {"email": "not an email", "password": PASSWORD},
        {"email": "anna@example.org", "password": "short"},
        {"email": "anna@example.org", "password": "x" * 5_000},
        {"email": "anna@example.org", "password": ""},
    ):
        answer = await post(any_node, "/auth/login", **body)
        assert answer.status_code == 401
        bodies.append({k: v for k, v in answer.json().items() if k not in ("request_id", "timestamp")})
    assert bodies == [bodies[0]] * len(bodies)
    assert bodies[0]["error"]["code"] == "INVALID_CREDENTIALS"


async def test_an_unknown_email_costs_a_hash_like_any_other(node: Node) -> None:
    await node.person("anna")
    before = node.metrics.value("password_hash_seconds")
    for email in ("nobody@example.org", "anna@example.org"):
        await post(node, "/auth/login", email=email, password="wrong horse battery staple")
    assert node.metrics.value("password_hash_seconds") == before + 2


async def test_a_password_is_the_same_however_it_was_composed(node: Node) -> None:
    await post(node, "/auth/register", email="anna@example.org", password="pass\u00e9word")
    answer = await post(node, "/auth/login", email="anna@example.org", password="passe\u0301word")
    assert answer.status_code == 200


async def test_suspended_and_deleted_accounts(node: Node) -> None:
    anna = await node.person("anna")
    assert node.tables is not None
    row = node.tables.users[anna.id]
    row.status = "suspended"
    assert code(await post(node, "/auth/login", email=anna.email, password=PASSWORD)) == "403 FORBIDDEN"
    assert code(await post(node, "/auth/login", email=anna.email, password="wrong horse")) == "401 INVALID_CREDENTIALS"
    assert code(await post(node, "/auth/refresh", refresh_token=anna.refresh_token)) == "401 INVALID_TOKEN"
    row.status = "deleted"
    assert code(await post(node, "/auth/login", email=anna.email, password=PASSWORD)) == "401 INVALID_CREDENTIALS"


# -- staying in -------------------------------------------------------------------------------------------------------


async def test_a_refresh_token_is_spent_for_a_new_pair(any_node: Node) -> None:
    anna = await any_node.person("anna")
    any_node.clock.seconds = 1_000
    answer = await post(any_node, "/auth/refresh", refresh_token=anna.refresh_token)
    assert answer.status_code == 200
    fresh = Person(any_node, answer.json(), anna.address)
    assert (fresh.id, fresh.email) == (anna.id, anna.email)
    assert fresh.refresh_token != anna.refresh_token
    assert (await fresh.client.get("/users/me")).status_code == 200
    assert (await post(any_node, "/auth/refresh", refresh_token=fresh.refresh_token)).status_code == 200


async def test_a_refresh_token_used_twice_ends_the_login_with_all_it_gave(any_node: Node) -> None:
    """Two hold what was one token: whoever comes second, owner or thief, both are out."""
    anna = await any_node.person("anna")
    socket = await anna.socket()
    stolen = (await post(any_node, "/auth/refresh", refresh_token=anna.refresh_token)).json()
    assert socket.ended == []
    assert code(await post(any_node, "/auth/refresh", refresh_token=anna.refresh_token)) == "401 INVALID_TOKEN"
    assert socket.ended == [Ending.REVOKED]
    assert code(await post(any_node, "/auth/refresh", refresh_token=stolen["refresh_token"])) == "401 INVALID_TOKEN"
    async with any_node.client(stolen["access_token"]) as thief:
        assert code(await thief.get("/users/me")) == "401 INVALID_TOKEN"
    assert (await post(any_node, "/auth/login", email=anna.email, password=PASSWORD)).status_code == 200


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 10_000])
async def test_an_unknown_refresh_token_is_refused(node: Node, token: str) -> None:
    assert code(await post(node, "/auth/refresh", refresh_token=token)) == "401 INVALID_TOKEN"


async def test_a_refresh_token_runs_out_after_its_month_and_rotation_prolongs_it(any_node: Node) -> None:
    anna = await any_node.person("anna")
    any_node.clock.seconds = 29 * 86_400
    later = (await post(any_node, "/auth/refresh", refresh_token=anna.refresh_token)).json()
    any_node.clock.seconds = 58 * 86_400
    last = await post(any_node, "/auth/refresh", refresh_token=later["refresh_token"])
    assert last.status_code == 200
    any_node.clock.seconds = 89 * 86_400
    assert (
        code(await post(any_node, "/auth/refresh", refresh_token=last.json()["refresh_token"])) == "401 INVALID_TOKEN"
    )


# -- leaving ----------------------------------------------------------------------------------------------------------


async def test_leaving_ends_the_login_and_its_sockets_and_no_other(any_node: Node) -> None:
    anna = await any_node.person("anna")
    phone = Person(
        any_node, (await post(any_node, "/auth/login", email=anna.email, password=PASSWORD)).json(), "10.9.9.9"
    )
    here, there = await anna.socket(1), await phone.socket(2)
    answer = await anna.client.post("/auth/logout")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (here.ended, there.ended) == ([Ending.REVOKED], [])
    assert code(await anna.client.get("/users/me")) == "401 INVALID_TOKEN"
    assert code(await post(any_node, "/auth/refresh", refresh_token=anna.refresh_token)) == "401 INVALID_TOKEN"
    assert (await phone.client.get("/users/me")).status_code == 200
    assert (await anna.client.post("/auth/logout")).status_code == 204  # a repeat does no harm


async def test_one_can_leave_with_the_refresh_token_alone(any_node: Node) -> None:
    anna = await any_node.person("anna")
    any_node.clock.seconds = 10_000
    assert code(await anna.client.post("/auth/logout")) == "401 TOKEN_EXPIRED"
    assert (await post(any_node, "/auth/logout", refresh_token=anna.refresh_token)).status_code == 204
    assert code(await post(any_node, "/auth/refresh", refresh_token=anna.refresh_token)) == "401 INVALID_TOKEN"


async def test_leaving_needs_a_token_of_some_kind(node: Node) -> None:
    async with node.client() as client:
        assert code(await client.post("/auth/logout")) == "401 MISSING_AUTH_HEADER"
    assert code(await post(node, "/auth/logout", refresh_token="nonsense")) == "401 INVALID_TOKEN"
    assert code(await post(node, "/auth/logout", refresh_token=7)) == "400 INVALID_PAYLOAD"


# -- sessions ---------------------------------------------------------------------------------------------------------


async def test_sessions_are_listed_with_the_current_one_marked(any_node: Node) -> None:
    anna = await any_node.person("anna")
    any_node.clock.seconds = 60
    async with any_node.client(address="10.7.7.7") as client:
        body = {"email": anna.email, "password": PASSWORD}
        await client.post("/auth/login", json=body, headers={"User-Agent": "Phone/1.0"})
    page = (await anna.client.get("/auth/sessions")).json()
    assert page["next_cursor"] is None
    phone, here = page["items"]
    assert (phone["user_agent"], phone["address"], phone["current"]) == ("Phone/1.0", "10.7.7.7", False)
    assert (here["id"], here["address"], here["current"]) == (anna.login, anna.address, True)
    assert phone["created_at"] == "2026-11-18T11:07:40.000Z"
    assert "token_hash" not in phone


async def test_a_session_is_ended_from_afar(any_node: Node) -> None:
    anna = await any_node.person("anna")
    lost = Person(
        any_node, (await post(any_node, "/auth/login", email=anna.email, password=PASSWORD)).json(), "10.9.9.9"
    )
    socket = await lost.socket()
    path = f"/auth/sessions/{lost.login}"
    assert (await anna.client.delete(path)).status_code == 204
    assert socket.ended == [Ending.REVOKED]
    assert code(await lost.client.get("/users/me")) == "401 INVALID_TOKEN"
    assert code(await anna.client.delete(path)) == "404 CONTENT_NOT_FOUND"
    assert len((await anna.client.get("/auth/sessions")).json()["items"]) == 1


async def test_nobody_ends_the_sessions_of_others(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    theirs = await ben.client.delete(f"/auth/sessions/{anna.login}")
    absent = await ben.client.delete("/auth/sessions/0190aaaa-0000-7000-8000-000000000001")
    assert code(theirs) == code(absent) == "404 CONTENT_NOT_FOUND"
    assert (await anna.client.get("/users/me")).status_code == 200


# -- passwords --------------------------------------------------------------------------------------------------------


async def test_a_new_password_ends_all_other_logins(any_node: Node) -> None:
    anna = await any_node.person("anna")
    other = Person(
        any_node, (await post(any_node, "/auth/login", email=anna.email, password=PASSWORD)).json(), "10.9.9.9"
    )
    here, there = await anna.socket(1), await other.socket(2)
    answer = await anna.client.post(
        "/auth/password", json={"current_password": PASSWORD, "new_password": "a better one"}
    )
    assert (answer.status_code, answer.json()) == (200, {"ended_sessions": 1})
    assert (here.ended, there.ended) == ([], [Ending.REVOKED])
    assert (await anna.client.get("/users/me")).status_code == 200
    assert code(await other.client.get("/users/me")) == "401 INVALID_TOKEN"
    assert code(await post(any_node, "/auth/login", email=anna.email, password=PASSWORD)) == "401 INVALID_CREDENTIALS"
    assert (await post(any_node, "/auth/login", email=anna.email, password="a better one")).status_code == 200


@pytest.mark.parametrize(
    ("body", "expected", "field"),
    [
        ({"current_password": "wrong horse", "new_password": "a better one"}, "401 INVALID_CREDENTIALS", None),
        ({"current_password": PASSWORD, "new_password": "short"}, "400 WEAK_PASSWORD", "new_password"),
        ({"current_password": PASSWORD}, "400 INVALID_PAYLOAD", "new_password"),
    ],
)
async def test_a_password_is_not_changed_by_halves(
    node: Node, anna: Person, body: dict[str, str], expected: str, field: str | None
) -> None:
    answer = await anna.client.post("/auth/password", json=body)
    assert code(answer) == expected
    assert answer.json()["error"]["details"].get("field") == field
    assert (await post(node, "/auth/login", email=anna.email, password=PASSWORD)).status_code == 200
