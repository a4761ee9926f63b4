"""Messages over HTTP: sent once however often they are repeated, and read back in pages."""

import uuid
from typing import Any

import pytest

from actors.limiter import Limit
from tests.webapi.node import Node, Person, open_node
from tests.webapi.test_accounts import code


async def test_a_message_is_made_and_a_repeat_is_told(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    client_id = str(uuid.uuid4())
    first = await anna.client.post(path, json={"client_id": client_id, "text": "Hello"})
    assert first.status_code == 201
    sent = first.json()
    assert (sent["seq"], sent["rev"], sent["duplicate"]) == (1, 2, False)
    again = await anna.client.post(path, json={"idempotency_key": client_id.upper(), "text": "Hello"})
    assert again.status_code == 200
    assert again.json() == sent | {"duplicate": True}
    other = await anna.client.post(path, json={"client_id": client_id, "text": "Goodbye"})
    assert code(other) == "409 IDEMPOTENCY_CONFLICT"
    page = (await ben.client.get(path)).json()
    assert [(m["id"], m["text"], m["client_id"]) for m in page["items"]] == [(sent["message_id"], "Hello", client_id)]


async def test_without_an_id_of_the_client_each_send_is_a_message(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    first, second = await anna.say(chat, "Hello"), await anna.say(chat, "Hello")
    assert (first["seq"], second["seq"]) == (1, 2)


async def test_an_idempotency_key_is_as_good_as_a_client_id(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    path = f"/conversations/{chat}/messages"
    for key in ("order 66", str(uuid.uuid4())):
        headers = {"Idempotency-Key": key}
        first = await anna.client.post(path, json={"text": key}, headers=headers)
        again = await anna.client.post(path, json={"text": key}, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        theirs = await ben.client.post(path, json={"text": key}, headers=headers)
        assert theirs.status_code == 201  # a key is its owner's


async def test_a_message_reaches_the_open_connections(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    heard: list[bytes] = []
    socket = await ben.socket()
    socket.deliver = lambda frame: heard.append(frame.payload)  # type: ignore[method-assign, attr-defined]
    sent = await anna.say(chat, "Hello")
    assert len(heard) == 1
    assert sent["message_id"].encode() in heard[0]


async def test_a_reply_and_its_mentions_are_kept(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat = await anna.chat_with(ben)
    first = await anna.say(chat, "Hello")
    body = {"text": "@anna yes", "reply_to": first["message_id"], "mentions": [anna.id, anna.id]}
    assert (await ben.client.post(f"/conversations/{chat}/messages", json=body)).status_code == 201
    newest = (await anna.client.get(f"/conversations/{chat}/messages")).json()["items"][0]
    assert (newest["reply_to"], newest["mentions"]) == (first["message_id"], [anna.id])
    assert (newest["sender_id"], newest["sender_name"]) == (ben.id, "ben")


@pytest.mark.parametrize(
    ("body", "expected", "field"),
    [
        ({}, "400 INVALID_PAYLOAD", "text"),
        ({"text": ""}, "400 INVALID_PAYLOAD", "text"),
        ({"text": None}, "400 INVALID_PAYLOAD", "text"),
        ({"text": 7}, "400 INVALID_PAYLOAD", "text"),
        ({"text": "x" * 8_001}, "400 CONTENT_TOO_LONG", "text"),
        ({"text": "zero\u0000"}, "400 INVALID_PAYLOAD", "text"),
        ({"text": "a", "client_id": "not a uuid"}, "400 INVALID_PAYLOAD", "client_id"),
        ({"text": "a", "client_id": 7}, "400 INVALID_PAYLOAD", "client_id"),
        ({"text": "a", "idempotency_key": "x"}, "400 INVALID_PAYLOAD", "idempotency_key"),
        ({"text": "a", "after": "x"}, "400 INVALID_PAYLOAD", "after"),
        ({"text": "a", "reply_to": "x"}, "400 INVALID_PAYLOAD", "reply_to"),
        ({"text": "a", "mentions": ["x"]}, "400 INVALID_PAYLOAD", "mentions"),
        ({"text": "a", "mentions": [str(uuid.uuid4())]}, "400 INVALID_PAYLOAD", "mentions"),
        ({"text": "a", "mentions": [str(uuid.uuid4())] * 51}, "400 INVALID_PAYLOAD", "mentions"),
        ({"text": "a", "media_ids": [str(uuid.uuid4())]}, "404 MEDIA_NOT_FOUND", "media_ids"),
        ({"ciphertext": "a"}, "400 INVALID_PAYLOAD", "ciphertext"),
    ],
)
async def test_what_is_no_message_is_refused(
    node: Node, anna: Person, ben: Person, body: dict[str, Any], expected: str, field: str
) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    answer = await anna.client.post(path, json=body)
    assert code(answer) == expected
    assert answer.json()["error"]["details"]["field"] == field
    assert (await anna.client.get(path)).json()["items"] == []


async def test_a_text_has_eight_thousand_characters_after_composition(node: Node, anna: Person, ben: Person) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    assert (await anna.client.post(path, json={"text": "e\u0301" * 8_000})).status_code == 201
    assert code(await anna.client.post(path, json={"text": "\u00e9" * 8_001})) == "400 CONTENT_TOO_LONG"


async def test_after_names_the_message_before(node: Node, anna: Person, ben: Person) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    early = await anna.client.post(path, json={"text": "second", "client_id": second, "after": first})
    assert code(early) == "409 OUT_OF_ORDER"
    await anna.client.post(path, json={"text": "first", "client_id": first})
    late = await anna.client.post(path, json={"text": "second", "client_id": second, "after": first})
    assert late.status_code == 201


async def test_a_block_ends_writing_both_ways(node: Node, anna: Person, ben: Person) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    assert node.tables is not None
    node.tables.blocks.add((anna.id, ben.id))
    # On a node where the conversation wakes up after the block; the route that sets one comes later.
    async with open_node(node.stores, node.clock) as later:
        mine, theirs = [await later.client(who.token).post(path, json={"text": "hello"}) for who in (anna, ben)]
    assert code(mine) == code(theirs) == "403 USER_BLOCKED"
    assert mine.json()["error"]["details"] == {"by": "me"}
    assert theirs.json()["error"]["details"] == {}


async def test_history_goes_back_and_forth_in_pages(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    for number in range(1, 8):
        await anna.client.post(path, json={"text": str(number)})

    async def page(**params: str) -> tuple[list[int], dict[str, Any]]:
        answer = (await ben.client.get(path, params=params)).json()
        return [message["seq"] for message in answer["items"]], answer

    seqs, first = await page(limit="3")
    assert (seqs, first["has_more"]) == ([7, 6, 5], True)
    seqs, second = await page(limit="3", cursor=first["next_cursor"])
    assert seqs == [4, 3, 2]
    seqs, last = await page(limit="3", cursor=second["next_cursor"])
    assert (seqs, last["has_more"], last["next_cursor"]) == ([1], False, None)
    assert (await page(before_seq="3"))[0] == [2, 1]
    assert (await page(before_seq="3", order="asc"))[0] == [1, 2]
    seqs, forward = await page(after_seq="1", limit="2")
    assert seqs == [3, 2]
    assert (await page(limit="2", order="asc", cursor=forward["next_cursor"]))[0] == [4, 5]
    assert (await page(after_seq="7"))[0] == []
    assert (await page(limit="500"))[0] == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"limit": "0"}, "400 INVALID_QUERY"),
        ({"before_seq": "x"}, "400 INVALID_QUERY"),
        ({"after_seq": "-1"}, "400 INVALID_QUERY"),
        ({"before_seq": "5", "after_seq": "1"}, "400 INVALID_QUERY"),
        ({"before_seq": "9" * 30}, "400 INVALID_QUERY"),
        ({"order": "up"}, "400 INVALID_QUERY"),
        ({"cursor": "%%%"}, "400 INVALID_CURSOR"),
        ({"cursor": "c2lkZXdheXMuMQ"}, "400 INVALID_CURSOR"),
        ({"cursor": "YmVmb3JlLng"}, "400 INVALID_CURSOR"),
    ],
)
async def test_bad_pages_are_refused(
    node: Node, anna: Person, ben: Person, params: dict[str, str], expected: str
) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    assert code(await anna.client.get(path, params=params)) == expected


async def test_sending_pays_from_the_bucket_of_messages_alone(node: Node, anna: Person, ben: Person) -> None:
    """The bucket is the one that a socket of the same user keeps."""
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    kept = node.services.limiter.bucket(Limit.MESSAGES, anna.id)
    assert kept.tokens == 1_000
    answer = await anna.client.post(path, json={"text": "Hello"})
    assert kept.tokens == 999
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("1000", "999")
    read = await anna.client.get(path)
    assert read.headers["X-RateLimit-Limit"] == "100"
    kept.tokens = 0
    refused = await anna.client.post(path, json={"text": "Hello"})
    assert code(refused) == "429 RATE_LIMIT_EXCEEDED"
    assert refused.headers["Retry-After"] == "1"
