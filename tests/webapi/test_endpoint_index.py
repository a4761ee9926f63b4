"""Every row of the source documents' endpoint index: the literal path and body, and every field the document shows.

A row whose feature comes later is answered with 501 and names the feature; the row stays, and whoever builds the
feature gives it its fields here.
"""

import re
from typing import Any, NamedTuple

import httpx
import pytest

from tests.webapi.node import PASSWORD, Node, Person
from webapi.aliases import ALIASES
from webapi.later import LATER
from webapi.routing import PREFIX

ALICE = {"email": "alice@example.com", "password": "password123"}
SIGNED_IN = {"token", "user_id", "email", "access_token"}
CONVERSATION = {"id", "type", "name", "description", "member_count", "last_message", "privacy_mode", "created_at"}
MESSAGE = {"id", "conversation_id", "sender_id", "seq", "text", "created_at", "edited_at", "deleted_at", "reactions"}
LIKE, HEART = "👍", "❤️"


class Row(NamedTuple):
    requirement: str
    method: str
    path: str  # as the document has it, in full; ids by name
    body: Any = None
    status: int = 501
    fields: frozenset[str] = frozenset()
    feature: str = ""


def built(requirement: str, request: str, body: Any = None, status: int = 200, fields: set[str] | None = None) -> Row:
    method, path = request.split(" ", 1)
    return Row(requirement, method, path, body, status, frozenset(fields or set()))


def later(feature: str, requirement: str, request: str, body: Any = None) -> Row:
    method, path = request.split(" ", 1)
    return Row(requirement, method, path, body, feature=feature)


STORY_000 = {"media_id": "{id}", "caption": "Test story", "visibility": "public"}
STORY_001 = {
    "text": "Hello world!",
    "media_key": "uploads/abc123.jpg",
    "visibility": "friends",
    "audience_user_ids": ["{ben}"],
}
ENCRYPTED = {"recipient_id": "{ben}", "encrypted_content": "c2VjcmV0", "nonce": "bm9uY2U=", "sender_public_key": "a2V5"}

