"""Conversations: making one with somebody, listing, opening, and what changed."""

from typing import Any

import pytest

from tests.webapi.node import Node, Person
from tests.webapi.test_accounts import code

ABSENT = "0190aaaa-0000-7000-8000-000000000001"


async def test_a_direct_conversation_is_made_once_per_pair(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    first = await anna.client.post("/conversations", json={"type": "direct", "member_ids": [ben.id]})
    assert first.status_code == 201
    made = first.json()
    assert set(made) == {
        "id", "type", "name", "description", "privacy_mode", "key_epoch", "member_count", "last_message",
        "unread_count", "rev", "my", "created_at", "updated_at",
    }  # fmt: skip
    assert (made["type"], made["privacy_mode"], made["member_count"]) == ("direct", "standard", 2)
    assert (made["last_message"], made["unread_count"], made["rev"]) == (None, 0, 1)
    assert made["my"]["role"] == "member"
    again = await anna.client.post("/conversations", json={"type": "direct", "member_ids": [ben.id]})
    assert (again.status_code, again.json()["id"]) == (200, made["id"])
    back = await ben.client.post("/conversations", json={"type": "direct", "member_ids": [anna.id]})
    assert (back.status_code, back.json()["id"]) == (200, made["id"])


@pytest.mark.parametrize(
    "shape",
    [
        lambda me, other: {"type": "direct", "member_ids": [other]},
        lambda me, other: {"member_ids": [other]},
        lambda me, other: {"type": "direct", "member_ids": [me, other, other]},
        lambda me, other: {"type": "direct", "initial_members": [other]},
        lambda me, other: {"type": "direct", "user_ids": [other]},
        lambda me, other: {"user_id": other},
        lambda me, other: {"recipient_id": other.upper()},
        lambda me, other: {"recipient_id": other, "privacy_mode": "standard", "name": 7},
    ],
)
async def test_the_other_one_may_be_named_in_many_ways(node: Node, anna: Person, ben: Person, shape: Any) -> None:
    answer = await anna.client.post("/conversations", json=shape(anna.id, ben.id))
    assert answer.status_code == 201
    assert await ben.chat_with(anna) == answer.json()["id"]


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (lambda me, other: {}, "member_ids"),
        (lambda me, other: {"type": "direct"}, "member_ids"),
        (lambda me, other: {"member_ids": []}, "member_ids"),
        (lambda me, other: {"member_ids": [me]}, "member_ids"),
        (lambda me, other: {"user_id": me}, "user_id"),
        (lambda me, other: {"member_ids": [other, ABSENT]}, "member_ids"),
        (lambda me, other: {"member_ids": ["anna"]}, "member_ids"),
        (lambda me, other: {"member_ids": [7]}, "member_ids[0]"),
        (lambda me, other: {"member_ids": other}, "member_ids"),
        (lambda me, other: {"recipient_id": None}, "recipient_id"),
        (lambda me, other: {"type": "channel", "member_ids": [other]}, "type"),
    ],
)
async def test_what_is_no_direct_conversation_is_refused(
    node: Node, anna: Person, ben: Person, shape: Any, field: str
) -> None:
    answer = await anna.client.post("/conversations", json=shape(anna.id, ben.id))
    assert code(answer) == "400 INVALID_PAYLOAD"
    assert answer.json()["error"]["details"]["field"] == field
    assert (await anna.client.get("/conversations")).json()["items"] == []


@pytest.mark.parametrize(
    ("wish", "feature"), [({"type": "group", "name": "x"}, "groups"), ({"privacy_mode": "strict_e2e"}, "encryption")]
)
async def test_what_cannot_be_made_yet_is_told_as_such(
    node: Node, anna: Person, ben: Person, wish: dict[str, str], feature: str
) -> None:
    answer = await anna.client.post("/conversations", json={"member_ids": [ben.id], **wish})
    assert (code(answer), answer.json()["error"]["details"]) == ("501 NOT_IMPLEMENTED", {"feature": feature})
    assert (await anna.client.get("/conversations")).json()["items"] == []


