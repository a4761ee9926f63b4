"""Brings the schema up to date: forward only, numbered, checksummed, safe to start on several nodes at once."""

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from storage.database_errors import SchemaError
from storage.postgres import Statements, run_once

FOLDER: Final = Path(__file__).resolve().parent.parent / "migrations"
_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql").fullmatch
# One number for all nodes of a deployment: "kith" in ASCII.
_LOCK: Final = 0x6B697468


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def title(self) -> str:
        return f"{self.number:04}_{self.name}"

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Applied(NamedTuple):
    number: int
    name: str
    checksum: str

    @property
    def title(self) -> str:
        return f"{self.number:04}_{self.name}"


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All of them in order; a strange name or a number that is given twice is refused.

    Numbers have gaps: the sources name some (stories are 0005, close friends 0007), and their features come when they
    come. What fills a gap is applied where later ones were applied before, so a migration leans on lower numbers only.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME(path.name)
        if match is None:
            raise SchemaError(f"{path.name} is not named like a migration, 0001_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text("utf-8")))
    for one, next_one in pairwise(found):
        if one.number == next_one.number:
            raise SchemaError(f"{one.title} and {next_one.title} have the same number")
    return found


async def migrate(database_url: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing and say what that was."""
    known = migrations(folder)

    async def work(database: Statements) -> list[str]:
        # Whoever comes second waits here and then finds nothing to do. The lock ends with the connection.
        await database.execute("select pg_advisory_lock($1)", _LOCK)
        return await _apply(database, known)

    return await run_once(database_url, work)


async def schema_problem(database: Statements, folder: Path = FOLDER) -> str | None:
    """Say in a sentence why this code cannot work on this database, None when it can."""
    known = migrations(folder)
    if await database.fetchval(bool, "select to_regclass('schema_migrations') is null"):
        return "The database has no schema yet: run `kith migrate`."
    applied = await _applied(database)
    try:
        missing = _missing(known, applied)
    except SchemaError as error:
        return str(error)
    if missing:
        return f"The schema lacks {', '.join(migration.title for migration in missing)}: run `kith migrate`."
    return None


async def _apply(database: Statements, known: list[Migration]) -> list[str]:
    await database.execute(
        "create table if not exists schema_migrations (number integer primary key, name text not null,"
        " checksum text not null, applied_at timestamptz not null default now())"
    )
    done = []
    for migration in _missing(known, await _applied(database)):
        async with database.transaction():
            await database.execute(migration.sql)
            await database.execute(
                "insert into schema_migrations (number, name, checksum) values ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.checksum,
            )
        done.append(migration.title)
    return done


async def _applied(database: Statements) -> list[Applied]:
    return await database.fetch(Applied, "select number, name, checksum from schema_migrations order by number")


def _missing(known: list[Migration], applied: list[Applied]) -> list[Migration]:
    """What this database lacks; a schema of the future and a past that was rewritten are refused."""
    by_number = {migration.number: migration for migration in known}
    for row in applied:
        migration = by_number.pop(row.number, None)
        if migration is None:
            raise SchemaError(
                f"The schema has {row.title}, which this code does not know (its last is {known[-1].title}): start a"
                " newer version of Kith."
            )
        if (migration.name, migration.checksum) != (row.name, row.checksum):
            raise SchemaError(
                f"Migration {migration.title} is not what was applied to this database as {row.title}: a migration is"
                " never changed, add a new one."
            )
    return list(by_number.values())