ROWS = [
    built("C1", "POST /conversations", {"type": "direct", "user_id": "{carla}"}, 201, CONVERSATION),
    built("C3", "GET /conversations/{chat}", fields=CONVERSATION),
    later("groups", "C5", "PUT /conversations/{chat}", {"name": "Choir", "description": "Tuesdays"}),
    later("analytics", "Y3", "GET /conversations/{chat}/analytics"),
    later("analytics", "Y4", "GET /conversations/{chat}/analytics/members"),
    later("groups", "C6", "GET /conversations/{chat}/members"),
    later("groups", "C7", "POST /conversations/{chat}/members", {"user_id": "{carla}"}),
    later("groups", "C8", "DELETE /conversations/{chat}/members/{ben}"),
    later("groups", "C9", "PUT /conversations/{chat}/members/{ben}", {"role": "admin"}),
    built("M4", "GET /conversations/{chat}/messages", fields={"items", "next_cursor"}),
    built("M1", "POST /conversations/{chat}/messages", {"text": "Hi", "idempotency_key": "{key}"}, 201, {"id", "seq"}),
    later("analytics", "Y2", "GET /conversations/{chat}/metadata"),
    later("stories", "S13", "GET /feed"),
    later("posts", "F1", "GET /api/v1/feed?algo=ch&limit=20"),
    later("posts", "F2", "GET /api/v1/feed/following?limit=20"),
    later("stories", "S11", "GET /feed/stories"),
    later("graph", "G2", "DELETE /follow/{ben}"),
    later("graph", "G1", "POST /follow/{ben}"),
    built("O1", "GET /healthz", fields={"status", "checks"}),
    later("encryption", "E12", "POST /api/v1/key-exchange/initiate", {"recipient_id": "{ben}"}),
    later("encryption", "E13", "POST /api/v1/key-exchange/{id}/complete", {"public_key": "a2V5"}),
    later("live", "L1", "POST /api/v1/live/start", {"title": "Stream title", "thumbnail_url": "..."}),
    later("live", "L3", "POST /api/v1/live/{id}/comment", {"text": "Hi"}),
    later("live", "L2", "GET /api/v1/live/{id}/status"),
    later("live", "L4", "POST /api/v1/live/{id}/tip", {"amount": "5.00"}),
    built("A2", "POST /login", ALICE, 200, SIGNED_IN),
    later("money", "$2", "GET /api/v1/me/analytics"),
    later("money", "$3", "GET /api/v1/me/revenue"),
    later("money", "$5", "GET /api/v1/subscriptions"),
    later("money", "$4", "POST /api/v1/subscriptions/{id}/cancel"),
    later("analytics", "Y1", "GET /me/stats"),
    later("messaging", "M5", "GET /messages?conversation_id={chat}"),
    later("messaging", "M2", "POST /messages", {"conversation_id": "{chat}", "text": "Hi"}),
    later("messaging", "M3", "POST /api/v1/messages/send", ENCRYPTED),
    later("messaging", "M9", "POST /messages/sync", {"messages": [{"conversation_id": "{chat}", "text": "Hi"}]}),
    built("M6", "GET /api/v1/messages/{message}", fields=MESSAGE),
    built("M8", "DELETE /messages/{message}", fields={"rev"}),
    later("messaging", "M7", "PUT /messages/{message}", {"content": "Hello"}),
    later("messaging", "M10", "POST /api/v1/messages/{message}/delivered"),
    later("messaging", "M11", "POST /api/v1/messages/{message}/read"),
    later("reactions", "R3", "GET /messages/{message}/reactions"),
    later("reactions", "R1", "POST /messages/{message}/reactions", {"emoji": LIKE}),
    later("reactions", "R2", f"DELETE /messages/{{message}}/reactions/{LIKE}"),
    built("O2", "GET /metrics"),
    later("notifications", "N7", "GET /notifications"),
    later("posts", "P1", "POST /api/v1/posts", {"content": "Hello", "visibility": "public"}),
    later("posts", "P3", "DELETE /api/v1/posts/{id}"),
    later("posts", "P2", "GET /api/v1/posts/{id}"),
    later("posts", "P6", "POST /api/v1/posts/{id}/comment", {"text": "Nice"}),
    later("posts", "P5", "DELETE /api/v1/posts/{id}/like"),
    later("posts", "P4", "POST /api/v1/posts/{id}/like"),
    later("posts", "P8", "POST /api/v1/posts/{id}/save"),
    later("posts", "P7", "POST /api/v1/posts/{id}/share"),
    later("posts", "P10", "GET /api/v1/reels/{id}/analytics"),
    later("search", "F3", "GET /api/v1/search?q=ben&type=users"),
    later("search", "Q1", "GET /search/messages?q=hello&limit=20&offset=0"),
    later("search", "F4", "GET /api/v1/trending?category=music&limit=20"),
    built("A1", "POST /signup", ALICE, 201, SIGNED_IN),
    later("stories", "S1", "POST /stories", STORY_001),
    later("stories", "S14", "POST /api/v1/stories", STORY_000),
    later("stories", "S12", "GET /stories/feed"),
    later("stories", "S15", "GET /api/v1/stories/feed"),
    later("media", "S19", "POST /stories/media/upload"),
    later("media", "S20", "GET /stories/media/{id}"),
    later("stories", "S4", "DELETE /stories/{id}"),
    later("stories", "S3", "GET /stories/{id}"),
    later("stories", "S5", "PUT /stories/{id}/privacy", {"privacy_level": "followers"}),
    later("stories", "R7", "GET /stories/{id}/reactions"),
    later("stories", "R4", "POST /stories/{id}/reactions", {"emoji": HEART}),
    later("stories", "R6", f"DELETE /stories/{{id}}/reactions/{HEART}"),
    later("stories", "S6", "POST /stories/{id}/view"),
    later("stories", "S16", "GET /api/v1/stories/{id}/viewers"),
    later("stories", "S8", "POST /stories/{id}/views"),
    later("stories", "S17", "POST /stories/{id}/highlights", {"name": "Summer", "story_ids": ["{id}"]}),
    later("stories", "S10", "GET /stories/{id}/metrics"),
    later("stories", "R5", "DELETE /stories/{id}/reactions"),
    later("stories", "S7", "POST /stories/{id}/seen"),
    later("stories", "S9", "GET /stories/{id}/viewers"),
    later("money", "$1", "POST /api/v1/tips", {"content_id": "{id}", "content_type": "post", "amount": "5.00"}),
    later("media", "D1", "POST /upload/presigned", {"content_type": "image/jpeg", "file_name": "photo.jpg"}),
    later("encryption", "E11", "POST /api/v1/users/me/public-key", {"public_key": "a2V5"}),
    later("graph", "G5", "POST /api/v1/users/{ben}/block"),
    later("graph", "G12", "GET /users/{anna}/close-friends"),
    later("graph", "G14", "DELETE /users/{anna}/close-friends/{ben}"),
    later("graph", "G13", "POST /users/{anna}/close-friends/{ben}"),
    later("graph", "G3", "POST /api/v1/users/{ben}/follow"),
    later("graph", "G9", "GET /api/v1/users/{ben}/followers"),
    later("graph", "G10", "GET /api/v1/users/{ben}/following"),
    later("graph", "G7", "POST /api/v1/users/{ben}/mute"),
    later("graph", "G11", "GET /api/v1/users/{anna}/recommendations"),
    later("graph", "G6", "POST /api/v1/users/{ben}/unblock"),
    later("graph", "G4", "POST /api/v1/users/{ben}/unfollow"),
    later("graph", "G8", "POST /api/v1/users/{ben}/unmute"),
    later("stories", "S18", "GET /users/{ben}/highlights"),
    later("stories", "S2", "GET /users/{ben}/stories?limit=20"),
]
# `GET /ws` (W1) and `GET /api/v1/ws/notifications` (W2) are sockets: tests/system/test_dialects.py speaks to both.
INDEX_ROWS = 97
SOCKETS = 2

# Other names of the documents, which are not rows of the index.
FURTHER = [
    later(
        "groups",
        "C2",
        "POST /conversations",
        {"type": "group", "name": "Choir", "initial_members": ["{ben}", "{carla}"]},
    ),
    later("media", "D1", "POST /media/uploads", {"content_type": "image/jpeg", "file_name": "photo.jpg"}),
]


