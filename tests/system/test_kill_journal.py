"""PostgreSQL is killed with SIGKILL under load, again and again: what was acknowledged is there, once and in order."""

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

from actors.ports import Committed
from actors.shapes.times import Seconds
from storage.embedded.cluster import Cluster
from storage.journal.journal import PostgresJournal
from storage.migrator import migrate
from storage.node import begin_incarnation
from storage.postgres import Statements, open_postgres, run_once
from tests.clocks import HandClock
from tests.storage.worlds import TOKEN, Dialogue, PostgresWorld, batch, begin_dialogue, message
from tests.system.test_lost_commit import check_gapless

WRITERS = 60


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server that may be killed, with fsync on like any other."""
    folder = Path(tempfile.mkdtemp(prefix="kith-kill-"))
    folder.chmod(0o755)
    cluster = Cluster(folder)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(folder)


def kill(cluster: Cluster) -> None:
    """As a power cut for the processes: the postmaster first stands still, so that it cannot mourn its children."""
    assert cluster.pid is not None
    postmaster = psutil.Process(cluster.pid)
    postmaster.suspend()
    children = postmaster.children(recursive=True)
    for child in children:
        try:
            os.kill(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    postmaster.kill()
    postmaster.wait(10)  # it is our child: unreaped it would count as running


class Load:
    """Conversations that are written to without a pause; each knows what was acknowledged to it."""

    def __init__(self, world: PostgresWorld, talks: list[Dialogue]) -> None:
        self.world, self.talks = world, talks
        self.acknowledged: dict[str, list[tuple[int, int, str]]] = {talk.id: [] for talk in talks}
        self.stopping = False
        self.wanted, self.reached = 0, trio.Event()
        self._total = 0

    async def write(self, talk: Dialogue) -> None:
        dice = random.Random(talk.id)
        while not self.stopping:
            texts = [f"{talk.seq + n}" for n in range(1, dice.choice((1, 1, 1, 3)) + 1)]
            messages = [message(talk.id, talk.a, talk.seq + n, talk.rev + n, t) for n, t in enumerate(texts, 1)]
            receipt = await self.world.journal.append(TOKEN, batch(talk.id, talk.rev, messages))
            # Nobody else writes here, so anything but Committed would be a wrong answer to a lost question.
            assert receipt == Committed(), receipt
            self.acknowledged[talk.id] += [(m.seq, m.rev, m.text) for m in messages]
            talk.seq, talk.rev = messages[-1].seq, messages[-1].rev
            self._total += len(messages)
            if self._total >= self.wanted:
                self.reached.set()

    async def more(self, messages: int) -> None:
        """Return when so many more have been acknowledged."""
        self.wanted = self.count + messages
        self.reached = trio.Event()
        with trio.fail_after(30):
            await self.reached.wait()

    @property
    def count(self) -> int:
        return self._total


async def check(url: str, load: Load, exactly: bool) -> None:
    """Every acknowledged message is stored at its place; at rest, nothing else is."""

    async def read(statements: Statements) -> dict[str, list[tuple[int, int, str]]]:
        stored: dict[str, list[tuple[int, int, str]]] = {talk.id: [] for talk in load.talks}
        sql = "select conversation_id::text, seq, rev, body from messages order by conversation_id, seq"
        for id, seq, rev, text in await statements.fetch(lambda *row: row, sql):
            stored[id].append((seq, rev, text))
        return stored

    acknowledged = {id: list(rows) for id, rows in load.acknowledged.items()}
    for id, rows in (await run_once(url, read)).items():
        assert rows[: len(acknowledged[id])] == acknowledged[id]
        assert [seq for seq, _, _ in rows] == list(range(1, len(rows) + 1))
        if exactly:
            assert rows == acknowledged[id]


async def kill_rounds(cluster: Cluster, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    url = cluster.uri_of("postgres")
    await migrate(url)
    async with open_postgres(url) as postgres, trio.open_nursery() as nursery:
        lines = [postgres.dedicated(), postgres.dedicated()]
        journal = PostgresJournal(lines, await begin_incarnation(postgres, "n"), HandClock())
        world = PostgresWorld(postgres, journal)
        await nursery.start(journal.run)
        load = Load(world, [await begin_dialogue(world, str(number)) for number in range(WRITERS)])
        async with trio.open_nursery() as writers:
            for talk in load.talks:
                writers.start_soon(load.write, talk)
            try:
                for _ in range(rounds):
                    await load.more(WRITERS)  # full load again
                    await trio.sleep(dice.uniform(0.0, 0.25))
                    await trio.to_thread.run_sync(kill, cluster)
                    await trio.to_thread.run_sync(cluster.revive)
                    await check(url, load, exactly=False)
                load.stopping = True
            finally:
                if not load.stopping:  # this test has failed: let the writers go, whom nothing else can cancel
                    with trio.CancelScope(shield=True):
                        await journal.aclose(Seconds(0.0))
        await check(url, load, exactly=True)
        await check_gapless(postgres)
        assert journal.counters.fenced == journal.counters.repeated == journal.counters.poisoned == 0
        assert journal.counters.retries >= rounds
        await journal.aclose(Seconds(5.0))


async def test_kill_9_of_postgresql_under_load(own_cluster: Cluster) -> None:
    await kill_rounds(own_cluster, rounds=30, seed=1)


@pytest.mark.chaos
async def test_kill_9_of_postgresql_a_thousand_times(own_cluster: Cluster) -> None:
    await kill_rounds(own_cluster, rounds=1_000, seed=2)
