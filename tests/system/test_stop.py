"""SIGTERM under load: clients hear when to come back, what was acknowledged stays, and ten seconds are enough."""

import uuid

import trio
from trio_websocket import ConnectionClosed

from tests.system.conftest import StartNode
from tests.system.database import stored_messages
from tests.system.harness import Person, Phone, phone_of, register

PAIRS = 5


async def talk(phone: Phone, chat: str, acknowledged: dict[str, str], lost: list[str]) -> None:
    """Send until the connection goes; what got no answer has an unknown outcome."""
    while phone.closed is None:
        client_id = str(uuid.uuid4())
        try:
            payload = {"conversation_id": chat, "client_id": client_id, "text": "hello"}
            frame = await phone.frame(await phone.send("message.send", payload))
        except (AssertionError, ConnectionClosed):
            return
        if frame["type"] == "ok":
            acknowledged[client_id] = frame["payload"]["message_id"]
        else:
            lost.append(frame["error"]["code"])


async def test_an_ordered_stop(start_node: StartNode, database_url: str) -> None:
    node = await start_node(
        RATE_MESSAGES_PER_MINUTE="1000000", RATE_MESSAGES_BURST="1000000", RATE_REGISTRATIONS_BURST="100"
    )
    acknowledged: dict[str, str] = {}
    lost: list[str] = []
    phones: list[Phone] = []

    async def person_talks(person: Person, chat: str) -> None:
        async with phone_of(person) as phone:
            phones.append(phone)
            await talk(phone, chat, acknowledged, lost)
            await phone.until(lambda: phone.closed is not None, "the close")

    async with trio.open_nursery() as nursery:
        for _ in range(PAIRS):
            anna, ben = await register(node, "anna"), await register(node, "ben")
            chat = await anna.chat_with(ben)
            nursery.start_soon(person_talks, anna, chat)
            nursery.start_soon(person_talks, ben, chat)
        await trio.sleep(1.5)
        begun = trio.current_time()
        assert await node.stop(seconds=10.0) == 0
        assert trio.current_time() - begun < 10
    assert len(phones) == 2 * PAIRS
    waits = [e["payload"]["reconnect_after"] for phone in phones for e in phone.events if e["type"] == "going_away"]
    assert len(waits) == len(phones)
    assert all(0.5 <= wait <= 5 for wait in waits)
    assert len(set(waits)) > 1, "all of them would come back at once"
    assert {phone.closed for phone in phones} == {4000}
    assert lost == [], "a stop is no reason for an error"
    stored = {row["client_id"]: row["id"] for row in stored_messages(database_url)}
    assert len(acknowledged) > 20
    assert {c: stored.get(c) for c in acknowledged} == acknowledged
