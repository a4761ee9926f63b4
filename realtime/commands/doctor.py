"""`kith doctor`: what is set, what runs and what would break; exit code 1 when something would."""

import platform
import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

import trio

from realtime.commands.database import command_database
from realtime.commands.database_facts import DatabaseFacts, database_facts
from realtime.limits import limiter_options
from realtime.listeners import open_listeners
from realtime.node_lock import NodeLock
from realtime.refusal import RefusalError
from realtime.settings import Settings
from realtime.var_folder import prepare_var
from storage.database_errors import DatabaseError
from storage.embedded.errors import EmbeddedPostgresError

PACKAGES = ("trio", "asyncpg", "hypercorn", "quart-trio", "msgspec", "websockets")
# Kept back from connections: the database, files, health checks.
DESCRIPTOR_RESERVE = 512
MOST_CLOCK_OFFSET_MS = 1_000
OLDEST_POSTGRES = 15


@dataclass
class Report:
    """What is printed, and beside it what would break."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def chapter(self, title: str, rows: list[tuple[str, str]]) -> None:
        print(f"\n{title}")
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            print(f"  {name:<{width}}  {value}")

    @contextmanager
    def catching(self) -> Iterator[None]:
        """What stops a start must not stop the report on it."""
        try:
            yield
        except (RefusalError, DatabaseError, EmbeddedPostgresError) as error:
            self.problems.append(str(error))


def doctor(settings: Settings) -> int:
    report = Report()
    report.chapter("Versions", versions())
    report.chapter("Settings", settings.shown())
    report.chapter("Limits (per user or address)", limits(settings))
    report.chapter("Machine", machine(settings, report))
    with report.catching():
        check_port(settings)
    with report.catching(), command_database(settings) as url:
        facts = trio.run(database_facts, url)
        report.chapter("Database", database(facts))
        judge(facts, settings, report)
    for note in report.notes:
        print(f"\nNote: {note}")
    for problem in report.problems:
        print(f"\nWould break: {problem}")
    if not report.problems:
        print("\nNothing would break.")
    return 1 if report.problems else 0


def versions() -> list[tuple[str, str]]:
    return [("Python", platform.python_version()), *((name, version(name)) for name in PACKAGES)]


def limits(settings: Settings) -> list[tuple[str, str]]:
    rows = []
    for limit, spec in limiter_options(settings).limits.items():
        pace = f"{spec.rate.capacity:g} at once, {spec.rate.per_second * 60:g} a minute"
        rows.append((limit.value, f"{pace}; fails {spec.when_full}; {spec.after_crash:.0%} full after a crash"))
    exempt = ", ".join(settings.rate_limit_exempt_nets) or "nobody"
    return [*rows, ("exempt", exempt)]


def machine(settings: Settings, report: Report) -> list[tuple[str, str]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    rows = [("system", platform.platform()), ("descriptors", f"{soft} now, {hard} at most")]
    room = hard - DESCRIPTOR_RESERVE
    if hard != resource.RLIM_INFINITY and room < settings.max_connections:
        report.notes.append(
            f"MAX_CONNECTIONS is {settings.max_connections}, and {hard} descriptors leave room for {room}:"
            " raise the hard limit (ulimit -Hn) or add nodes."
        )
    with report.catching():
        prepare_var(settings.var)
        free = shutil.disk_usage(settings.var).free
        rows.append(("KITH_VAR", f"{settings.var}, {free // 1_000_000} MB free"))
    return rows


def check_port(settings: Settings) -> None:
    """A taken port is a problem unless it is our own node that has it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(NodeLock(settings.var))
        except RefusalError as runs:
            print(f"\n{runs}")
            return
        except OSError:
            return  # KITH_VAR cannot be used, which has been said
        for listener in open_listeners(settings.host, settings.port):
            listener.close()


def database(facts: DatabaseFacts) -> list[tuple[str, str]]:
    server = facts.server
    return [
        ("version", server.version),
        ("encoding", server.encoding),
        ("clock", f"{facts.clock_offset_ms:+} ms beside ours"),
        ("fsync", "on" if server.fsync else "off"),
        ("full_page_writes", "on" if server.full_page_writes else "off"),
        ("synchronous_commit", f"{server.synchronous_commit} (the journal sets its own: on)"),
        ("connections", f"{server.max_connections} at most"),
        ("schema", facts.schema_problem or "up to date"),
    ]


def judge(facts: DatabaseFacts, settings: Settings, report: Report) -> None:
    server = facts.server
    for name, kept in (("fsync", server.fsync), ("full_page_writes", server.full_page_writes)):
        if not kept:
            sentence = f"{name} is off: a power cut can take back what was acknowledged."
            (report.notes if settings.unsafe_durability else report.problems).append(sentence)
    if server.major < OLDEST_POSTGRES:
        report.problems.append(f"PostgreSQL {server.version} is too old; Kith needs {OLDEST_POSTGRES}.")
    if server.encoding != "UTF8":
        report.problems.append(f"the database is encoded in {server.encoding} and must be in UTF8.")
    if settings.database_pool_max >= server.max_connections:
        report.problems.append(
            f"DATABASE_POOL_MAX is {settings.database_pool_max} and the server takes {server.max_connections}."
        )
    if abs(facts.clock_offset_ms) > MOST_CLOCK_OFFSET_MS:
        report.notes.append(
            f"this machine's clock is {facts.clock_offset_ms:+} ms beside the database's, which is the one that counts;"
            " set it right (NTP) before you compare logs."
        )
    # A schema that is merely behind is brought up to date by the next start.
    if facts.schema_problem and "kith migrate" not in facts.schema_problem:
        report.problems.append(facts.schema_problem)
