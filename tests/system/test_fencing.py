"""Several processes write to the same conversations: PostgreSQL arbitrates, and no order is ever forked."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from storage.postgres import open_postgres
from tests.storage.conftest import postgres_world
from tests.storage.worlds import begin_dialogue
from tests.system.test_lost_commit import check_gapless

ROOT = Path(__file__).resolve().parent.parent.parent
CONVERSATIONS, ROUNDS = 40, 20


async def run_writer(url: str, node: str, told: list[dict[str, Any]]) -> None:
    """A process of its own, so that nothing but the database is shared."""
    command = [sys.executable, str(ROOT / "tests" / "system" / "fencing_writer.py"), url, node, str(ROUNDS)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "http")))}
    run = partial(trio.run_process, capture_stdout=True, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    with trio.fail_after(60):
        done = await run(command, check=False)
    assert done.returncode == 0, done.stdout.decode()
    told.append(msgspec.json.decode(done.stdout))


async def test_three_processes_neither_fork_an_order_nor_deadlock(database_url: str) -> None:
    async with postgres_world(database_url, "founder") as world:
        for number in range(CONVERSATIONS):
            await begin_dialogue(world, str(number))
    told: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        for node in ("one", "two", "three"):
            nursery.start_soon(run_writer, database_url, node, told)
    async with open_postgres(database_url) as postgres:
        await check_gapless(postgres)
        stored = await postgres.fetch(str, "select id::text from messages")
        acknowledged = [id for one in told for id in one["acknowledged"]]
        assert sorted(stored) == sorted(acknowledged)
        deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
        assert await postgres.fetchval(int, deadlocks) == 0
        # The flush rows tell one unbroken chain of revisions for every conversation, whoever wrote it.
        broken = await postgres.fetch(
            str,
            "with h as (select h ->> 1 as id, (h ->> 2)::bigint as old, (h ->> 3)::bigint as new"
            " from flushes, jsonb_array_elements(heads) h)"
            " select c.id::text from conversations c join h on h.id = c.id::text group by c.id"
            " having min(h.old) <> 0 or max(h.new) <> c.rev or sum(h.new - h.old) <> c.rev"
            " or count(distinct h.old) <> count(*)",
        )
        assert broken == []
    # They did meet: otherwise this test would prove nothing.
    counters = [one["counters"] for one in told]
    assert sum(one["fenced"] for one in counters) > 0
    assert sum(one["units"] for one in counters) * 2 == len(stored)
    assert sum(one["retries"] for one in counters) == 0
