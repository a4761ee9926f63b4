"""Idempotency-Key: done once, answered the same again, and a key is its owner's for a day."""

import itertools
import uuid
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
import trio

from actors.shapes.idempotency import KEPT_HOURS
from actors.shapes.ids import LoginId
from tests.clocks import HandClock
from tests.webapi.conftest import two_nodes
from tests.webapi.node import PASSWORD, Node, Person
from tests.webapi.test_accounts import code

DAY_SECONDS = KEPT_HOURS * 3_600.0


def is_replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("Idempotent-Replayed") == "true")


async def post(person: Person, path: str, key: str, body: Any, **headers: str) -> httpx.Response:
    return await person.client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


async def together(*asked: Any) -> Sequence[httpx.Response]:
    """All at once; the answers in the order of the questions."""
    answers: dict[int, httpx.Response] = {}

    async def one(place: int, ask: Any) -> None:
        answers[place] = await ask()

    async with trio.open_nursery() as nursery:
        for place, ask in enumerate(asked):
            nursery.start_soon(one, place, ask)
    return [answers[place] for place in range(len(asked))]


async def pair(node: Node) -> tuple[Person, Person, str]:
    anna, ben = await node.person("anna"), await node.person("ben")
    return anna, ben, f"/conversations/{await anna.chat_with(ben)}/messages"


async def texts(person: Person, path: str) -> list[str]:
    return [message["text"] for message in (await person.client.get(path)).json()["items"]]


def renewed(person: Person) -> Person:
    """An access token lasts a quarter of an hour."""
    login = LoginId(str(uuid.uuid4()))
    person.token = person.node.tokens.issue(person.id, login, person.node.clock.now())
    person.client = person.node.client(person.token, person.address)
    return person


# -- messages ---------------------------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_first_answer_and_says_so(any_node: Node) -> None:
    anna, ben, path = await pair(any_node)
    first = await post(anna, path, "order 66", {"text": "Hello"})
    again = await post(anna, path, "order 66", {"text": "Hello"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    assert again.json() == first.json()
    assert await texts(ben, path) == ["Hello"]


async def test_neither_order_nor_spaces_make_another_request(any_node: Node) -> None:
    anna, ben, path = await pair(any_node)
    first = await post(anna, path, "k", {"text": "Hello", "mentions": [ben.id]})
    body = f'{{  "mentions" : ["{ben.id}"],\n "text":"\\u0048ello"}}'
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    again = await anna.client.post(path, content=body, headers=headers)
    assert is_replayed(again)
    assert again.json() == first.json()


@pytest.mark.parametrize("other", ["text", "reply_to", "mentions", "conversation"])
async def test_the_same_key_for_something_else_is_a_conflict(any_node: Node, other: str) -> None:
    anna, ben, path = await pair(any_node)
    carl = await any_node.person("carl")
    first = await post(anna, path, "k", {"text": "Hello"})
    bodies: dict[str, dict[str, Any]] = {
        "text": {"text": "Goodbye"},
        "reply_to": {"text": "Hello", "reply_to": first.json()["id"]},
        "mentions": {"text": "Hello", "mentions": [ben.id]},
        "conversation": {"text": "Hello"},
    }
    where = f"/conversations/{await anna.chat_with(carl)}/messages" if other == "conversation" else path
    refused = await post(anna, where, "k", bodies[other])
    assert code(refused) == "409 IDEMPOTENCY_CONFLICT"
    assert refused.json()["error"]["details"] == {"field": "Idempotency-Key"}
    assert await texts(ben, path) == ["Hello"]
    assert await texts(carl, where) == [] if other == "conversation" else True


async def test_another_route_is_another_request(any_node: Node) -> None:
    anna, ben, path = await pair(any_node)
    await post(anna, path, "k", {"text": "Hello"})
    carl = await any_node.person("carl")
    assert code(await post(anna, "/conversations", "k", {"member_ids": [carl.id]})) == "409 IDEMPOTENCY_CONFLICT"
    assert ben.id != carl.id


async def test_a_key_is_its_owners(any_node: Node) -> None:
    anna, ben, path = await pair(any_node)
    hers = await post(anna, path, "k", {"text": "Hello"})
    his = await post(ben, path, "k", {"text": "Hello"})
    assert (hers.status_code, his.status_code, is_replayed(his)) == (201, 201, False)
    assert hers.json()["id"] != his.json()["id"]


async def test_a_client_id_means_what_it_means_beside_a_key(any_node: Node) -> None:
    anna, _, path = await pair(any_node)
    client_id = str(uuid.uuid4())
    body = {"text": "Hello", "client_id": client_id}
    first = await post(anna, path, "one", body)
    assert first.json()["client_id"] == client_id
    under_another_key = await post(anna, path, "two", body)
    assert (under_another_key.status_code, under_another_key.json()["duplicate"]) == (200, True)
    assert not is_replayed(under_another_key)
    replayed = await post(anna, path, "one", body)
    assert is_replayed(replayed)
    assert replayed.json() == first.json()


async def test_a_key_is_answered_before_anything_that_has_changed_since(any_node: Node) -> None:
    """The message was deleted and the conversation grew: the first answer is still the first answer."""
    anna, ben, path = await pair(any_node)
    first = await post(anna, path, "k", {"text": "Hello"})
    await ben.say(path.split("/")[2], "Hi")  # type: ignore[arg-type]
    await anna.client.delete(f"/messages/{first.json()['id']}")
    again = await post(anna, path, "k", {"text": "Hello"})
    assert (is_replayed(again), again.json()) == (True, first.json())


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "tab\tulator"])
async def test_what_is_no_key_is_refused(node: Node, anna: Person, ben: Person, key: str) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    refused = await anna.client.post(path, json={"text": "x"}, headers=headers)
    assert code(refused) == "400 INVALID_PAYLOAD"
    assert refused.json()["error"]["details"]["field"] == "Idempotency-Key"
    longest = await post(anna, path, "~" * 255, {"text": "x"})
    assert longest.status_code == 201