async def test_a_blocker_and_nobody_cannot_be_told_apart(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    assert node.tables is not None
    node.tables.blocks.add((anna.id, ben.id))
    blocked = await ben.client.post("/conversations", json={"member_ids": [anna.id]})
    unknown = await ben.client.post("/conversations", json={"member_ids": [ABSENT]})
    assert blocked.status_code == unknown.status_code == 404
    assert blocked.json()["error"] == unknown.json()["error"]
    assert blocked.json()["error"]["code"] == "USER_NOT_FOUND"
    assert blocked.headers.keys() == unknown.headers.keys()
    mine = await anna.client.post("/conversations", json={"member_ids": [ben.id]})
    assert code(mine) == "403 USER_BLOCKED"
    assert mine.json()["error"]["details"] == {"by": "me"}
    assert (await anna.client.get(f"/conversations/{chat}")).status_code == 200  # it stays theirs


async def test_a_deleted_user_cannot_be_written_to(node: Node, anna: Person, ben: Person) -> None:
    assert node.tables is not None
    node.tables.users[ben.id].status = "deleted"
    assert code(await anna.client.post("/conversations", json={"user_id": ben.id})) == "404 USER_NOT_FOUND"


async def test_the_list_shows_the_latest_activity_first_page_by_page(any_node: Node) -> None:
    anna = await any_node.person("anna")
    chats = []
    for number in range(5):
        any_node.clock.seconds += 1
        other = await any_node.person()
        chats.append(await other.chat_with(anna))
        if number == 1:
            talker = other
    any_node.clock.seconds += 1
    await talker.say(chats[1], "up")
    wanted = [chats[1], chats[4], chats[3], chats[2], chats[0]]
    seen, cursor = [], None
    for _ in range(3):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await anna.client.get("/conversations", params=params)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert [item["id"] for item in seen] == wanted
    assert cursor is None
    assert [item["unread_count"] for item in seen] == [1, 0, 0, 0, 0]
    assert seen[0]["last_message"]["text"] == "up"
    assert {item["my"]["role"] for item in seen} == {"member"}
    assert (await anna.client.get("/conversations", params={"limit": "1000"})).json()["next_cursor"] is None


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"limit": "0"}, "400 INVALID_QUERY"),
        ({"limit": "-1"}, "400 INVALID_QUERY"),
        ({"limit": "ten"}, "400 INVALID_QUERY"),
        ({"limit": "1.5"}, "400 INVALID_QUERY"),
        ({"limit": "٣"}, "400 INVALID_QUERY"),
        ({"limit": "9" * 40}, "400 INVALID_QUERY"),
        ({"cursor": "nonsense"}, "400 INVALID_CURSOR"),
        ({"cursor": "!"}, "400 INVALID_CURSOR"),
        ({"cursor": "x" * 1_000}, "400 INVALID_CURSOR"),
        ({"cursor": "MS5ub3RhdXVpZA"}, "400 INVALID_CURSOR"),
        ({"cursor": "w6Q"}, "400 INVALID_CURSOR"),
    ],
)
async def test_bad_pages_are_refused(node: Node, anna: Person, params: dict[str, str], expected: str) -> None:
    assert code(await anna.client.get("/conversations", params=params)) == expected


async def test_opening_shows_what_was_asked_for(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat = await anna.chat_with(ben)
    await anna.say(chat, "one")
    await anna.say(chat, "two")
    plain = (await ben.client.get(f"/conversations/{chat}")).json()
    assert (plain["unread_count"], plain["rev"], plain["last_message"]["text"]) == (2, 3, "two")
    assert "members" not in plain
    assert "messages" not in plain
    full = (await ben.client.get(f"/conversations/{chat}", params={"include": "members,messages"})).json()
    assert {member["user_id"] for member in full["members"]} == {anna.id, ben.id}
    assert [message["text"] for message in full["messages"]] == ["two", "one"]
    assert full["my"]["last_read_seq"] == 0
    answer = await ben.client.get(f"/conversations/{chat}", params={"include": "everything"})
    assert code(answer) == "400 INVALID_QUERY"


async def test_strangers_cannot_tell_a_conversation_from_none(any_node: Node) -> None:
    anna, ben, eve = [await any_node.person(name) for name in ("anna", "ben", "eve")]
    chat = await anna.chat_with(ben)
    await anna.say(chat, "secret")
    requests: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("GET", "?include=members,messages", None),
        ("GET", "/messages", None),
        ("GET", "/changes", None),
        ("POST", "/messages", {"text": "hello"}),
    ]
    for method, rest, body in requests:
        there = await eve.client.request(method, f"/conversations/{chat}{rest}", json=body)
        absent = await eve.client.request(method, f"/conversations/{ABSENT}{rest}", json=body)
        assert code(there) == code(absent) == "404 CONVERSATION_NOT_FOUND"
        assert there.json()["error"] == absent.json()["error"]
        assert there.headers.keys() == absent.headers.keys()
    assert (await eve.client.get("/conversations")).json()["items"] == []


async def test_changes_are_told_from_a_revision_on(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat = await anna.chat_with(ben)
    for text in ("one", "two", "three"):
        await anna.say(chat, text)
    path = f"/conversations/{chat}/changes"
    whole = (await ben.client.get(path)).json()
    assert (whole["upto_rev"], whole["more"]) == (4, False)
    assert [change["message"]["text"] for change in whole["changes"] if "message" in change] == ["one", "two", "three"]
    part = (await ben.client.get(path, params={"after_rev": "2", "limit": "1"})).json()
    assert [change["message"]["text"] for change in part["changes"]] == ["two"]
    assert (part["upto_rev"], part["more"]) == (3, True)
    rest = (await ben.client.get(path, params={"after_rev": str(part["upto_rev"])})).json()
    assert [change["message"]["text"] for change in rest["changes"]] == ["three"]
    for params in ({"after_rev": "-1"}, {"after_rev": "x"}, {"limit": "0"}):
        assert code(await ben.client.get(path, params=params)) == "400 INVALID_QUERY"
