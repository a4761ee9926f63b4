"""The source documents' literal requests, and every field they show in the answer."""

import pytest

from tests.webapi.node import Node
from webapi.aliases import ALIASES

# (method, path, the body the document sends, the fields it shows, status)
REQUESTS = [
    ("POST", "/signup", {"email": "alice@example.com", "password": "password123"}, {"token", "user_id", "email"}, 201),
    ("POST", "/login", {"email": "alice@example.com", "password": "password123"}, {"token", "user_id", "email"}, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "fields", "status"), REQUESTS)
async def test_the_literal_request_is_answered_with_every_field_shown(
    any_node: Node, method: str, path: str, body: dict[str, str], fields: set[str], status: int
) -> None:
    await any_node.person("bob")
    async with any_node.client(prefix="") as client:
        if path == "/login":
            assert (await client.post("/auth/register", json=body)).status_code == 201
        answer = await client.request(method, path, json=body)
        assert answer.status_code == status
        assert fields <= set(answer.json())
        headers = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert (await client.get("/users/me", headers=headers)).json()["email"] == "alice@example.com"


def test_every_alias_has_its_request() -> None:
    assert {(method, path) for method, path, *_ in REQUESTS} == set(ALIASES)


async def test_an_alias_is_that_path_and_no_other(node: Node) -> None:
    async with node.client(prefix="") as client:
        for method, path in (("POST", "/api/v1/signup"), ("GET", "/signup"), ("POST", "/signup/")):
            assert (await client.request(method, path, json={})).status_code == 404
