"""What `kith doctor` asks a database about itself, in one connection."""

from dataclasses import dataclass

from actors.clock import SystemClock
from storage.migrator import schema_problem
from storage.postgres import Statements, run_once

ASK = """
    select current_setting('server_version'), current_setting('server_version_num')::integer / 10000,
           current_setting('server_encoding'), current_setting('fsync') = 'on',
           current_setting('full_page_writes') = 'on', current_setting('synchronous_commit'),
           current_setting('max_connections')::integer
"""
ASK_TIME = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"


@dataclass(frozen=True)
class ServerFacts:
    """In the order of ASK."""

    version: str
    major: int
    encoding: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    max_connections: int


@dataclass(frozen=True)
class DatabaseFacts:
    """`clock_offset_ms`: the database's time less ours, with half of the round trip taken off."""

    server: ServerFacts
    clock_offset_ms: int
    schema_problem: str | None


async def database_facts(url: str) -> DatabaseFacts:
    clock = SystemClock()

    async def ask(database: Statements) -> DatabaseFacts:
        server = await database.fetchrow(ServerFacts, ASK)
        # Twice: the first statement of a kind also pays for being parsed, which is no way to ask for the time.
        await database.fetchval(int, ASK_TIME)
        before = clock.now()
        theirs = await database.fetchval(int, ASK_TIME)
        after = clock.now()
        if server is None or theirs is None:
            raise AssertionError("a select without from has one row")
        return DatabaseFacts(server, theirs - (before + after) // 2, await schema_problem(database))

    return await run_once(url, ask)
