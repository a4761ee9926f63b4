"""Who is let through to the routes for users."""

from collections.abc import Callable

import pytest

from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds
from actors.tokens import TokenAuthority
from tests.webapi.node import Node, Person
from webapi.app import ROUTES

SOMEBODY = "0190aaaa-0000-7000-8000-000000000001"
FOR_USERS = [(route.method, route.path) for route in ROUTES if route.access.signed_in]


def path_of(template: str) -> str:
    parts = [SOMEBODY if part.startswith("{") else part for part in template.split("/")]
    return "/".join(parts)


Header = Callable[[Person], str | None]
CASES: dict[str, tuple[Header, int, str]] = {
    "valid": (lambda anna: f"Bearer {anna.token}", 200, ""),
    "scheme in another case": (lambda anna: f"bearer {anna.token}", 200, ""),
    "missing": (lambda anna: None, 401, "MISSING_AUTH_HEADER"),
    "empty": (lambda anna: "", 401, "MISSING_AUTH_HEADER"),
    "another scheme": (lambda anna: f"Basic {anna.token}", 401, "MISSING_AUTH_HEADER"),
    "no scheme": (lambda anna: anna.token, 401, "MISSING_AUTH_HEADER"),
    "no token": (lambda anna: "Bearer ", 401, "INVALID_TOKEN"),
    "malformed": (lambda anna: "Bearer not.a.token", 401, "INVALID_TOKEN"),
    "cut short": (lambda anna: f"Bearer {anna.token[:-1]}", 401, "INVALID_TOKEN"),
    "refresh token": (lambda anna: f"Bearer {anna.refresh_token}", 401, "INVALID_TOKEN"),
    "expired": (
        lambda anna: "Bearer " + anna.node.tokens.issue(anna.id, anna.login, anna.node.clock.now(), Seconds(-1)),
        401,
        "TOKEN_EXPIRED",
    ),
    "of another server": (
        lambda anna: "Bearer " + TokenAuthority("another").issue(anna.id, anna.login, anna.node.clock.now()),
        401,
        "INVALID_TOKEN",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_auth_middleware(node: Node, anna: Person, case: str) -> None:
    """T4: valid, expired and invalid tokens."""
    header, status, code = CASES[case]
    value = header(anna)
    async with node.client() as client:
        answer = await client.get("/users/me", headers={} if value is None else {"Authorization": value})
    assert answer.status_code == status, answer.text
    if status == 401:
        assert answer.json()["error"]["code"] == code
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    else:
        assert answer.json()["id"] == anna.id


@pytest.mark.parametrize(("method", "template"), FOR_USERS)
async def test_every_route_for_users_refuses_everybody_else(node: Node, method: str, template: str) -> None:
    async with node.client() as client:
        answer = await client.request(method, path_of(template))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "MISSING_AUTH_HEADER")


async def test_a_token_ends_with_its_time(node: Node, anna: Person) -> None:
    node.clock.seconds = 899.9
    assert (await anna.client.get("/users/me")).status_code == 200
    node.clock.seconds = 900
    assert (await anna.client.get("/users/me")).json()["error"]["code"] == "TOKEN_EXPIRED"


async def test_a_token_ends_with_its_login(node: Node, anna: Person) -> None:
    other = LoginId(SOMEBODY)
    token = node.tokens.issue(anna.id, other, node.clock.now())
    async with node.client(token) as client:
        assert (await client.get("/users/me")).status_code == 200
        node.services.revocations.add([other])
        assert (await client.get("/users/me")).json()["error"]["code"] == "INVALID_TOKEN"
    assert (await anna.client.get("/users/me")).status_code == 200


async def test_a_token_in_the_address_is_not_a_token(node: Node, anna: Person) -> None:
    async with node.client() as client:
        for name in ("token", "access_token", "ticket"):
            assert (await client.get("/users/me", params={name: anna.token})).status_code == 401


async def test_a_token_of_nobody_is_no_token(node: Node) -> None:
    token = node.tokens.issue(UserId(SOMEBODY), LoginId(SOMEBODY), node.clock.now())
    async with node.client(token) as client:
        answer = await client.get("/users/me")
    assert answer.json()["error"]["code"] == "INVALID_TOKEN"
    assert answer.headers["X-RateLimit-Limit"] == "600"  # his address pays for the look at the database
