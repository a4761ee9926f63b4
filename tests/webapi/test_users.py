"""Profiles: what their owner and what others see and may do."""

from typing import Any

import pytest
import trio

from tests.webapi.node import Node, Person
from tests.webapi.test_accounts import code

ABSENT = "0190aaaa-0000-7000-8000-000000000001"


async def test_ones_own_profile_under_both_names(any_node: Node) -> None:
    anna = await any_node.person("anna")
    mine = (await anna.client.get("/users/me")).json()
    assert mine == {
        "id": anna.id,
        "username": "anna",
        "display_name": None,
        "avatar_url": None,
        "bio": None,
        "interests": [],
        "follower_count": 0,
        "following_count": 0,
        "created_at": "2026-11-18T11:06:40.000Z",
        "email": "anna@example.org",
    }
    assert (await anna.client.get(f"/users/{anna.id}")).json() == mine
    assert (await anna.client.get(f"/users/{anna.id.upper()}")).json() == mine


async def test_others_see_it_without_the_email(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    seen = (await ben.client.get(f"/users/{anna.id}")).json()
    assert seen["username"] == "anna"
    assert "email" not in seen


async def test_everything_can_be_changed_and_taken_back(any_node: Node) -> None:
    anna = await any_node.person("anna")
    changes = {
        "username": "Anna_2",
        "display_name": "  Anna B.  ",
        "avatar_url": "https://images.example.org/a.png?size=2",
        "bio": "Hällo\nWorld 😀",
        "interests": ["Chess", "chess", "Tea"],
    }
    answer = await anna.client.patch("/users/me", json=changes)
    assert answer.status_code == 200
    assert answer.json()["email"] == "anna@example.org"
    seen = (await anna.client.get("/users/me")).json()
    assert seen == answer.json()
    kept = changes | {"display_name": "Anna B.", "interests": ["Chess", "Tea"]}
    assert {field: seen[field] for field in changes} == kept
    gone: dict[str, Any] = {"display_name": None, "avatar_url": None, "bio": "  ", "interests": []}
    seen = (await anna.client.patch("/users/me", json=gone)).json()
    assert {field: seen[field] for field in gone} == gone | {"bio": None}
    assert seen["username"] == "Anna_2"


async def test_what_is_not_named_stays(any_node: Node) -> None:
    anna = await any_node.person("anna")
    await anna.client.patch("/users/me", json={"bio": "first", "interests": ["tea"]})
    await anna.client.patch(f"/users/{anna.id}", json={"display_name": "Anna"})
    seen = (await anna.client.patch("/users/me", json={"unknown": 1})).json()
    assert (seen["bio"], seen["interests"], seen["display_name"]) == ("first", ["tea"], "Anna")


async def test_a_username_is_freed_when_it_is_given_up(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    assert code(await ben.client.patch("/users/me", json={"username": "ANNA"})) == "409 USERNAME_TAKEN"
    assert (await anna.client.patch("/users/me", json={"username": "Anna"})).status_code == 200  # one's own
    assert (await anna.client.patch("/users/me", json={"username": "hanna"})).status_code == 200
    assert (await ben.client.patch("/users/me", json={"username": "anna"})).status_code == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"username": "a"}, "400 INVALID_USERNAME"),
        ({"username": None}, "400 INVALID_PAYLOAD"),
        ({"display_name": "x" * 101}, "400 CONTENT_TOO_LONG"),
        ({"display_name": "two\nlines"}, "400 INVALID_PAYLOAD"),
        ({"bio": "x" * 1_001}, "400 CONTENT_TOO_LONG"),
        ({"bio": "zero\u0000"}, "400 INVALID_PAYLOAD"),
        ({"bio": ["a"]}, "400 INVALID_PAYLOAD"),
        ({"avatar_url": "javascript:alert(1)"}, "400 INVALID_PAYLOAD"),
        ({"avatar_url": "ftp://example.org/a.png"}, "400 INVALID_PAYLOAD"),
        ({"avatar_url": "https:///a.png"}, "400 INVALID_PAYLOAD"),
        ({"avatar_url": "https://user:pw@example.org/"}, "400 INVALID_PAYLOAD"),
        ({"avatar_url": "https://example.org:port/"}, "400 INVALID_PAYLOAD"),
        ({"avatar_url": "https://example.org/" + "x" * 2_048}, "400 INVALID_PAYLOAD"),
        ({"interests": "chess"}, "400 INVALID_PAYLOAD"),
        ({"interests": [" "]}, "400 INVALID_PAYLOAD"),
        ({"interests": [str(n) for n in range(51)]}, "400 INVALID_PAYLOAD"),
        ({"interests": ["x" * 51]}, "400 CONTENT_TOO_LONG"),
    ],
)
async def test_what_does_not_fit_changes_nothing(
    node: Node, anna: Person, changes: dict[str, Any], expected: str
) -> None:
    answer = await anna.client.patch("/users/me", json=changes | {"display_name": changes.get("display_name", "New")})
    assert code(answer) == expected
    assert answer.json()["error"]["details"]["field"] == next(iter(changes))
    assert (await anna.client.get("/users/me")).json()["display_name"] is None


