"""Random histories, appended to PostgreSQL and to the twin in memory: both must answer and store the same."""

from dataclasses import dataclass

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.ports import ConversationUnit, ProfileUnit, Receipt, Repeats, Taken, Unit
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime
from actors.shapes.users import UpdateProfile
from tests.clocks import START
from tests.storage.conftest import postgres_world
from tests.storage.worlds import TOKEN, MemoryWorld, PostgresWorld, add_user, birth, message, new_id


@dataclass(frozen=True)
class Send:
    """A batch to one of three conversations, decided on a head that is `late` revisions old."""

    conversation: int
    late: int
    client_ids: tuple[int, ...]
    poison: bool


@dataclass(frozen=True)
class Bear:
    first: int
    second: int
    strict: bool


@dataclass(frozen=True)
class Rename:
    user: int
    late: int
    name: str


Step = Send | Bear | Rename

STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        Send,
        st.integers(0, 2),
        st.sampled_from((0, 0, 0, 0, 1)),
        st.lists(st.integers(0, 12), min_size=1, max_size=4).map(tuple),
        st.sampled_from((False,) * 9 + (True,)),
    ),
    st.builds(Bear, st.integers(0, 2), st.integers(3, 4), st.booleans()),
    st.builds(Rename, st.integers(0, 4), st.sampled_from((0, 0, 1)), st.sampled_from(("zoe", "ZOE", "yan", "xul"))),
)


class History:
    """Turns steps into units that are valid on what has been committed so far, but for what a step makes wrong."""

    def __init__(self, users: list[UserId], suffix: str) -> None:
        self.users, self.suffix = users, suffix
        self.client_ids = [new_id() for _ in range(13)]
        self.conversations = [ConversationId(new_id()) for _ in range(3)]
        self.heads = dict.fromkeys(self.conversations, (0, 1))
        self.revs = [0] * len(users)

    def births(self) -> list[Unit]:
        a, b, c = self.users[:3]
        pairs = [(a, b), (b, c), (a, c)]
        return [birth(*pair, id=id) for pair, id in zip(pairs, self.conversations, strict=True)]

    def unit(self, step: Step) -> Unit:
        if isinstance(step, Bear):
            mode = "strict_e2e" if step.strict else "standard"
            pair = self.users[step.first], self.users[step.second]
            return birth(*pair, privacy_mode="strict_e2e" if mode == "strict_e2e" else "standard")
        if isinstance(step, Rename):
            rev = max(self.revs[step.user] - step.late, 0)
            changes = UpdateProfile(username=step.name + self.suffix)
            return ProfileUnit(self.users[step.user], rev, rev + 1, changes, WallTime(START))
        id = self.conversations[step.conversation]
        seq, rev = self.heads[id]
        rev = max(rev - step.late, 1)
        messages = [
            message(id, self.users[0], seq + n, rev + n, "\0" if step.poison else f"{n}", self.client_ids[number])
            for n, number in enumerate(step.client_ids, 1)
        ]
        return ConversationUnit(id, rev, messages[-1].rev, messages[-1].seq, messages)

    def committed(self, step: Step, unit: Unit) -> None:
        if isinstance(unit, ConversationUnit):
            self.heads[unit.id] = (unit.new_seq, unit.new_rev)
        elif isinstance(step, Rename):
            self.revs[step.user] += 1


def comparable(receipt: Receipt) -> object:
    """Everything but the ids that each side made itself."""
    if isinstance(receipt, Repeats):
        return {key: (sent.seq, sent.rev, sent.duplicate, text) for key, (sent, text) in receipt.found.items()}
    if isinstance(receipt, Taken):
        return receipt
    return type(receipt).__name__


async def live_through(pg: PostgresWorld, steps: list[Step]) -> None:
    memory = MemoryWorld()
    suffix = new_id()[-12:]
    users = [await memory.add_user(f"user{n}{suffix}") for n in range(5)]
    for id in users:
        await add_user(pg.postgres, id, memory.tables.users[id].username)
    history = History(users, suffix)
    for unit in history.births():
        assert await pg.journal.append(TOKEN, unit) == await memory.journal.append(TOKEN, unit)
    for step in steps:
        unit = history.unit(step)
        there, here = await pg.journal.append(TOKEN, unit), await memory.journal.append(TOKEN, unit)
        assert comparable(there) == comparable(here), step
        if comparable(there) == "Committed":
            history.committed(step, unit)
    for talk in history.conversations:
        assert await pg.stored(talk) == await memory.stored(talk)
        assert await pg.conversations.load([talk]) == await memory.conversations.load([talk])
    assert await pg.users.load(users) == await memory.users.load(users)
    mine = {id for _, id, _, _ in await memory.heads()}
    assert [head for head in await pg.heads() if head[1] in mine] == await memory.heads()
    await pg.postgres.execute("delete from flushes")


def run_examples(url: str, examples: int, most_steps: int) -> None:
    """One server and one journal for all examples; each has users and conversations of its own."""

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=1, max_size=most_steps))
    def example(steps: list[Step]) -> None:
        trio.from_thread.run(live_through, world, steps)

    world: PostgresWorld

    async def run() -> None:
        nonlocal world
        async with postgres_world(url) as opened:
            world = opened
            await trio.to_thread.run_sync(example)

    trio.run(run)


def test_both_answer_the_same(database_url: str) -> None:
    run_examples(database_url, examples=100, most_steps=50)


@pytest.mark.soak
def test_both_answer_the_same_at_length(database_url: str) -> None:
    run_examples(database_url, examples=2_000, most_steps=100)
