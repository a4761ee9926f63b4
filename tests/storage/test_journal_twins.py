"""Random histories, appended to PostgreSQL and to the twin in memory: both must answer and store the same."""

from dataclasses import dataclass

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.ports import Beside, BirthUnit, ConversationUnit, KeysUsed, ProfileUnit, Receipt, Repeats, Taken, Unit
from actors.shapes.idempotency import Keyed, KeyRow
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import DeletedMessage, StoredMessage
from actors.shapes.times import WallTime
from actors.shapes.users import UpdateProfile
from tests.clocks import START
from tests.storage.conftest import postgres_world
from tests.storage.worlds import TOKEN, MemoryWorld, PostgresWorld, add_user, birth, message, new_id


@dataclass(frozen=True)
class Send:
    """A batch to one of three conversations, decided on a head that is `late` revisions old: messages of its two
    members in turn, then deletions of what stands at these places, maybe under one of eight keys, which are free again
    after 30 steps."""

    conversation: int
    late: int
    client_ids: tuple[int, ...]
    poison: bool
    deletes: tuple[int, ...] = ()
    key: int | None = None


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
        st.lists(st.integers(0, 12), max_size=4).map(tuple),
        st.sampled_from((False,) * 9 + (True,)),
        st.lists(st.integers(1, 8), max_size=3, unique=True).map(tuple),
        st.one_of(st.none(), st.integers(0, 7)),
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
        self.stored: dict[ConversationId, list[StoredMessage]] = {id: [] for id in self.conversations}
        self.now = START

    def births(self) -> list[BirthUnit]:
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
        self.now += 24 * 3_600_000 // 30
        id = self.conversations[step.conversation]
        members = self.births()[step.conversation].row.members
        seq, rev = self.heads[id]
        rev = max(rev - step.late, 1)
        messages = [
            message(id, members[n % 2], seq + n, rev + n, "\0" if step.poison else f"{n}", self.client_ids[number])
            for n, number in enumerate(step.client_ids, 1)
        ]
        new_rev = rev + len(messages)
        standing = [m for m in self.stored[id] if m.seq in step.deletes]
        gone = [
            DeletedMessage(m.id, id, m.seq, new_rev + n, m.rev, members[n % 2], WallTime(self.now))
            for n, m in enumerate(standing, 1)
        ]
        keys = (
            [KeyRow(Keyed(members[0], f"k{step.key}", "f", WallTime(self.now)), f"{rev}")]
            if step.key is not None
            else []
        )
        beside = Beside(gone, keys) if gone or keys else None
        return ConversationUnit(id, rev, new_rev + len(gone), seq + len(messages), messages, beside)

    def committed(self, step: Step, unit: Unit) -> None:
        if isinstance(unit, ConversationUnit):
            self.heads[unit.id] = (unit.new_seq, unit.new_rev)
            self.stored[unit.id] += unit.messages
        elif isinstance(step, Rename):
            self.revs[step.user] += 1


def comparable(receipt: Receipt) -> object:
    """Everything but the ids that each side made itself."""
    if isinstance(receipt, Repeats):
        return {key: (sent.seq, sent.rev, sent.duplicate, text) for key, (sent, text) in receipt.found.items()}
    if isinstance(receipt, Taken | KeysUsed):
        return receipt
    return type(receipt).__name__


async def live_through(pg: PostgresWorld, steps: list[Step]) -> None:
    memory = MemoryWorld()
    suffix = new_id()[-12:]
    users = [await memory.add_user(f"user{n}{suffix}") for n in range(5)]
    for id in users:
        await add_user(pg.postgres, id, memory.tables.users[id].username)
    history = History(users, suffix)
    for born in history.births():
        assert await pg.journal.append(TOKEN, born) == await memory.journal.append(TOKEN, born)
    for step in steps:
        unit = history.unit(step)
        there, here = await pg.journal.append(TOKEN, unit), await memory.journal.append(TOKEN, unit)
        assert comparable(there) == comparable(here), step
        if comparable(there) == "Committed":
            history.committed(step, unit)
    for user in users:
        for name in (f"k{n}" for n in range(8)):
            at = WallTime(history.now)
            assert await pg.keys.find(user, name, at) == await memory.keys.find(user, name, at)
    for talk in history.conversations:
        pages = [await world.conversations.history(talk, 1, None, None, 1_000) for world in (pg, memory)]
        assert pages[0] == pages[1]
        changes = [await world.conversations.changes(talk, 1, 1, 1_000) for world in (pg, memory)]
        assert changes[0] == changes[1]
        for user in users:
            assert await pg.conversations.unread(user, [talk]) == await memory.conversations.unread(user, [talk])
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
