"""A PostgreSQL that does not answer and does not hang up either: deadlines are kept all the same."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from time import perf_counter

import psutil
import pytest
import trio

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
