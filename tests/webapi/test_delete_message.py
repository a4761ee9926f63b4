"""Deleting messages over HTTP: by whom, what stays, and what a stranger may not learn."""

import random
import uuid
from typing import Any

import httpx
import trio

from actors.shapes.times import iso
from tests.clocks import HandClock
from tests.webapi.conftest import two_nodes
from tests.webapi.node import Node, Person
from tests.webapi.test_accounts import code


def without_id(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]


async def test_a_deleted_message_is_a_tombstone_wherever_it_is_read(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat = await anna.chat_with(ben)
    await anna.say(chat, "one")
    said = await anna.client.post(f"/conversations/{chat}/messages", json={"text": "two", "mentions": [ben.id]})
    id = said.json()["id"]
    assert (await ben.client.get(f"/messages/{id}")).json()["text"] == "two"
    deleted = await anna.client.delete(f"/messages/{id}")
    assert (deleted.status_code, deleted.json()) == (200, {"message_id": id, "conversation_id": chat, "rev": 4})
    stone = (await ben.client.get(f"/messages/{id}")).json()
    assert (stone["text"], stone["mentions"], stone["rev"], stone["seq"]) == (None, [], 4, 2)
    assert (stone["deleted_by"], stone["deleted_at"]) == (anna.id, iso(any_node.clock.now()))
    history = (await ben.client.get(f"/conversations/{chat}/messages")).json()["items"]
    assert [message["text"] for message in history] == [None, "one"]
    changes = (await ben.client.get(f"/conversations/{chat}/changes?after_rev=3")).json()
    assert [(change["rev"], change["message"]["id"]) for change in changes["changes"]] == [(4, id)]
    (listed,) = (await ben.client.get("/conversations")).json()["items"]
    assert (listed["last_message"], listed["unread_count"]) == (stone, 1)
    assert (await ben.client.get(f"/conversations/{chat}/messages/{id}")).json() == stone


async def test_again_it_answers_the_same(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat = await anna.chat_with(ben)
    id = (await anna.say(chat, "one"))["id"]
    first = await anna.client.delete(f"/conversations/{chat}/messages/{id}")
    any_node.clock.seconds += 60
    await anna.say(chat, "two")
    again = await anna.client.delete(f"/messages/{id.upper()}")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()


async def test_the_other_one_may_not(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat = await anna.chat_with(ben)
    id = (await anna.say(chat, "one"))["id"]
    assert code(await ben.client.delete(f"/messages/{id}")) == "403 FORBIDDEN"
    assert (await ben.client.get(f"/messages/{id}")).json()["text"] == "one"


async def test_an_owner_and_an_admin_of_a_group_may(node: Node) -> None:
    anna, ben, carl = [await node.person(name) for name in ("anna", "ben", "carl")]
    chat = await anna.chat_with(ben)
    first, second = [(await anna.say(chat, text))["id"] for text in ("one", "two")]
    assert node.tables is not None
    table = node.tables.conversations[chat]
    for membership in table.members:
        membership.role = "admin" if membership.user_id == ben.id else "member"
    node.clock.seconds += 120
    # The actor sleeps by now or is fenced: either way it reads the roles anew.
    table.rev += 1
    await anna.say(chat, "three")
    assert (await ben.client.delete(f"/messages/{first}")).status_code == 200
    assert code(await carl.client.delete(f"/messages/{second}")) == "404 MESSAGE_NOT_FOUND"


async def test_strangers_cannot_tell_a_message_from_none(any_node: Node) -> None:
    anna, ben, eve = [await any_node.person(name) for name in ("anna", "ben", "eve")]
    chat = await anna.chat_with(ben)
    hers = (await anna.say(chat, "one"))["id"]
    none = str(uuid.uuid4())
    for method in ("GET", "DELETE"):
        there = without_id(await eve.client.request(method, f"/messages/{hers}"))
        nowhere = without_id(await eve.client.request(method, f"/messages/{none}"))
        assert there == nowhere == (404, {"code": "MESSAGE_NOT_FOUND", "message": "No such message", "details": {}})
        inside = without_id(await eve.client.request(method, f"/conversations/{chat}/messages/{hers}"))
        outside = without_id(await eve.client.request(method, f"/conversations/{none}/messages/{none}"))
        assert inside == outside
        assert inside[1]["code"] == "CONVERSATION_NOT_FOUND"
    assert (await ben.client.get(f"/messages/{hers}")).json()["text"] == "one"


async def test_in_the_wrong_conversation_there_is_no_such_message(any_node: Node) -> None:
    anna, ben, carl = [await any_node.person(name) for name in ("anna", "ben", "carl")]
    id = (await anna.say(await anna.chat_with(ben), "one"))["id"]
    other = await anna.chat_with(carl)
    for method in ("GET", "DELETE"):
        answer = await anna.client.request(method, f"/conversations/{other}/messages/{id}")
        assert code(answer) == "404 MESSAGE_NOT_FOUND"


async def test_the_members_connections_hear_of_it(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    id = (await anna.say(chat, "one"))["id"]
    heard: list[bytes] = []
    socket = await ben.socket()
    socket.deliver = lambda frame: heard.append(frame.payload)  # type: ignore[method-assign, attr-defined]
    await anna.client.delete(f"/messages/{id}")
    (event,) = heard
    assert event.startswith(b'{"type":"message.deleted"')
    assert id.encode() in event


async def test_it_pays_as_a_message_does(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    id = (await anna.say(chat, "one"))["id"]
    answer = await anna.client.delete(f"/messages/{id}")
    assert answer.headers["X-RateLimit-Limit"] == "1000"


async def test_two_nodes_that_send_and_delete_at_once_keep_one_order(database_url: str, clock: HandClock) -> None:
    """Each revision is somebody's, nobody's twice, and what was deleted is the same wherever it is read."""
    async with two_nodes(database_url, clock) as (one, two):
        anna, ben = await one.person("anna"), await one.person("ben")
        chat = await anna.chat_with(ben)
        messages: list[str] = [(await anna.say(chat, "first"))["id"]]
        told: dict[str, set[int]] = {}

        async def live(person: Person, node: Node, seed: int) -> None:
            dice, client = random.Random(seed), node.client(person.token)
            for number in range(15):
                if dice.random() < 0.5:
                    sent = await client.post(f"/conversations/{chat}/messages", json={"text": f"{seed} {number}"})
                    if sent.status_code == 201 and person is anna:
                        messages.append(sent.json()["id"])
                    assert sent.status_code in (201, 503), sent.text
                else:
                    id = dice.choice(messages)
                    gone = await client.delete(f"/messages/{id}")
                    assert gone.status_code in ((200, 503) if person is anna else (403, 503)), gone.text
                    if gone.status_code == 200:
                        told.setdefault(id, set()).add(gone.json()["rev"])

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for seed, (person, node) in enumerate([(anna, one), (anna, two), (ben, one), (ben, two)]):
                    nursery.start_soon(live, person, node, seed)
        assert told
        assert all(len(revs) == 1 for revs in told.values()), "one deletion, two revisions"
        pages = []
        for node in (one, two):
            client = node.client(ben.token)
            pages.append((await client.get(f"/conversations/{chat}/changes?after_rev=1")).json())
        assert pages[0] == pages[1]
        shown = [change["message"] for change in pages[0]["changes"]]
        assert {m["id"]: {m["rev"]} for m in shown if m["deleted_at"]} == told
        assert sorted(m["seq"] for m in shown) == list(range(1, len(shown) + 1))
        # Every revision but those that a deletion took over is somebody's.
        assert pages[0]["upto_rev"] == 1 + len(shown) + len(told)
        assert len({m["rev"] for m in shown}) == len(shown)