class Scene(NamedTuple):
    """Who and what the literal requests are about."""

    anna: Person
    names: dict[str, str]

    def fill(self, given: Any) -> Any:
        if isinstance(given, str):
            for name, value in self.names.items():
                given = given.replace(f"{{{name}}}", value)
            return given
        if isinstance(given, dict):
            return {key: self.fill(value) for key, value in given.items()}
        return [self.fill(value) for value in given] if isinstance(given, list) else given


async def make_scene(node: Node) -> Scene:
    anna, ben, carla = await node.person("anna"), await node.person("ben"), await node.person("carla")
    chat = await anna.chat_with(ben)
    sent = await anna.say(chat, "Hello Ben")
    names = {
        "anna": anna.id,
        "ben": ben.id,
        "carla": carla.id,
        "chat": chat,
        "message": sent["message_id"],
        "key": "0190aaaa-0000-4000-8000-00000000000a",
        "id": "0190aaaa-0000-7000-8000-000000000001",
    }
    return Scene(anna, names)


async def ask(node: Node, scene: Scene, row: Row) -> httpx.Response:
    async with node.client(scene.anna.token, prefix="") as client:
        if row.path == "/login":
            assert (await client.post("/signup", json=ALICE)).status_code == 201
        body = {} if row.body is None else {"json": scene.fill(row.body)}
        return await client.request(row.method, scene.fill(row.path), **body)


@pytest.mark.parametrize("row", [*ROWS, *FURTHER], ids=lambda row: f"{row.requirement} {row.method} {row.path}")
async def test_the_literal_request_is_answered_as_the_document_shows(node: Node, row: Row) -> None:
    answer = await ask(node, await make_scene(node), row)
    assert answer.status_code == row.status, answer.text
    if row.feature:
        error = answer.json()["error"]
        assert (error["code"], error["details"]) == ("NOT_IMPLEMENTED", {"feature": row.feature})
        assert answer.json().keys() == {"error", "request_id", "timestamp"}
    elif row.fields:
        assert row.fields <= answer.json().keys()


@pytest.mark.parametrize("row", [row for row in ROWS if row.feature], ids=lambda row: f"{row.method} {row.path}")
async def test_a_stranger_is_told_to_sign_in_first(node: Node, row: Row) -> None:
    path = re.sub(r"\{\w+\}", "0190aaaa-0000-7000-8000-000000000001", row.path)
    async with node.client(prefix="") as client:
        answer = await client.request(row.method, path)
    assert answer.status_code == 401


async def test_the_walk_of_a_message_shows_what_the_documents_show(node: Node) -> None:
    """M4 and T043: the history's items have their fields too, not only the list."""
    scene = await make_scene(node)
    answer = await scene.anna.client.get(scene.fill("/conversations/{chat}/messages"))
    assert answer.json()["items"][0].keys() >= MESSAGE


def test_the_index_is_whole() -> None:
    assert len(ROWS) + SOCKETS == INDEX_ROWS
    assert len({(row.method, row.path) for row in ROWS}) == len(ROWS)


def test_every_alias_is_a_row() -> None:
    """An alias that nobody asks for could lead anywhere."""

    def shape(method: str, path: str) -> str:
        parts = ["{}" if part.startswith("{") else part for part in path.partition("?")[0].split("/")]
        return f"{method} {'/'.join(parts)}"

    asked = {shape(row.method, row.path) for row in [*ROWS, *FURTHER]}
    assert {shape(*alias.split(" ", 1)) for alias in ALIASES} <= asked


def test_every_row_that_waits_names_a_feature_of_the_list() -> None:
    assert {row.feature for row in ROWS if row.feature} <= LATER.keys()


async def test_an_alias_is_that_path_and_no_other(node: Node) -> None:
    """`/signup` is a path of one document; with the prefix nobody ever promised it."""
    async with node.client(prefix="") as client:
        for method, path in (("POST", f"{PREFIX}/signup"), ("POST", "/signup/"), ("POST", f"{PREFIX}/feed/stories")):
            assert (await client.request(method, path, json={})).status_code == 404
        assert (await client.get("/signup")).status_code == 405


async def test_one_path_with_two_meanings_is_told_apart_by_its_prefix(node: Node) -> None:
    anna = await node.person("anna", email="anna@example.org")
    async with node.client(anna.token, prefix="") as client:
        features = [
            (await client.get(path)).json()["error"]["details"]["feature"] for path in ("/feed", "/api/v1/feed")
        ]
    assert features == ["stories", "posts"]


async def test_signed_up_under_the_old_name_signed_in_under_the_new_one(any_node: Node) -> None:
    async with any_node.client(prefix="") as client:
        assert (await client.post("/signup", json=ALICE)).json()["email"] == ALICE["email"]
        answer = await client.post("/api/v1/auth/login", json=ALICE)
        headers = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert (await client.get("/users/me", headers=headers)).json()["email"] == ALICE["email"]
        assert PASSWORD not in answer.text
