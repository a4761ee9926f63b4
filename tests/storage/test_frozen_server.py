"""A PostgreSQL that does not answer and does not hang up either: every read ends, and deadlines are kept."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from time import perf_counter

import psutil
import pytest
import trio

from storage import postgres as bridge
from storage.database_errors import DatabaseAwayError
from storage.postgres import Postgres, Statements, open_postgres


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """These backends stop, with their postmaster, which would otherwise carry our cancellations out."""
    postmaster = psutil.Process(pids[0]).parent()
    assert postmaster is not None
    stopped = [postmaster, *map(psutil.Process, pids)]

    def thaw() -> None:
        for process in reversed(stopped):
            process.resume()

    # From another thread: a deadline that is not kept must fail this test, and not hang it.
    timer = Timer(5.0, thaw)
    timer.start()
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        timer.cancel()
        thaw()


async def _in_vain(postgres: Postgres, statement: str) -> None:
    await postgres.fetchval(int, statement)


async def _in_a_transaction(postgres: Postgres, statement: str) -> None:
    async def work(statements: Statements) -> None:
        await statements.fetchval(int, statement)

    await postgres.transaction(work)


@pytest.mark.parametrize("ask", [_in_vain, _in_a_transaction])
async def test_a_deadline_is_kept_though_the_server_is_frozen(
    database_url: str, ask: Callable[[Postgres, str], Awaitable[None]]
) -> None:
    """The wait ended only when the server had confirmed its cancellation: after ten minutes it still lasted."""
    async with open_postgres(database_url, 1) as postgres:
        pid = await postgres.fetchval(int, "select pg_backend_pid()")
        assert pid is not None
        with frozen(pid):
            begun = perf_counter()
            with trio.move_on_after(0.2) as deadline:
                await ask(postgres, "select 1")
            took = perf_counter() - begun
        assert deadline.cancelled_caught
        assert took < 2.0
        # The one connection comes back once the server does.
        with trio.fail_after(10):
            while True:
                try:
                    assert await postgres.fetchval(int, "select 2") == 2
                except DatabaseAwayError:
                    continue
                break


async def _fetch(postgres: Postgres, sql: str) -> object:
    return await postgres.fetch(int, sql)


async def _fetchrow(postgres: Postgres, sql: str) -> object:
    return await postgres.fetchrow(int, sql)


async def _fetchval(postgres: Postgres, sql: str) -> object:
    return await postgres.fetchval(int, sql)


async def _execute(postgres: Postgres, sql: str) -> object:
    return await postgres.execute(sql)


async def _run(postgres: Postgres, sql: str) -> object:
    return await postgres.run(lambda asked: asked.fetchval(int, sql))


READS = [_fetch, _fetchrow, _fetchval, _execute, _run]
COUNT = "select count(*)::int from users"


@pytest.mark.parametrize("read", READS)
async def test_a_read_of_a_locked_table_ends_by_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[Postgres, str], Awaitable[object]]
) -> None:
    """Whoever asked with no deadline of his own, a user's actor or a request's handler, waited as long as the lock."""
    locked, let_go = trio.Event(), trio.Event()

    async def hold() -> None:
        async with open_postgres(database_url, 1) as other:
            line = other.dedicated()
            await line.connect()
            await line.fetch(int, "begin", ())
            await line.fetch(int, "lock table users in access exclusive mode", ())
            locked.set()
            await let_go.wait()
            line.terminate()

    # One connection: the second read proves that the first gave it back, and that waiting for one has an end, too.
    async with trio.open_nursery() as nursery, open_postgres(database_url, 1) as postgres:
        nursery.start_soon(hold)
        await locked.wait()
        monkeypatch.setattr(bridge, "ANSWER_SECONDS", 0.1)
        with trio.fail_after(2):
            for _ in range(2):
                with pytest.raises(DatabaseAwayError, match=r"did not answer .* within 0.1 s"):
                    await read(postgres, COUNT)
        let_go.set()
        monkeypatch.setattr(bridge, "ANSWER_SECONDS", 10.0)
        await read(postgres, COUNT)


@pytest.mark.parametrize("read", READS)
async def test_a_read_from_a_frozen_server_ends_by_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[Postgres, str], Awaitable[object]]
) -> None:
    async with open_postgres(database_url, 1) as postgres:
        pid = await postgres.fetchval(int, "select pg_backend_pid()")
        assert pid is not None
        monkeypatch.setattr(bridge, "ANSWER_SECONDS", 0.1)
        with frozen(pid):
            begun = perf_counter()
            with pytest.raises(DatabaseAwayError):
                await read(postgres, COUNT)
            assert perf_counter() - begun < 2.0


async def test_an_asker_with_less_time_keeps_his_own_deadline(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "ANSWER_SECONDS", 5.0)
    async with open_postgres(database_url, 1) as postgres:
        with trio.move_on_after(0.1) as deadline:
            await postgres.fetchval(str, "select pg_sleep(3)::text")
        assert deadline.cancelled_caught


async def test_a_transaction_is_ended_by_the_server_only(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gives up sooner would not know what became of a write."""

    async def work(statements: Statements) -> list[str | None]:
        await statements.fetchval(str, "select pg_sleep(0.2)::text")
        names = ("server_version_num", "transaction_timeout", "lock_timeout")
        return [await statements.fetchval(str, "select current_setting($1, true)", name) for name in names]

    async with open_postgres(database_url, 1) as postgres:
        monkeypatch.setattr(bridge, "ANSWER_SECONDS", 0.05)
        version, transaction_timeout, lock_timeout = await postgres.transaction(work)
    assert version is not None
    if int(version) >= 170000:
        assert transaction_timeout == "30s"
    else:
        assert lock_timeout == "10s"
