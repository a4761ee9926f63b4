"""What a database says of itself, asked in one connection."""

from dataclasses import dataclass

from actors.clock import SystemClock
from storage.migrator import schema_problem
from storage.postgres import Statements, run_once

ASK_SERVER = """
    select current_setting('server_version'), current_setting('server_version_num')::integer / 10000,
           current_setting('server_encoding'), current_setting('fsync') = 'on',
           current_setting('full_page_writes') = 'on', current_setting('synchronous_commit'),
           current_setting('max_connections')::integer
             - current_setting('superuser_reserved_connections')::integer,
           current_setting('wal_level'), current_setting('autovacuum') = 'on'
             and current_setting('track_counts') = 'on',
           pg_is_in_recovery(), has_schema_privilege(current_schema(), 'create'),
           coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)
             or inet_server_addr() is null or inet_server_addr() << '127.0.0.0/8' or inet_server_addr() = '::1'
"""
# What other sessions do is shown to their own role and to superusers only; to others theirs count as nothing.
ASK_LIFE = """
    select pg_database_size(current_database()),
           (select count(*)::integer from pg_stat_activity where backend_type = 'client backend'),
           coalesce((select extract(epoch from max(clock_timestamp() - xact_start))::integer from pg_stat_activity
                      where pid <> pg_backend_pid() and backend_type = 'client backend'), 0),
           coalesce((select extract(epoch from max(clock_timestamp() - xact_start))::integer from pg_stat_activity
                      where pid <> pg_backend_pid() and state like 'idle in transaction%'), 0),
           (select age(datfrozenxid) from pg_database where datname = current_database()),
           coalesce((select (wal_bytes / greatest(extract(epoch from now() - stats_reset), 3600) * 86400)::bigint
                       from pg_stat_wal), 0)
"""
# Rows that are dead and still take room: more than a third of a table that has grown beyond a toy.
ASK_BLOATED = """
    select relname::text || ' (' || n_dead_tup * 100 / (n_live_tup + n_dead_tup) || ' % dead)' from pg_stat_user_tables
     where n_dead_tup > 20000 and n_dead_tup > n_live_tup / 2 order by n_dead_tup desc limit 5
"""
ASK_SLOTS = """
    select slot_name::text || ' (' || pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) || ')'
      from pg_replication_slots
     where not active and restart_lsn is not null and pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > 100000000
"""
ASK_TIME = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"


@dataclass(frozen=True)
class ServerFacts:
    """In the order of ASK_SERVER; `max_connections` are those that are left for us, `private` says that what we send
    is encrypted or stays on this machine."""

    version: str
    major: int
    encoding: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    max_connections: int
    wal_level: str
    autovacuum: bool
    standby: bool
    may_create: bool
    private: bool


@dataclass(frozen=True)
class LifeFacts:
    """In the order of ASK_LIFE; seconds, bytes, and transactions until the numbers of these are used up."""

    size: int
    connections: int
    oldest_transaction: int
    oldest_idle_transaction: int
    frozen_age: int
    wal_a_day: int


@dataclass(frozen=True)
class DatabaseFacts:
    """`clock_offset_ms`: the database's time less ours, with half of the round trip taken off."""

    server: ServerFacts
    life: LifeFacts
    bloated: tuple[str, ...]
    slots: tuple[str, ...]
    clock_offset_ms: int
    schema_problem: str | None


async def database_facts(url: str) -> DatabaseFacts:
    clock = SystemClock()

    async def ask(database: Statements) -> DatabaseFacts:
        server = await database.fetchrow(ServerFacts, ASK_SERVER)
        life = await database.fetchrow(LifeFacts, ASK_LIFE)
        bloated = await database.fetch(str, ASK_BLOATED)
        # A standby has no position of its own to measure from.
        slots = [] if server is None or server.standby else await database.fetch(str, ASK_SLOTS)
        # Twice: the first statement of a kind also pays for being parsed, which is no way to ask for the time.
        await database.fetchval(int, ASK_TIME)
        before = clock.now()
        theirs = await database.fetchval(int, ASK_TIME)
        after = clock.now()
        if server is None or life is None or theirs is None:
            raise AssertionError("a select without from has one row")
        problem = await schema_problem(database)
        return DatabaseFacts(server, life, tuple(bloated), tuple(slots), theirs - (before + after) // 2, problem)

    return await run_once(url, ask)