@pytest.mark.parametrize("body", ['{"text":"x","deep":' + "[" * 5_000 + "]" * 5_000 + "}"])
async def test_what_cannot_be_compared_is_refused(node: Node, anna: Person, ben: Person, body: str) -> None:
    path = f"/conversations/{await anna.chat_with(ben)}/messages"
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    assert code(await anna.client.post(path, content=body, headers=headers)) == "400 INVALID_PAYLOAD"


async def test_a_refusal_leaves_the_key_free(any_node: Node) -> None:
    anna, _, path = await pair(any_node)
    assert code(await post(anna, path, "k", {"text": ""})) == "400 INVALID_PAYLOAD"
    stranger = await any_node.person("carl")
    assert code(await post(stranger, path, "k", {"text": "x"})) == "404 CONVERSATION_NOT_FOUND"
    fine = await post(anna, path, "k", {"text": "Hello"})
    assert (fine.status_code, is_replayed(fine)) == (201, False)


@pytest.mark.parametrize(("ms", "replayed"), [(-1, True), (0, False), (1, False)])
async def test_a_key_is_free_after_a_day(any_node: Node, clock: HandClock, ms: int, replayed: bool) -> None:
    anna, ben, path = await pair(any_node)
    first = await post(anna, path, "k", {"text": "Hello"})
    clock.seconds += DAY_SECONDS + ms / 1000
    again = await post(renewed(anna), path, "k", {"text": "Hello"})
    assert (again.status_code, is_replayed(again)) == (201, replayed)
    assert (again.json()["id"] == first.json()["id"]) is replayed
    if not replayed:  # and may be used for something else
        clock.seconds += DAY_SECONDS
        other = await post(renewed(anna), path, "k", {"text": "Goodbye"})
        assert other.status_code == 201
    assert len(await texts(renewed(ben), path)) == (1 if replayed else 3)