async def test_lengths_count_characters_after_composition(node: Node, anna: Person) -> None:
    answer = await anna.client.patch("/users/me", json={"bio": "e\u0301" * 1_000, "display_name": "e\u0301" * 100})
    assert answer.status_code == 200
    assert answer.json()["bio"] == "\u00e9" * 1_000


async def test_nobody_changes_others(node: Node, anna: Person, ben: Person) -> None:
    assert code(await ben.client.patch(f"/users/{anna.id}", json={"bio": "hacked"})) == "403 FORBIDDEN"
    assert code(await ben.client.patch(f"/users/{ABSENT}", json={"bio": "hacked"})) == "403 FORBIDDEN"
    assert (await anna.client.get("/users/me")).json()["bio"] is None


async def test_who_blocks_does_not_exist_for_whom_he_blocks(node: Node, anna: Person, ben: Person) -> None:
    assert node.tables is not None
    node.tables.blocks.add((anna.id, ben.id))
    hidden = await ben.client.get(f"/users/{anna.id}")
    absent = await ben.client.get(f"/users/{ABSENT}")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["error"] == absent.json()["error"]
    assert hidden.headers.keys() == absent.headers.keys()
    assert hidden.headers["Content-Length"] == absent.headers["Content-Length"]
    seen = await anna.client.get(f"/users/{ben.id}")
    assert code(seen) == "403 USER_BLOCKED"
    assert seen.json()["error"]["details"] == {"by": "me"}


async def test_of_two_who_block_each_other_both_see_their_own_block_only(node: Node, anna: Person, ben: Person) -> None:
    assert node.tables is not None
    node.tables.blocks |= {(anna.id, ben.id), (ben.id, anna.id)}
    for one, other in ((anna, ben), (ben, anna)):
        assert (await one.client.get(f"/users/{other.id}")).json()["error"]["details"] == {"by": "me"}


async def test_a_deleted_user_is_not_found(node: Node, anna: Person, ben: Person) -> None:
    assert node.tables is not None
    node.tables.users[anna.id].status = "deleted"
    assert code(await ben.client.get(f"/users/{anna.id}")) == "404 USER_NOT_FOUND"


async def test_profiles_asked_for_at_once_are_read_together(node: Node, anna: Person, ben: Person) -> None:
    """Each request had crossed to the database by itself, and that crossing cost more than all the rest of it."""
    answers: list[str] = []

    async def look(person: Person) -> None:
        answers.append((await person.client.get("/users/me")).json()["username"])

    for person in (anna, ben):
        await look(person)  # from now on nobody's limits are read
    before = node.services.profiles.queries
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(look, anna)
            nursery.start_soon(look, ben)
    assert sorted(answers[2:]) == ["anna"] * 20 + ["ben"] * 20
    assert node.services.profiles.queries - before < 10
