"""A suspension on real nodes: it closes everything everywhere, holds through kill -9, and an appeal ends it."""

import uuid
from typing import Any

import pytest
import trio

from storage.grants import set_admin
from tests.system.conftest import StartNode
from tests.system.database import query
from tests.system.harness import KithNode, Person, Phone, phone_of, register

NODES = {"RATE_MESSAGES_PER_MINUTE": "1000000", "RATE_MESSAGES_BURST": "1000000", "RATE_REGISTRATIONS_BURST": "99"}
PASSWORD = "correct horse battery"


class Sender:
    """A phone that sends without a pause, and remembers what it was told."""

    def __init__(self, phone: Phone, chat: str) -> None:
        self.phone = phone
        self.chat = chat
        self.acknowledged: set[str] = set()
        self.heard = trio.Event()  # the first acknowledgement
        self.closed_at: float | None = None

    async def send(self) -> None:
        while self.phone.closed is None:
            client_id = str(uuid.uuid4())
            payload = {"conversation_id": self.chat, "client_id": client_id, "text": "still here"}
            try:
                frame = await self.phone.frame(await self.phone.send("message.send", payload))
            except Exception:  # the socket is gone: whatever was on its way is not acknowledged
                break
            if frame["type"] == "ok":
                self.acknowledged.add(client_id)
                self.heard.set()
        await self.phone.until(lambda: self.phone.closed is not None, "the close")
        self.closed_at = trio.current_time()


async def sign_in(node: KithNode, person: Person) -> Any:
    async with node.http() as http:
        return await http.post("/auth/login", json={"email": person.answer["email"], "password": PASSWORD})


async def suspend(node: KithNode, judge: Person, who: Person) -> None:
    async with node.http(judge.token) as http:
        answer = await http.post(f"/admin/users/{who.id}/suspend", json={"reason": "threats"})
    assert answer.status_code == 200, answer.text


@pytest.mark.alone
async def test_it_closes_three_sockets_on_two_nodes_in_the_middle_of_sending(
    start_node: StartNode, database_url: str
) -> None:
    first, second = await start_node(**NODES, KITH_NODE="one"), await start_node(**NODES, KITH_NODE="two")
    judge, anna, ben = [await register(first, name) for name in ("judge", "anna", "ben")]
    await set_admin(database_url, judge.id, is_admin=True)
    chat = await anna.chat_with(ben)
    there = Person(second, (await sign_in(second, anna)).json())
    async with phone_of(anna) as one, phone_of(anna) as two, phone_of(there) as three:
        senders = [Sender(phone, chat) for phone in (one, two, three)]
        async with trio.open_nursery() as nursery:
            for sender in senders:
                nursery.start_soon(sender.send)
            with trio.move_on_after(15.0):
                for sender in senders:
                    await sender.heard.wait()
            counts = [len(sender.acknowledged) for sender in senders]
            assert all(counts), f"not all three were sending: {counts}"
            await suspend(first, judge, anna)
            answered_at = trio.current_time()
            # In a thread: the closes are timed meanwhile.
            found = await trio.to_thread.run_sync(query, database_url, "select client_id from messages")
            stored = set(found.split())
    assert [sender.phone.closed for sender in senders] == [4503, 4503, 4503]
    for sender in senders[:2]:
        assert sender.acknowledged <= stored, "acknowledged after the suspension's answer"
        assert sender.closed_at is not None
        assert sender.closed_at - answered_at < 1.0
    elsewhere = senders[2]
    assert elsewhere.closed_at is not None
    assert elsewhere.closed_at - answered_at < 2.5
    for node, token in ((first, anna.token), (second, there.token)):
        async with node.http(token) as http:
            assert (await http.get("/users/me")).status_code == 401
            refused = await http.post(f"/conversations/{chat}/messages", json={"text": "and here"})
            assert refused.status_code == 401
        assert (await sign_in(node, anna)).status_code == 403
    async with first.http(judge.token) as http:
        assert (await http.post(f"/admin/users/{anna.id}/restore")).status_code == 200
    for node in (second, first):
        again = await sign_in(node, anna)
        assert again.status_code == 200, "restored is restored everywhere, at once"
        async with phone_of(Person(node, again.json())) as phone:
            await phone.say(chat, "back")


async def test_it_holds_through_kill_9_and_an_appeal_ends_it(start_node: StartNode, database_url: str) -> None:
    node = await start_node(**NODES)
    judge, anna = await register(node, "judge"), await register(node, "anna")
    await set_admin(database_url, judge.id, is_admin=True)
    await suspend(node, judge, anna)
    node.kill()
    await node.start()
    async with node.http(anna.token) as http:
        assert (await http.get("/users/me")).status_code == 401
    refused = await sign_in(node, anna)
    assert refused.status_code == 403
    details = refused.json()["error"]["details"]
    assert (details["status"], details["reason"], details["until"]) == ("suspended", "threats", None)
    async with node.http() as http:
        body = {"appeal_token": details["appeal_token"], "text": "It was a quotation."}
        filed = await http.post("/appeals", json=body)
    assert filed.status_code == 201, filed.text
    async with node.http(judge.token) as http:
        [waiting] = (await http.get("/admin/appeals")).json()["items"]
        assert (waiting["id"], waiting["text"]) == (filed.json()["id"], "It was a quotation.")
        granted = await http.post(
            f"/admin/appeals/{waiting['id']}/decide", json={"decision": "grant", "note": "so it was"}
        )
        assert granted.status_code == 200, granted.text
    node.kill()
    await node.start()
    assert (await sign_in(node, anna)).status_code == 200
    actions = "select string_agg(action || ' ' || actor, ', ' order by at, id) from admin_actions"
    assert query(database_url, actions) == "grant_admin operator, suspend_user admin, grant_appeal admin"
