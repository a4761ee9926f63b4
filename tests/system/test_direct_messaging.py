"""Two people talk: over sockets, over HTTP, on several devices."""

import uuid

import trio

from tests.system.harness import KithNode, phone_of, register


async def test_direct_messaging(node: KithNode, record_property: object) -> None:
    """T13: what one says the other reads; the time it took is recorded, and judged by `make bench`."""
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with phone_of(anna) as phone, phone_of(ben) as other:
        begun = trio.current_time()
        sent = await phone.say(chat, "Hello")
        event = await other.event("message.created", id=sent["message_id"])
        record_property("delivered_ms", round((trio.current_time() - begun) * 1000, 1))  # type: ignore[operator]
        message = event["payload"]
        assert message["text"] == "Hello"
        assert message["sender_id"] == anna.id
        assert (message["seq"], message["rev"]) == (sent["seq"], sent["rev"])
        assert message["conversation_id"] == chat


async def test_every_other_connection_hears_it_and_the_sending_one_does_not(node: KithNode) -> None:
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with phone_of(anna) as phone, phone_of(anna) as laptop, phone_of(ben) as bens, phone_of(ben) as tablet:
        sent = await phone.say(chat, "to all of them")
        for screen in (laptop, bens, tablet):
            await screen.event("message.created", id=sent["message_id"])
        later = await bens.say(chat, "second")
        await phone.event("message.created", id=later["message_id"])
        assert [e for e in phone.events if e["type"] == "message.created" and e["payload"]["seq"] == 1] == []


async def test_message_history(node: KithNode) -> None:
    """T14: ten messages come back in their order, page by page, both ways."""
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with phone_of(anna) as phone:
        for number in range(10):
            await phone.say(chat, f"message {number}")
        page = await phone.ask("message.history", conversation_id=chat, limit=4)
        assert [m["text"] for m in page["messages"]] == [f"message {n}" for n in (9, 8, 7, 6)]
        assert page["has_more"] is True
        page = await phone.ask(
            "message.history", conversation_id=chat, limit=100, before_seq=page["messages"][-1]["seq"]
        )
        assert [m["text"] for m in page["messages"]] == [f"message {n}" for n in (5, 4, 3, 2, 1, 0)]
        assert page["has_more"] is False
    async with ben.http() as http:
        answer = await http.get(f"/conversations/{chat}/messages", params={"order": "asc", "limit": 200})
    assert [m["seq"] for m in answer.json()["items"]] == list(range(1, 11))


async def test_a_repeat_is_one_message(node: KithNode) -> None:
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    client_id = str(uuid.uuid4())
    async with phone_of(anna) as phone:
        first = await phone.say(chat, "once", client_id)
        again = await phone.say(chat, "once", client_id)
        assert again == {**first, "duplicate": True}
        for number in range(40):  # until memory has forgotten it, and only the database knows
            await phone.say(chat, f"other {number}")
        assert await phone.say(chat, "once", client_id) == {**first, "duplicate": True}
        error = await phone.refusal("message.send", conversation_id=chat, client_id=client_id, text="something else")
        assert error["code"] == "IDEMPOTENCY_CONFLICT"
    async with anna.http() as http:
        body = {"client_id": client_id, "text": "once"}
        answer = await http.post(f"/conversations/{chat}/messages", json=body)
    assert (answer.status_code, answer.json()["duplicate"]) == (200, True)


async def test_strangers_get_no_hint(node: KithNode) -> None:
    anna, ben, eve = [await register(node, name) for name in ("anna", "ben", "eve")]
    chat, nowhere = await anna.chat_with(ben), str(uuid.uuid4())
    async with phone_of(eve) as phone, eve.http() as http:
        for type, payload in (
            ("message.send", {"client_id": str(uuid.uuid4()), "text": "let me in"}),
            ("message.history", {}),
            ("conversation.range", {"after_rev": 0}),
            ("conversation.open", {}),
        ):
            errors = [await phone.refusal(type, conversation_id=id, **payload) for id in (chat, nowhere)]
            assert errors[0] == errors[1]
            assert errors[0]["code"] == "CONVERSATION_NOT_FOUND"
        for path in ("", "/messages", "/changes?after_rev=0"):
            bodies = []
            for conversation in (chat, nowhere):
                answer = await http.get(f"/conversations/{conversation}{path}")
                assert answer.status_code == 404
                bodies.append(answer.json()["error"])
            assert bodies[0] == bodies[1]


async def test_open_and_range(node: KithNode) -> None:
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with phone_of(anna) as phone, phone_of(ben) as other:
        for number in range(3):
            await phone.say(chat, f"message {number}")
        opened = await other.ask("conversation.open", conversation_id=chat)
        assert opened["conversation"]["id"] == chat
        assert opened["conversation"]["unread_count"] == 3
        assert opened["rev"] == 4  # its creation, and three messages
        assert [m["seq"] for m in opened["messages"]] == [3, 2, 1]
        assert {m["user_id"] for m in opened["members"]} == {anna.id, ben.id}
        assert {p["user_id"]: p["status"] for p in opened["presence"]} == {anna.id: "online", ben.id: "online"}
        changes = await other.ask("conversation.range", conversation_id=chat, after_rev=2)
        assert [c["message"]["seq"] for c in changes["changes"]] == [2, 3]
        assert (changes["upto_rev"], changes["more"]) == (4, False)
    async with ben.http() as http:
        listed = (await http.get("/api/v1/conversations")).json()
    assert [(c["id"], c["unread_count"], c["last_message"]["seq"]) for c in listed["items"]] == [(chat, 3, 3)]
