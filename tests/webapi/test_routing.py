"""The table of routes by itself, and everything at random."""

import random
import string
from typing import Any

import pytest

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId
from tests.webapi.node import Node
from webapi import access
from webapi.app import ROUTES
from webapi.routing import Route, RouteTable

ID = "0190AAAA-0000-7000-8000-000000000001"


def test_a_route_is_found_with_and_without_the_prefix_and_its_ids_are_canonical() -> None:
    table = RouteTable(ROUTES)
    for path in (f"/users/{ID}", f"/api/v1/users/{ID}"):
        route, params = table.find("GET", path)
        assert (route.path, params) == ("/users/{user_id}", {"user_id": ID.lower()})
    assert table.find("GET", "/users/me")[1] == {"user_id": "me"}
    assert table.find("GET", "/users/me/")[0].path == "/users/{user_id}"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/api/v1/users/me",
        "/api/v2/users/me",
        f"/users/{ID}x",
        "/users/ME",
        f"/users/{{{ID}}}",
        "//users/me",
        "//api/v1/users/me",
        "/api/v1//users/me",
    ],
)
def test_what_only_looks_like_a_route_is_none(path: str) -> None:
    with pytest.raises(KithError) as refused:
        RouteTable(ROUTES).find("GET", path)
    assert refused.value.code is ErrorCode.ROUTE_NOT_FOUND


@pytest.mark.parametrize(
    "path", ["/metrics/", "/%6detrics", "/metrics%2f", "/api/v1/metrics/", "/api/%761/metrics", "/METRICS"]
)
async def test_what_a_proxy_hides_by_its_path_has_no_other(node: Node, path: str) -> None:
    """`location = /metrics { return 404; }` hid one spelling of many."""
    async with node.client(prefix="") as client:
        assert (await client.get("/metrics")).status_code == (await client.get("/api/v1/metrics")).status_code == 200
        assert (await client.get(path)).status_code == 404
        assert (await client.get("/healthz/")).status_code == 200


def test_a_route_twice_is_a_mistake() -> None:
    route: Route = ROUTES[0]
    with pytest.raises(ValueError, match="twice"):
        RouteTable([route, route])


NAMES = [
    "text",
    "client_id",
    "member_ids",
    "user_id",
    "email",
    "password",
    "limit",
    "cursor",
    "before_seq",
    "bio",
    "after_rev",
    "include",
    "order",
    "interests",
    "refresh_token",
    "type",
    "mentions",
    "avatar_url",
]


async def test_no_request_at_random_is_our_fault(any_node: Node) -> None:
    """A thousand requests of right and wrong parts: none is answered with 500, each with a body of ours."""
    chance, node = random.Random(7), any_node
    anna, ben = await node.person("anna"), await node.person("ben")
    chat = await anna.chat_with(ben)
    ids = [anna.id, ben.id, chat, ID, "me", "x", "", "%00", "..", "🙂"]
    answered: dict[int, int] = {}

    def value(depth: int = 0) -> Any:
        simple = [
            None,
            True,
            0,
            -1,
            2**70,
            1.5,
            "",
            "a" * 50,
            "\u0000",
            "\ud7ff",
            "a@b.de",
            "password123",
            ID,
            chat,
            ben.id,
        ]
        if depth < 2 and chance.random() < 0.3:
            return [value(depth + 1) for _ in range(chance.randrange(3))]
        if depth < 2 and chance.random() < 0.1:
            return {chance.choice(NAMES): value(depth + 1)}
        return chance.choice(simple)

    for number in range(1_000):
        node.clock.seconds += 60  # limits are another test's
        route = chance.choice(ROUTES)
        path = "/".join(chance.choice(ids) if part.startswith("{") else part for part in route.path.split("/"))
        method = route.method if chance.random() < 0.8 else chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD"])
        login = LoginId(f"0190bbbb-0000-7000-8000-{number:012d}")  # of its own: some of these requests sign out
        token = node.tokens.issue(anna.id, login, node.clock.now())
        params = {chance.choice(NAMES): str(value()) for _ in range(chance.randrange(3))}
        content: dict[str, Any] = {"json": {chance.choice(NAMES): value() for _ in range(chance.randrange(5))}}
        if chance.random() < 0.1:
            content = {"content": "".join(chance.choices(string.printable, k=30)).encode()}
        headers = {"Authorization": f"Bearer {token}"} if chance.random() < 0.8 else {}
        async with node.client(address=f"10.200.0.{chance.randrange(250)}") as client:
            answer = await client.request(method, path, params=params, headers=headers, **content)
        answered[answer.status_code] = answered.get(answer.status_code, 0) + 1
        assert answer.status_code < 500 or answer.status_code == 501, (method, path, params, content)
        if answer.status_code >= 400 and method != "HEAD":
            assert set(answer.json()) == {"error", "request_id", "timestamp"}
    assert {200, 400, 401, 404, 405} <= set(answered)


async def test_what_is_remembered_of_callers_is_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REMEMBERED", 3)
    people = [await node.person() for _ in range(8)]
    for person in people:
        assert (await person.client.get("/users/me")).status_code == 200
    assert len(node.app._doorkeeper._limits) <= 3
