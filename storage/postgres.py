"""The bridge to PostgreSQL: the only module that imports asyncpg and trio-asyncio, and where rows become structs.

Crossing between trio and asyncio costs up to a millisecond of CPU, so every method here crosses once, and `transaction`
takes a whole coroutine to the other side.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, Protocol, TypeVar

import asyncpg
import outcome
import trio
import trio_asyncio

from storage.database_errors import DatabaseAwayError, DatabaseError, RowRefusedError, StatementFailedError
from storage.direct_line import DirectLine, LineLostError, Refusal

T = TypeVar("T")
ValueT = TypeVar("ValueT", str, int, float, bool, bytes)

CONNECT_SECONDS: Final = 10.0
# For what is no transaction. A table that is locked, or a server that is frozen, must not stop whoever reads for good.
ANSWER_SECONDS: Final = 10.0
# A dead peer is noticed though nothing is being sent to it; without this a flush could wait for hours.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
_SESSION: Final = {
    "application_name": "kith",
    "timezone": "UTC",
    "jit": "off",
    "idle_in_transaction_session_timeout": "10s",  # an open transaction would hold back every cursor
}
# Promise 1 does not depend on what the server's file says. Accounts write through the pool: with the server's `off` a
# crash would take back a registration, and worse, a revocation that was acknowledged.
_ON_DISK: Final = {"synchronous_commit": "on"}
_POOL_SESSION: Final = _SESSION | _ON_DISK
_JOURNAL_SESSION: Final = (
    _SESSION
    | _ON_DISK
    | {
        "application_name": "kith journal",
        # Planned once, and never by reading a whole table, not even when it was empty at that moment.
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
    }
)
# Servers before 17 do not know the first, and would refuse the connection if it came with the greeting; there at least
# no lock is waited for without an end. The server ends transactions, not we: only then is it known what became of them.
_SERVERS_LIMITS: Final = """
select case when current_setting('server_version_num')::int >= 170000
            then set_config('transaction_timeout', '30s', false) else set_config('lock_timeout', '10s', false) end"""


class Statements(Protocol):
    """What a coroutine on the asyncio side may ask; `make` builds one value of each row's columns, in their order."""

    async def fetch(self, make: Callable[..., T], sql: str, *values: object) -> list[T]: ...

    async def fetchrow(self, make: Callable[..., T], sql: str, *values: object) -> T | None: ...

    async def fetchval(self, kind: type[ValueT], sql: str, *values: object) -> ValueT | None: ...

    async def execute(self, sql: str, *values: object) -> str: ...

    def transaction(self) -> AbstractAsyncContextManager[object]: ...


Work = Callable[[Statements], Awaitable[T]]


class _QuietConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg carries no types
    """Nothing here changes a session's settings, so nothing need be reset: that saves a round trip per use."""

    def get_reset_query(self) -> str:
        return ""


def _refused(state: str, constraint: str | None, text: str) -> DatabaseError:
    """A server's error by fault."""
    if state[:2] in ("22", "23"):
        return RowRefusedError(state, constraint)
    if state[:2] == "08" or state in ("57P01", "57P02", "57P03", "53300"):
        return DatabaseAwayError(f"the server ended the connection ({state})")
    return StatementFailedError(state, text)


def _translated(error: Exception) -> Exception:
    """Tell a driver's error by fault."""
    if isinstance(error, asyncpg.PostgresError):
        text = str(error.args[0] if error.args else "")
        return _refused(error.sqlstate or "XX000", getattr(error, "constraint_name", None), text)
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return DatabaseAwayError(f"{type(error).__name__}: {error}")
    return error