async def test_two_at_once_are_one_and_both_hear_it(any_node: Node) -> None:
    anna, ben, path = await pair(any_node)
    answers = await together(*(lambda: post(anna, path, "k", {"text": "Hello"}) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.text for answer in answers}) == 1
    assert sorted(map(is_replayed, answers)) == [False, True, True, True, True]
    assert await texts(ben, path) == ["Hello"]


async def test_of_two_different_ones_at_once_one_is_a_conflict(any_node: Node) -> None:
    anna, ben, path = await pair(any_node)
    answers = await together(
        lambda: post(anna, path, "k", {"text": "Hello"}), lambda: post(anna, path, "k", {"text": "Goodbye"})
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert len(await texts(ben, path)) == 1


# -- conversations ----------------------------------------------------------------------------------------------------


async def test_a_conversation_is_made_once_and_made_again_it_is_made(any_node: Node) -> None:
    """Without a key a repeat says 200: it was there. With one it is the first answer, whatever became of the pair."""
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    first = await post(anna, "/conversations", "k", {"member_ids": [ben.id]})
    again = await post(anna, "/conversations", "k", {"member_ids": [ben.id]})
    assert (first.status_code, again.status_code, is_replayed(again)) == (201, 201, True)
    assert again.json() == first.json()
    plain = await anna.client.post("/conversations", json={"member_ids": [ben.id]})
    assert plain.status_code == 200
    carl = await any_node.person("carl")
    assert code(await post(anna, "/conversations", "k", {"member_ids": [carl.id]})) == "409 IDEMPOTENCY_CONFLICT"


async def test_what_was_there_was_not_made_under_the_key(any_node: Node) -> None:
    anna, ben, _ = await pair(any_node)
    carl = await any_node.person("carl")
    there = await post(anna, "/conversations", "k", {"member_ids": [ben.id]})
    made = await post(anna, "/conversations", "k", {"member_ids": [carl.id]})
    assert (there.status_code, made.status_code) == (200, 201)


async def test_of_conversations_made_at_once_under_one_key_all_are_the_same(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    answers = await together(*(lambda: post(anna, "/conversations", "k", {"user_id": ben.id}) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(map(is_replayed, answers)) == [False, True, True, True]


async def test_of_conversations_with_two_people_at_once_under_one_key_one_is_made(any_node: Node) -> None:
    anna, ben, carl = [await any_node.person(name) for name in ("anna", "ben", "carl")]
    answers = await together(
        *(lambda other=other: post(anna, "/conversations", "k", {"user_id": other.id}) for other in (ben, carl))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert len((await anna.client.get("/conversations")).json()["items"]) == 1


# -- registrations ----------------------------------------------------------------------------------------------------


async def register(node: Node, key: str, address: str = "192.0.2.1", **body: Any) -> httpx.Response:
    body = {"email": "anna@example.org", "password": PASSWORD} | body
    async with node.client(address=address) as client:
        return await client.post("/auth/register", json=body, headers={"Idempotency-Key": key})


async def test_a_repeated_registration_opens_a_login(any_node: Node) -> None:
    first = await register(any_node, "k")
    again = await register(any_node, "k", address="198.51.100.7")  # the network changed, and took the answer with it
    assert (first.status_code, again.status_code, is_replayed(again)) == (201, 201, True)
    assert again.json()["user_id"] == first.json()["user_id"]
    assert again.json()["refresh_token"] != first.json()["refresh_token"]
    async with any_node.client(again.json()["access_token"]) as client:
        sessions = (await client.get("/auth/sessions")).json()["items"]
        assert len(sessions) == 2


@pytest.mark.parametrize(
    "other", [{"password": "another good password"}, {"email": "ben@example.org"}, {"username": "ben"}]
)
async def test_another_registration_under_the_key_is_a_conflict(any_node: Node, other: dict[str, str]) -> None:
    await register(any_node, "k")
    assert code(await register(any_node, "k", **other)) == "409 IDEMPOTENCY_CONFLICT"


async def test_of_registrations_at_once_all_get_in_and_one_account_is_made(any_node: Node) -> None:
    answers = await together(*(lambda: register(any_node, "k") for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
    assert len({answer.json()["user_id"] for answer in answers}) == 1
    assert sorted(map(is_replayed, answers)) == [False, True, True, True]


async def test_guesses_at_a_password_pay_as_logins_do(node: Node) -> None:
    await register(node, "k")
    answers = [await register(node, "k", password=f"guess {n}") for n in range(40)]
    assert [code(answer) for answer in answers[:30]] == ["409 IDEMPOTENCY_CONFLICT"] * 30
    assert {code(answer) for answer in answers[30:]} == {"429 RATE_LIMIT_EXCEEDED"}


async def test_no_login_opens_for_a_suspended_account(node: Node) -> None:
    first = await register(node, "k")
    assert node.tables is not None
    node.tables.users[first.json()["user_id"]].status = "suspended"
    assert code(await register(node, "k")) == "403 FORBIDDEN"


async def test_nothing_that_a_password_could_be_guessed_from_is_kept(node: Node) -> None:
    await register(node, "k")
    assert node.tables is not None
    (row,) = node.tables.keys.values()
    fingerprint = row.keyed.fingerprint
    await register(node, "another", email="ben@example.org", password="another good password")
    # Of the body without the password: the same one has the same fingerprint, whatever the password is.
    node.tables.keys.clear()
    node.tables.users.clear()
    await register(node, "k", password="a third good password")
    (row,) = node.tables.keys.values()
    assert row.keyed.fingerprint == fingerprint
    assert PASSWORD not in repr(row)


async def test_a_registration_and_a_user_have_keys_of_their_own(any_node: Node) -> None:
    anna, _, path = await pair(any_node)
    await register(any_node, "k", email="zoe@example.org")
    sent = await post(anna, path, "k", {"text": "Hello"})
    assert (sent.status_code, is_replayed(sent)) == (201, False)


async def test_who_signs_in_needs_no_key_and_it_is_ignored(any_node: Node) -> None:
    anna = await any_node.person("anna")
    body = {"email": anna.email, "password": PASSWORD}
    async with any_node.client() as client:
        answers = [await client.post("/auth/login", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json()["refresh_token"] != answers[1].json()["refresh_token"]
    assert not any(map(is_replayed, answers))


# -- two nodes --------------------------------------------------------------------------------------------------------


async def test_two_nodes_that_are_asked_at_once_do_it_once(database_url: str, clock: HandClock) -> None:
    async with two_nodes(database_url, clock) as (one, two):
        anna, ben, path = await pair(one)
        clients = [anna.client, two.client(anna.token)]
        for number in range(10):
            headers = {"Idempotency-Key": f"k{number}"}
            body = {"text": f"Hello {number}"}
            answers = await together(
                *(
                    lambda client=client: client.post(path, json=body, headers=headers)  # noqa: B023 - used at once
                    for client in itertools.chain(clients, clients)
                )
            )
            assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
            assert len({answer.text for answer in answers}) == 1
            assert sum(map(is_replayed, answers)) == 3
        assert await texts(ben, path) == [f"Hello {number}" for number in reversed(range(10))]


async def test_two_nodes_make_one_account_of_one_key(database_url: str, clock: HandClock) -> None:
    async with two_nodes(database_url, clock) as (one, two):
        answers = await together(*(lambda node=node: register(node, "k") for node in (one, two, one, two)))
        assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
        assert len({answer.json()["user_id"] for answer in answers}) == 1


async def test_two_nodes_make_one_conversation_of_one_key(database_url: str, clock: HandClock) -> None:
    async with two_nodes(database_url, clock) as (one, two):
        anna, ben, carl = [await one.person(name) for name in ("anna", "ben", "carl")]
        clients = [anna.client, two.client(anna.token)]
        headers = {"Idempotency-Key": "k"}
        answers = await together(
            *(
                lambda client=client, other=other: client.post(
                    "/conversations", json={"user_id": other.id}, headers=headers
                )
                for client, other in zip(clients, (ben, carl), strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        assert len((await anna.client.get("/conversations")).json()["items"]) == 1
