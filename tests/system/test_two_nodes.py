"""Two nodes on one database, both sure that a conversation is theirs: PostgreSQL is the arbiter, no order forks."""

import os
import signal
import uuid
from collections import Counter

import trio

from tests.system.conftest import StartNode
from tests.system.crew import until
from tests.system.database import query, stored_messages
from tests.system.harness import KithNode, Person, phone_of, register

ROUNDS = int(os.environ.get("KITH_PAUSE_ROUNDS", "6"))
MEET_SECONDS = 20.0
WITHOUT_LIMITS = {
    "RATE_MESSAGES_PER_MINUTE": "1000000",
    "RATE_MESSAGES_BURST": "1000000",
    "RATE_REGISTRATIONS_BURST": "99",
}


async def chatter(
    node: KithNode, person: Person, chat: str, told: dict[str, dict[str, object]], over: trio.Event
) -> None:
    """Send one message after the other; what fails with an unknown outcome is repeated under the same client_id."""
    here = Person(node, person.answer)
    async with phone_of(here) as phone:
        while not over.is_set():
            client_id = str(uuid.uuid4())
            payload = {"conversation_id": chat, "client_id": client_id, "text": f"of {client_id}"}
            while (frame := await phone.frame(await phone.send("message.send", payload)))["type"] == "error":
                assert frame["error"]["code"] in ("TRY_AGAIN", "UNAVAILABLE"), frame
            told[client_id] = frame["payload"]
            await trio.lowlevel.checkpoint()


def judge(told: dict[str, dict[str, object]], database_url: str) -> None:
    stored = stored_messages(database_url)
    assert [c for c, n in Counter(row["client_id"] for row in stored).items() if n > 1] == []
    by_client = {row["client_id"]: row for row in stored}
    for client_id, answer in told.items():
        row = by_client[client_id]
        assert (row["id"], row["seq"], row["rev"]) == (answer["message_id"], answer["seq"], answer["rev"])
    seqs = [row["seq"] for row in stored]
    assert sorted(seqs) == list(range(1, len(stored) + 1)), "the order has a gap or a fork"
    revs = query(database_url, "select seq + 1 = rev from conversations")
    assert revs == "t"


async def test_two_writers_never_fork_an_order(start_node: StartNode, database_url: str) -> None:
    first, second = (
        await start_node(**WITHOUT_LIMITS, KITH_NODE="one"),
        await start_node(**WITHOUT_LIMITS, KITH_NODE="two"),
    )
    anna, ben = await register(first, "anna"), await register(first, "ben")
    chat = await anna.chat_with(ben)
    told: dict[str, dict[str, object]] = {}
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        for node in (first, second):
            for person in (anna, ben):
                nursery.start_soon(chatter, node, person, chat, told, over)
        with trio.move_on_after(MEET_SECONDS):  # until they have met often enough to show something
            met = 0.0
            while len(told) <= 50 or met < 5:
                await trio.sleep(0.1)
                met = await fenced(first, second)
        over.set()
    assert len(told) > 50
    judge(told, database_url)
    assert await fenced(first, second) >= 5, f"the two hardly met within {MEET_SECONDS} s: this run showed nothing"


async def fenced(*nodes: KithNode) -> float:
    return sum([await node.metric("journal_fenced_total") for node in nodes])


async def more_are_told(told: dict[str, dict[str, object]], named: str, count: int = 20) -> None:
    """At the earliest after the time in which the owner of a conversation changes."""
    wanted = len(told) + count
    await trio.sleep(0.3)
    await until(lambda: len(told) >= wanted, named, MEET_SECONDS)


async def test_a_paused_node_writes_nothing_old_when_it_wakes(start_node: StartNode, database_url: str) -> None:
    """SIGSTOP in the middle of its work, while the other node goes on; then SIGCONT, under load, again and again."""
    first, second = (
        await start_node(**WITHOUT_LIMITS, KITH_NODE="one"),
        await start_node(**WITHOUT_LIMITS, KITH_NODE="two"),
    )
    anna, ben = await register(first, "anna"), await register(first, "ben")
    chat = await anna.chat_with(ben)
    told: dict[str, dict[str, object]] = {}
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chatter, first, anna, chat, told, over)
        nursery.start_soon(chatter, second, ben, chat, told, over)
        for _ in range(ROUNDS):
            await more_are_told(told, "both nodes to go on")
            first.signal(signal.SIGSTOP)
            await more_are_told(told, "the other node to go on while this one sleeps")
            first.signal(signal.SIGCONT)
        await more_are_told(told, "both nodes to go on")
        over.set()
    judge(told, database_url)


async def test_a_login_revoked_on_one_node_ends_on_the_other(start_node: StartNode) -> None:
    first = await start_node(**WITHOUT_LIMITS, KITH_NODE="one")
    second = await start_node(**WITHOUT_LIMITS, KITH_NODE="two")
    anna = await register(first, "anna")
    async with phone_of(Person(second, anna.answer)) as phone:
        async with anna.http() as http:
            assert (await http.post("/auth/logout")).status_code == 204
        await phone.until(lambda: phone.closed is not None, "the close")
        assert phone.closed == 4503
    async with second.http(anna.token) as http:
        assert (await http.get("/users/me")).status_code == 401
