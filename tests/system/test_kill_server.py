"""kill -9 of the server at a random moment of full load: what anybody was told is in the database, once, in order."""

import json
import os
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from tests.system.conftest import StartNode
from tests.system.database import stored_messages
from tests.system.harness import KithNode, Person, register

ROUNDS = int(os.environ.get("KITH_KILL_ROUNDS", "30"))
PAIRS = 6
IN_FLIGHT = 5


@dataclass
class Account:
    """What the clients were told, over all rounds."""

    acknowledged: dict[str, dict[str, object]] = field(default_factory=dict)  # by client_id
    shown: dict[str, dict[str, object]] = field(default_factory=dict)  # by message id
    order: dict[tuple[str, int, int], list[int]] = field(default_factory=dict)  # seqs by (chat, who, connection)


async def talk(person: Person, chat: str, account: Account, connection: int, over: trio.Event) -> None:
    """Send as fast as answers come, until the connection breaks."""
    try:
        async with open_websocket_url(person.node.url.replace("http", "ws", 1) + "/ws") as socket:
            await socket.send_message(json.dumps({"type": "hello", "payload": {"token": person.token}}))
            seqs = account.order.setdefault((chat, hash(person.id), connection), [])

            async def send() -> None:
                client_id = str(uuid.uuid4())
                payload = {"conversation_id": chat, "client_id": client_id, "text": f"text of {client_id}"}
                await socket.send_message(json.dumps({"type": "message.send", "ref": client_id, "payload": payload}))

            for _ in range(IN_FLIGHT):
                await send()
            while True:  # until it breaks: trio-websocket cannot be left while a message waits to be taken
                frame = json.loads(await socket.get_message())
                if frame["type"] == "ok":
                    account.acknowledged[frame["ref"]] = frame["payload"]
                    seqs.append(frame["payload"]["seq"])
                    if not over.is_set():
                        await send()
                elif frame["type"] == "message.created":
                    account.shown[frame["payload"]["id"]] = frame["payload"]
                    seqs.append(frame["payload"]["seq"])
    except (ConnectionClosed, HandshakeError, OSError):
        return


async def one_round(node: KithNode, pairs: list[tuple[Person, Person, str]], account: Account, number: int) -> None:
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        for anna, ben, chat in pairs:
            nursery.start_soon(talk, anna, chat, account, number, over)
            nursery.start_soon(talk, ben, chat, account, number, over)
        await trio.sleep(random.uniform(0.2, 0.7))
        node.kill()
        over.set()


async def kill_rounds(node: KithNode, database_url: str, rounds: int) -> None:
    people = [(await register(node, "anna"), await register(node, "ben")) for _ in range(PAIRS)]
    pairs = [(anna, ben, await anna.chat_with(ben)) for anna, ben in people]
    account = Account()
    for number in range(rounds):
        if number:
            await node.start()
        await one_round(node, pairs, account, number)
    judge(account, stored_messages(database_url))


def judge(account: Account, stored: list[dict[str, object]]) -> None:
    by_client = Counter(str(row["client_id"]) for row in stored)
    by_id = {str(row["id"]): row for row in stored}
    assert account.acknowledged, "nothing was acknowledged: the rounds measured nothing"
    assert account.shown
    assert [c for c in account.acknowledged if by_client[c] == 0] == [], "acknowledged, but absent"
    assert [m for m in account.shown if m not in by_id] == [], "shown, but absent"
    assert [c for c, times in by_client.items() if times > 1] == [], "stored twice"
    for client_id, told in account.acknowledged.items():
        row = by_id[str(told["message_id"])]
        assert (row["client_id"], row["seq"], row["rev"]) == (client_id, told["seq"], told["rev"])
    for id, told in account.shown.items():
        assert (by_id[id]["text"], by_id[id]["seq"]) == (told["text"], told["seq"])
    chats: dict[str, list[int]] = {}
    for row in stored:
        chats.setdefault(str(row["conversation_id"]), []).append(int(str(row["seq"])))
    for chat, seqs in chats.items():
        assert sorted(seqs) == list(range(1, len(seqs) + 1)), f"{chat} has a gap"
    for seqs in account.order.values():
        assert seqs == sorted(seqs), "a connection was told out of order"


async def test_kill_9_of_the_server_under_load(start_node: StartNode, database_url: str) -> None:
    node = await start_node(
        RATE_MESSAGES_PER_MINUTE="1000000", RATE_MESSAGES_BURST="1000000", RATE_REGISTRATIONS_BURST="100"
    )
    await kill_rounds(node, database_url, ROUNDS)


@pytest.mark.chaos
async def test_kill_9_of_the_server_a_thousand_times(start_node: StartNode, database_url: str, tmp_path: Path) -> None:
    node = await start_node(
        RATE_MESSAGES_PER_MINUTE="1000000", RATE_MESSAGES_BURST="1000000", RATE_REGISTRATIONS_BURST="100"
    )
    await kill_rounds(node, database_url, 1_000)