class _Asked:
    """Statements on one connection; runs on the asyncio side."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, make: Callable[..., T], sql: str, *values: object) -> list[T]:
        return [make(*row) for row in await self._connection.fetch(sql, *values)]

    async def fetchrow(self, make: Callable[..., T], sql: str, *values: object) -> T | None:
        row = await self._connection.fetchrow(sql, *values)
        return None if row is None else make(*row)

    async def fetchval(self, kind: type[ValueT], sql: str, *values: object) -> ValueT | None:
        value = await self._connection.fetchval(sql, *values)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"the statement gave {type(value).__name__}, not {kind.__name__}")
        return value

    async def execute(self, sql: str, *values: object) -> str:
        status: str = await self._connection.execute(sql, *values)
        return status

    def transaction(self) -> AbstractAsyncContextManager[object]:
        transaction: AbstractAsyncContextManager[object] = self._connection.transaction()
        return transaction


class Dedicated:
    """One connection that is nobody else's, with its own prepared statements: a lane of the journal's.

    It does not reconnect by itself, because only its owner knows what a lost answer means. The driver opens it, signs
    in and prepares; between its own calls it does not read, so that `flush` can use the socket past it.
    """

    def __init__(self, loop: Any, url: str) -> None:
        self._loop = loop
        self._url = url
        self._connection: Any = None
        self._prepared: dict[str, Any] = {}
        self._direct: DirectLine | None = None  # none over TLS, whose bytes only the driver can read

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def connect(self) -> None:
        """Open it, anew if it was open."""
        self.terminate()
        await _crossing(self._loop, self._connect)

    async def _connect(self) -> None:
        self._connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, server_settings=_JOURNAL_SESSION)
        _keep_alive(self._connection)
        transport = self._connection._transport
        if transport.get_extra_info("ssl_object") is None:
            # A second descriptor of the same socket: trio's epoll and asyncio's watch one each.
            self._direct = DirectLine(socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())))
            transport.pause_reading()

    async def fetch(self, make: Callable[..., T], sql: str, values: Sequence[object]) -> list[T]:
        """Run one statement, prepared at its first use; the answer comes after its COMMIT."""

        async def ask() -> list[T]:
            with self._driver_reads():
                # asyncpg hands over a result at ReadyForQuery, not at CommandComplete: the implied COMMIT is behind it.
                return [make(*row) for row in await (await self._prepare(sql)).fetch(*values)]

        self._check()
        return await _crossing(self._loop, ask)

    async def flush(self, make: Callable[..., T], sql: str, values: Sequence[object]) -> list[T]:
        """As `fetch`, by the shortest way: for a statement whose values and columns are text or numbers, none of them
        NULL."""
        self._check()
        if not self._goes_direct():
            return await self.fetch(make, sql, values)
        if sql not in self._prepared:
            await _crossing(self._loop, self._prepare_for_flush, sql)
        direct, statement = self._direct, self._prepared.get(sql)
        if direct is None or statement is None:  # ended while the driver prepared
            raise DatabaseAwayError("not connected")
        try:
            answer = await direct.execute(statement.get_name(), values)
        except LineLostError as error:
            self.terminate()
            raise DatabaseAwayError(str(error)) from None
        if isinstance(answer, Refusal):
            raise _refused(*answer)
        return [make(*row) for row in answer]

    def _goes_direct(self) -> bool:
        return self._direct is not None

    def _check(self) -> None:
        if not self.connected:
            raise DatabaseAwayError("not connected")

    async def _prepare_for_flush(self, sql: str) -> None:
        with self._driver_reads():
            await self._prepare(sql)

    async def _prepare(self, sql: str) -> Any:
        statement = self._prepared.get(sql)
        if statement is None:
            statement = self._prepared[sql] = await self._connection.prepare(sql)
        return statement

    @contextmanager
    def _driver_reads(self) -> Iterator[None]:
        """For as long as the driver waits for an answer it reads; on the asyncio side only."""
        if self._connection is None:
            raise DatabaseAwayError("not connected")
        transport = self._connection._transport
        if self._direct is not None:
            transport.resume_reading()
        try:
            yield
        finally:
            if self._direct is not None and not transport.is_closing():
                transport.pause_reading()

    def terminate(self) -> None:
        """Drop it without a word to the server."""
        self._prepared.clear()
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if not connection.is_closed():
                connection.terminate()


class Postgres:
    """A small pool for reads, which end within ANSWER_SECONDS or in DatabaseAwayError, and for transactions."""

    def __init__(self, loop: Any, url: str, pool: Any) -> None:
        self._loop = loop
        self._url = url
        self._pool = pool

    def dedicated(self) -> Dedicated:
        return Dedicated(self._loop, self._url)

    async def fetch(self, make: Callable[..., T], sql: str, *values: object) -> list[T]:
        rows = await _in_time(self._loop, self._pool.fetch, sql, *values)
        return [make(*row) for row in rows]

    async def fetchrow(self, make: Callable[..., T], sql: str, *values: object) -> T | None:
        row = await _in_time(self._loop, self._pool.fetchrow, sql, *values)
        return None if row is None else make(*row)

    async def fetchval(self, kind: type[ValueT], sql: str, *values: object) -> ValueT | None:
        value = await _in_time(self._loop, self._pool.fetchval, sql, *values)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"the statement gave {type(value).__name__}, not {kind.__name__}")
        return value

    async def execute(self, sql: str, *values: object) -> str:
        status: str = await _in_time(self._loop, self._pool.execute, sql, *values)
        return status

    async def run(self, work: Work[T]) -> T:
        """Run several statements on one connection in one crossing, each committed by itself."""

        async def run() -> T:
            async with self._pool.acquire() as connection:
                return await work(_Asked(connection))

        return await _in_time(self._loop, run)

    async def transaction(self, work: Work[T]) -> T:
        """Run `work` in one transaction, wholly on the asyncio side: it must not await anything of trio's.

        When DatabaseAwayError comes out of it, nobody knows whether the COMMIT took effect.
        """

        async def run() -> T:
            async with self._pool.acquire() as connection, connection.transaction():
                return await work(_Asked(connection))

        return await _crossing(self._loop, _left_alone, run)


async def _crossing(loop: Any, work: Callable[..., Awaitable[T]], *values: object) -> T:
    async def run() -> T:
        # Called here and not before, because asyncpg asks for the running loop when it is called.
        return await work(*values)

    try:
        result: T = await loop.run_aio_coroutine(run())
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        # No cause: the driver's error may quote a row.
        raise _translated(error) from None
    return result


async def _in_time(loop: Any, work: Callable[..., Awaitable[T]], *values: object) -> T:
    with trio.move_on_after(ANSWER_SECONDS):
        return await _crossing(loop, _left_alone, work, *values)
    raise DatabaseAwayError(f"PostgreSQL did not answer a statement of the pool's within {ANSWER_SECONDS:g} s")


# What was cancelled and is not over yet; the event loop itself holds its tasks only weakly.
_abandoned: Final[set["asyncio.Task[Any]"]] = set()


async def _left_alone(work: Callable[..., Awaitable[T]], *values: object) -> T:
    """Have a cancellation wait for nobody.

    asyncpg tells the server of it, and gives the connection back only when that was answered: with a server that is
    frozen (a stalled disk, a paused machine) no deadline around a read ended, not even that of the health check. So the
    work is cancelled, and ends by itself whenever the server or the kernel's patience does.
    """
    task = asyncio.ensure_future(work(*values))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _abandoned.add(task)
        task.add_done_callback(_let_go)
        task.cancel()
        raise


def _let_go(task: "asyncio.Task[Any]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, or asyncio would complain that nobody did


def _keep_alive(connection: Any) -> None:
    line = connection._transport.get_extra_info("socket")
    if line is None or line.family == socket.AF_UNIX:
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            line.setsockopt(socket.IPPROTO_TCP, option, value)


async def _prepare_session(connection: Any) -> None:
    _keep_alive(connection)
    await connection.execute(_SERVERS_LIMITS)


@asynccontextmanager
async def open_postgres(url: str, connections: int = 4) -> AsyncIterator[Postgres]:
    """Open the bridge and a pool of at most `connections`; raises DatabaseAwayError when nobody answers."""

    async def make_pool() -> Any:
        return await asyncpg.create_pool(
            url,
            min_size=0,  # or asyncpg would try to restore that size by itself, loudly, while the server is away
            max_size=connections,
            timeout=CONNECT_SECONDS,
            connection_class=_QuietConnection,
            server_settings=_POOL_SESSION,
            init=_prepare_session,
        )

    failure: BaseException | None = None
    async with trio_asyncio.open_loop() as loop:
        pool: Any = None
        try:
            pool = await _crossing(loop, make_pool)
            postgres = Postgres(loop, url, pool)
            await postgres.fetchval(int, "select 1")
            yield postgres
        except BaseException as error:  # raised below: the bridge's own nurseries would wrap it in two groups
            failure = error
        if pool is not None:
            # Not close(): it waits for connections in use, and a stop must not depend on a stuck reader.
            with trio.move_on_after(2, shield=True):
                await _crossing(loop, _terminated, pool)
    if failure is not None:
        raise failure


async def _terminated(pool: Any) -> None:
    pool.terminate()


async def run_once(url: str, work: Work[T]) -> T:
    """Run `work` on a connection of its own, outside of any transaction: for commands, not for servers."""

    async def run() -> T:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, server_settings=_SESSION)
        try:
            return await work(_Asked(connection))
        finally:
            await connection.close()

    async with trio_asyncio.open_loop() as loop:
        # Unwrapped outside, where no nursery of the bridge's puts an error into groups.
        result = await outcome.acapture(_crossing, loop, run)
    value: T = result.unwrap()
    return value
