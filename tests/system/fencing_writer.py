"""One of several processes that write to the same conversations; test_fencing.py starts it with a journal of its own.

It prints one JSON object: its counters, and the messages that were acknowledged to it.
"""

import random
import sys
from typing import Any

import msgspec
import trio

from actors.ports import Committed, Fenced
from actors.shapes.conversations import ConversationState
from actors.shapes.ids import ConversationId
from actors.shapes.times import Seconds
from storage.conversations import PostgresConversations
from storage.journal.journal import PostgresJournal
from storage.node import begin_incarnation
from storage.postgres import open_postgres
from tests.clocks import ActorToken, HandClock
from tests.storage.worlds import batch, message

TOKEN = ActorToken("conversation/of-a-process")


class Writer:
    """Writes with what it believes the heads to be, and reloads when it was wrong."""

    def __init__(self, node: str, journal: PostgresJournal, store: PostgresConversations) -> None:
        self.acknowledged: list[str] = []
        self._node, self._journal, self._store = node, journal, store
        self._dice = random.Random(node)
        self._heads: dict[ConversationId, ConversationState] = {}

    async def write_round(self, ids: list[ConversationId]) -> None:
        """Half of the conversations at random, all in one flush or two."""
        chosen = self._dice.sample(ids, len(ids) // 2)
        self._heads |= await self._store.load([id for id in chosen if id not in self._heads])
        async with trio.open_nursery() as nursery:
            for id in chosen:
                nursery.start_soon(self._write, self._heads[id])

    async def _write(self, state: ConversationState) -> None:
        sender = next(iter(state.members))
        messages = [message(state.id, sender, state.seq + n, state.rev + n, self._node) for n in (1, 2)]
        receipt = await self._journal.append(TOKEN, batch(state.id, state.rev, messages))
        if receipt == Committed():
            self.acknowledged += [m.id for m in messages]
            self._heads[state.id] = msgspec.structs.replace(state, seq=state.seq + 2, rev=state.rev + 2)
        else:
            assert receipt == Fenced(), receipt
            del self._heads[state.id]


async def main(url: str, node: str, rounds: int) -> dict[str, Any]:
    async with open_postgres(url) as postgres, trio.open_nursery() as nursery:
        lines = [postgres.dedicated(), postgres.dedicated()]
        journal = PostgresJournal(lines, await begin_incarnation(postgres, node), HandClock())
        await nursery.start(journal.run)
        writer = Writer(node, journal, PostgresConversations(postgres))
        ids = await postgres.fetch(ConversationId, "select id::text from conversations order by id")
        for _ in range(rounds):
            await writer.write_round(ids)
        await journal.aclose(Seconds(5.0))
        return {"counters": msgspec.structs.asdict(journal.counters), "acknowledged": writer.acknowledged}


if __name__ == "__main__":
    told = trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stdout.buffer.write(msgspec.json.encode(told))
