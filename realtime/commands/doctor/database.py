"""How the database is, and what of it would break: durability, room for connections, what holds vacuum back."""

from realtime.commands.doctor.database_facts import DatabaseFacts, LifeFacts, ServerFacts
from realtime.commands.doctor.report import Report, Rows
from realtime.settings import Settings

OLDEST_POSTGRES = 15
MOST_CLOCK_OFFSET_MS = 1_000
# Above this a transaction holds back vacuum and every client's cursor for longer than anybody should notice.
LONG_TRANSACTION_SECONDS = 30
# PostgreSQL itself warns with 40 million left of 2,147; this is early enough to do something about it by day.
OLD_TRANSACTION_AGE = 1_200_000_000


def database_rows(facts: DatabaseFacts) -> Rows:
    server, life = facts.server, facts.life
    return [
        ("version", server.version),
        ("encoding", server.encoding),
        ("clock", f"{facts.clock_offset_ms:+} ms beside ours"),
        ("fsync", "on" if server.fsync else "off"),
        ("full_page_writes", "on" if server.full_page_writes else "off"),
        ("synchronous_commit", f"{server.synchronous_commit} (Kith sets its own: on)"),
        ("wal_level", server.wal_level),
        ("autovacuum", "on" if server.autovacuum else "off"),
        ("connections", f"{life.connections} in use, {server.max_connections} at most"),
        ("size", f"{life.size // 1_000_000} MB; {life.wal_a_day // 1_000_000} MB of WAL a day"),
        ("oldest transaction", f"{life.oldest_transaction} s, {life.oldest_idle_transaction} s of those idle"),
        ("schema", facts.schema_problem or "up to date"),
    ]


def judge_database(facts: DatabaseFacts, settings: Settings, report: Report) -> None:
    _judge_durability(facts.server, settings, report)
    _judge_server(facts.server, settings, report)
    _judge_life(facts.life, report)
    if facts.bloated:
        report.note(
            f"Tables with many dead rows: {', '.join(facts.bloated)}.",
            "Reads get slower and the disk fuller: autovacuum is behind, or something holds it back.",
        )
    if facts.slots:
        report.note(
            f"Replication slots that nobody reads: {', '.join(facts.slots)}.",
            "The WAL they keep fills the disk: drop them, or start their readers.",
        )
    if abs(facts.clock_offset_ms) > MOST_CLOCK_OFFSET_MS:
        report.note(
            f"This machine's clock is {facts.clock_offset_ms:+} ms beside the database's, which counts.",
            "Its logs cannot be compared with others', and providers may refuse its signatures: set it right (NTP).",
        )
    _judge_schema(facts, report)


def _judge_durability(server: ServerFacts, settings: Settings, report: Report) -> None:
    for name, kept in (("fsync", server.fsync), ("full_page_writes", server.full_page_writes)):
        if kept:
            continue
        sentence, consequence = f"{name} is off.", "A power cut can take back what was acknowledged."
        if settings.unsafe_durability:
            report.note(sentence, consequence)
        else:
            report.problem(sentence, consequence)
    if not server.private:
        report.note(
            "The connection to the database is not encrypted and leaves this machine.",
            "Whoever listens in between reads everything: sslmode=require in DATABASE_URL.",
        )


def _judge_server(server: ServerFacts, settings: Settings, report: Report) -> None:
    if server.major < OLDEST_POSTGRES:
        report.problem(f"PostgreSQL {server.version} is too old; Kith needs {OLDEST_POSTGRES}.")
    if server.encoding != "UTF8":
        report.problem(f"The database is encoded in {server.encoding} and must be in UTF8.", "Texts would be refused.")
    if server.standby:
        report.problem("DATABASE_URL leads to a standby.", "Nothing can be written there.")
    if settings.database_pool_max > server.max_connections:
        report.problem(
            f"DATABASE_POOL_MAX is {settings.database_pool_max} and the server has room for {server.max_connections}.",
            "Under load requests fail, and a second node does not start.",
        )
    elif settings.database_pool_max * 2 > server.max_connections:
        report.note(
            f"DATABASE_POOL_MAX is {settings.database_pool_max} of {server.max_connections}.",
            "A second node of this size would not get its connections.",
        )
    if server.wal_level != "logical":
        report.note(
            f"wal_level is {server.wal_level}.",
            "Events cannot be handed to others by logical decoding; all else works.",
        )
    if not server.autovacuum:
        report.problem("autovacuum is off.", "Tables grow without an end, and in the end PostgreSQL stops to write.")


def _judge_life(life: LifeFacts, report: Report) -> None:
    consequence = "It holds back vacuum, and with the cursors every client that resumes."
    if life.oldest_idle_transaction > LONG_TRANSACTION_SECONDS:
        report.note(f"Somebody's transaction has been idle for {life.oldest_idle_transaction} s.", consequence)
    elif life.oldest_transaction > LONG_TRANSACTION_SECONDS:
        report.note(f"Somebody's transaction is {life.oldest_transaction} s old.", consequence)
    if life.frozen_age > OLD_TRANSACTION_AGE:
        report.problem(
            f"The oldest transaction id is {life.frozen_age} old.",
            "At 2,100,000,000 PostgreSQL refuses to write: let VACUUM run (FREEZE), and find what held it back.",
        )


def _judge_schema(facts: DatabaseFacts, report: Report) -> None:
    problem = facts.schema_problem
    if problem is None:
        return
    # A schema that is merely behind is brought up to date by the next start.
    if "kith migrate" not in problem:
        report.problem(problem)
    elif not facts.server.may_create:
        report.problem(problem, "The role in DATABASE_URL may not create tables, so the start would fail.")
