"""The answer to COMMIT gets lost: every message is stored exactly once, and every appender is told what is true."""

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ports import Committed, Fenced, Poisoned, ProfileUnit, Receipt, Repeats, Taken
from actors.shapes.ids import UserId
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import UpdateProfile
from storage.journal.journal import PostgresJournal
from storage.node import begin_incarnation
from storage.postgres import Dedicated, Postgres, Statements, open_postgres
from tests.clocks import START, HandClock
from tests.proxy.cutting import CuttingProxy, Fault
from tests.storage.worlds import TOKEN, Dialogue, PostgresWorld, batch, begin_dialogue, birth, message

CUTS = [Fault.BEFORE, Fault.DURING, Fault.AFTER]


class Cut:
    """A world whose journal alone goes through the proxy."""

    def __init__(self, proxy: CuttingProxy, world: PostgresWorld) -> None:
        self.proxy, self.world = proxy, world

    def once(self, fault: Fault) -> None:
        """Do this to the next statement, let the others pass."""
        faults = [fault]
        self.proxy.plan = lambda: faults.pop() if faults else Fault.NONE


@asynccontextmanager
async def cut_world(url: str, node: str = "node", lanes: int = 2) -> AsyncIterator[Cut]:
    proxy = CuttingProxy(url)
    async with proxy.open(), open_postgres(url) as direct, open_postgres(proxy.url, 1) as through:
        lines = [through.dedicated() for _ in range(lanes)]
        journal = PostgresJournal(lines, await begin_incarnation(direct, node), HandClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            yield Cut(proxy, PostgresWorld(direct, journal))
            proxy.plan = lambda: Fault.NONE
            await journal.aclose(Seconds(5.0))


@pytest.fixture(params=[1, 2], ids=["one lane", "two lanes"])
def lanes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
async def cut(database_url: str, lanes: int) -> AsyncIterator[Cut]:
    async with cut_world(database_url, lanes=lanes) as opened:
        yield opened


async def check_gapless(postgres: Postgres) -> None:
    """No conversation has a hole, a double or a head that its messages do not explain."""
    wrong = await postgres.fetch(
        str,
        "select c.id::text from conversations c left join messages m on m.conversation_id = c.id"
        " group by c.id having count(m.id) <> c.seq or coalesce(max(m.seq), 0) <> c.seq or c.rev <> c.seq + 1"
        " or count(distinct m.seq) <> count(*) filter (where m.id is not null)",
    )
    assert wrong == []


@pytest.mark.parametrize("fault", CUTS)
async def test_a_batch_whose_answer_is_lost_is_stored_once_and_reported_committed(cut: Cut, fault: Fault) -> None:
    talk = await begin_dialogue(cut.world)
    cut.once(fault)
    assert await talk.say("one", "two") == Committed()
    assert cut.proxy.cuts[fault] == 1
    assert await cut.world.stored(talk.id) == [(1, 2, "one"), (2, 3, "two")]
    counters = cut.world.journal.counters
    assert counters.retries >= 1
    if fault is not Fault.DURING:  # which of the two it was is decided by a race there
        assert counters.proved == (1 if fault is Fault.AFTER else 0)
    assert await talk.say("three") == Committed()


@pytest.mark.parametrize("fault", CUTS)
async def test_losers_of_a_flush_whose_answer_is_lost_are_told_so(cut: Cut, fault: Fault) -> None:
    winner, loser = await begin_dialogue(cut.world), await begin_dialogue(cut.world, "2")
    await loser.say("newer")
    results: dict[str, Receipt] = {}

    async def append(name: str, talk: Dialogue) -> None:
        unit = batch(talk.id, 1, [message(talk.id, talk.b, 1, 2, name)])
        results[name] = await cut.world.journal.append(TOKEN, unit)

    cut.once(fault)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(append, "winner", winner)
        nursery.start_soon(append, "loser", loser)
    assert {name: type(result).__name__ for name, result in results.items()} == {
        "winner": "Committed",
        "loser": "Fenced",
    }
    assert await cut.world.stored(loser.id) == [(1, 2, "newer")]


@pytest.mark.parametrize("fault", CUTS)
async def test_births_profiles_and_repeats_are_answered_truly_too(cut: Cut, fault: Fault) -> None:
    world = cut.world
    a, b = await world.add_user("anna"), await world.add_user("bert")
    unit = birth(a, b)
    cut.once(fault)
    assert await world.journal.append(TOKEN, unit) == Committed()
    cut.once(fault)
    assert await world.journal.append(TOKEN, birth(b, a)) == Taken(unit.row.id)
    cut.once(fault)
    assert await world.journal.append(TOKEN, rename(a, 0, "zoe")) == Committed()
    cut.once(fault)
    assert await world.journal.append(TOKEN, rename(b, 0, "ZOE")) == Taken(None)
    talk = Dialogue(world, unit.row.id, a, b)
    cut.once(fault)
    assert await talk.say("one") == Committed()
    [shown] = (await world.conversations.history(talk.id, 1, None, None, 1)).messages
    again = message(talk.id, a, 2, 3, "one", client_id=shown.client_id)
    cut.once(fault)
    assert isinstance(await world.journal.append(TOKEN, batch(talk.id, 2, [again])), Repeats)
    cut.once(fault)
    assert isinstance(await talk.say("\0"), Poisoned)
    await check_gapless(world.postgres)


def rename(user: UserId, old_rev: int, name: str) -> ProfileUnit:
    return ProfileUnit(user, old_rev, old_rev + 1, UpdateProfile(username=name), WallTime(START))


async def test_a_retry_waits_for_the_attempt_that_is_still_under_way(cut: Cut) -> None:
    """The connection is gone, but the server still works on the first attempt when the second one arrives."""
    talk = await begin_dialogue(cut.world)
    locked = trio.Event()

    async def hold() -> None:
        async def work(statements: Statements) -> None:
            await statements.execute("lock table messages in share mode")
            locked.set()
            await statements.execute("select pg_sleep(1.0)")

        await cut.world.postgres.transaction(work)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await locked.wait()
        cut.once(Fault.DURING)
        assert await talk.say("one") == Committed()
    assert cut.world.journal.counters.proved == 1
    assert await cut.world.stored(talk.id) == [(1, 2, "one")]


async def test_a_journal_that_retries_by_hope_would_be_caught(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant repeats its flush under a new number, so that no receipt can prove the first attempt."""
    talk = await begin_dialogue(cut.world)
    flush, numbers = Dedicated.flush, itertools.count(1_000)

    async def hope(line: Dedicated, make: Any, sql: str, values: Any) -> Any:
        renumbered = (*values[:2], next(numbers), *values[3:]) if "receipt as" in sql else values
        return await flush(line, make, sql, renumbered)

    monkeypatch.setattr(Dedicated, "flush", hope)
    cut.once(Fault.AFTER)
    assert await talk.say("one") == Fenced()  # and yet it is stored
    assert await cut.world.stored(talk.id) == [(1, 2, "one")]


async def storm(cut: Cut, seed: int, writers: int, rounds: int) -> None:
    """Many conversations, and a connection that is cut at a third of all statements."""
    dice = random.Random(seed)
    talks = [await begin_dialogue(cut.world, f"{seed}_{number}") for number in range(writers)]
    cut.proxy.plan = lambda: dice.choice(CUTS) if dice.random() < 0.33 else Fault.NONE

    async def write(talk: Dialogue) -> None:
        for number in range(rounds):
            assert await talk.say(f"{number}") == Committed()

    async with trio.open_nursery() as nursery:
        for talk in talks:
            nursery.start_soon(write, talk)
    cut.proxy.plan = lambda: Fault.NONE
    for talk in talks:
        assert await cut.world.stored(talk.id) == [(n, n + 1, str(n - 1)) for n in range(1, rounds + 1)]
    await check_gapless(cut.world.postgres)


async def test_a_storm_of_cuts_neither_loses_nor_doubles(cut: Cut) -> None:
    await storm(cut, seed=1, writers=8, rounds=60)
    assert all(cut.proxy.cuts[fault] for fault in CUTS), cut.proxy.cuts


@pytest.mark.soak
def test_many_storms(database_url: str) -> None:
    @given(st.integers(0, 1 << 32))
    @settings(max_examples=40, deadline=None)
    def examples(seed: int) -> None:
        async def run() -> None:
            async with cut_world(database_url, f"node{seed}") as opened:
                await storm(opened, seed, writers=10, rounds=10)

        trio.run(run)

    examples()
