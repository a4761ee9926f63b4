"""kill -9 of the server at random moments of keyed POSTs: a repeat gets the first answer, and nothing is done twice."""

import json
import os
import random
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import trio

from tests.system.conftest import StartNode
from tests.system.database import query
from tests.system.harness import KithNode, Person, register

ROUNDS = int(os.environ.get("KITH_KEYED_ROUNDS", "4"))
PEOPLE = 6
HURRIED = {
    "RATE_MESSAGES_PER_MINUTE": "1000000",
    "RATE_MESSAGES_BURST": "1000000",
    "RATE_REGISTRATIONS_BURST": "100000",
    "RATE_LOGINS_BURST": "100000",
    "RATE_REQUESTS_BURST": "1000000",
    "RATE_UNAUTHENTICATED_BURST": "1000000",
}


@dataclass
class Ask:
    """One thing that somebody wants done once, and what he was told first, if anything."""

    path: str
    body: dict[str, Any]
    token: str | None
    key: str
    status: int = 0
    told: dict[str, Any] | None = None

    @property
    def outcome(self) -> Any:
        """What must be the same in every answer: of a registration the account, its tokens are new each time."""
        assert self.told is not None
        return self.told["user_id"] if self.token is None else self.told

    async def put(self, node: KithNode, patience_seconds: float = 20.0) -> httpx.Response | None:
        headers, timeout = {"Idempotency-Key": self.key}, httpx.Timeout(20.0, read=patience_seconds)
        try:
            async with node.http(self.token) as http:
                return await http.post(f"/api/v1{self.path}", json=self.body, headers=headers, timeout=timeout)
        except httpx.TransportError:  # it was killed, or he had hung up: nobody knows what became of it
            return None


class Crowd:
    """Everybody who asks, and everything that was asked."""

    def __init__(self, node: KithNode, people: list[Person], chat: str) -> None:
        self.node, self.people, self.chat = node, people, chat
        self.asks: list[Ask] = []
        self.pairs = [
            (a, b) for a in people for b in people if a.id < b.id and {a.id, b.id} != {p.id for p in people[:2]}
        ]
        random.shuffle(self.pairs)
        self.replayed = self.found_done = 0
        self.until_kill = 0

    def message(self) -> Ask:
        key = str(uuid.uuid4())
        sender = random.choice(self.people[:2])
        return Ask(f"/conversations/{self.chat}/messages", {"text": key}, sender.token, key)

    def conversation(self) -> Ask:
        if not self.pairs:
            return self.message()
        a, b = self.pairs.pop()
        return Ask("/conversations", {"type": "direct", "member_ids": [b.id]}, a.token, str(uuid.uuid4()))

    def registration(self) -> Ask:
        key = str(uuid.uuid4())
        return Ask("/auth/register", {"email": f"{key}@example.org", "password": "correct horse"}, None, key)

    async def ask_on(self, make: Any, over: trio.Event) -> None:
        while not over.is_set():
            ask = make()
            self.asks.append(ask)
            # Half of them hang up before they can be answered, as a phone does that loses its network.
            answer = await ask.put(self.node, random.choice((20.0, random.uniform(0.001, 0.1))))
            if answer is not None and answer.status_code != 503:
                self.note(ask, answer)
                self.until_kill -= 1
                if self.until_kill == 0:
                    over.set()

    def note(self, ask: Ask, answer: httpx.Response) -> None:
        assert answer.status_code == 201, answer.text
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        if ask.told is None:
            ask.status, ask.told = answer.status_code, answer.json()
            self.found_done += replayed  # done before, and the answer never came
        else:
            again = Ask(ask.path, ask.body, ask.token, ask.key, answer.status_code, answer.json())
            assert replayed, f"answered, and not known: {ask}"
            assert again.outcome == ask.outcome
            self.replayed += 1

    async def one_round(self) -> None:
        """Killed after so many answers, with whatever is under way; then everybody comes back who heard nothing."""
        over = trio.Event()
        began, self.until_kill = len(self.asks), random.randint(1, 30)
        async with trio.open_nursery() as nursery:
            for make in (*[self.message] * 6, self.conversation, self.registration):
                nursery.start_soon(self.ask_on, make, over)
            with trio.move_on_after(10):
                await over.wait()
            self.node.kill()
            over.set()
        await self.node.start()
        of_this_round = self.asks[began:]
        unanswered = [ask for ask in of_this_round if ask.told is None]
        answered = [ask for ask in of_this_round if ask.told is not None]
        for ask in [*unanswered, *unanswered, *random.sample(answered, min(5, len(answered)))]:
            answer = await ask.put(self.node)
            assert answer is not None
            self.note(ask, answer)


async def test_kill_9_between_commit_and_answer(start_node: StartNode, database_url: str) -> None:
    await kill_rounds(await start_node(**HURRIED), database_url, ROUNDS)


@pytest.mark.soak
async def test_kill_9_between_commit_and_answer_at_length(start_node: StartNode, database_url: str) -> None:
    await kill_rounds(await start_node(**HURRIED), database_url, 100)


async def kill_rounds(node: KithNode, database_url: str, rounds: int) -> None:
    people = [await register(node, f"person{number}") for number in range(PEOPLE)]
    crowd = Crowd(node, people, await people[0].chat_with(people[1]))
    for _ in range(rounds):
        await crowd.one_round()
    assert all(ask.told is not None for ask in crowd.asks)
    messages = [ask for ask in crowd.asks if ask.path.endswith("/messages")]
    stored = json.loads(query(database_url, "select json_agg(json_build_array(body, id, seq)) from messages"))
    assert sorted(stored) == sorted([ask.body["text"], ask.told["id"], ask.told["seq"]] for ask in messages if ask.told)
    conversations = [ask.told["id"] for ask in crowd.asks if ask.path == "/conversations" and ask.told]
    born = json.loads(query(database_url, "select json_agg(id) from conversations"))
    assert sorted(born) == sorted([*conversations, crowd.chat])
    accounts = [ask.told["user_id"] for ask in crowd.asks if ask.token is None and ask.told]
    there = json.loads(query(database_url, "select json_agg(id) from users"))
    assert sorted(there) == sorted([*accounts, *(person.id for person in people)])
    # It did happen what this is about: done, and never answered.
    assert crowd.replayed > 0
    assert crowd.found_done > 0, f"nobody came back for what was done in {rounds} rounds"
