"""Brings the schema up to date: forward only, numbered, checksummed, safe to start on several nodes at once."""

import hashlib
import re
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
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Applied(NamedTuple):
    number: int
    name: str
    checksum: str


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All of them in order; a gap or a strange name in the folder is refused."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME(path.name)
        if match is None:
            raise SchemaError(f"{path.name} is not named like a migration, 0001_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text("utf-8")))
    if [migration.number for migration in found] != list(range(len(found))):
        raise SchemaError(f"the migrations in {folder} are not numbered 0000, 0001, 0002 and so on")
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
    if len(applied) < len(known):
        return f"The schema is at {len(applied) - 1:04}, this code needs {len(known) - 1:04}: run `kith migrate`."
    try:
        _check(known, applied)
    except SchemaError as error:
        return str(error)
    return None


async def _apply(database: Statements, known: list[Migration]) -> list[str]:
    await database.execute(
        "create table if not exists schema_migrations (number integer primary key, name text not null,"
        " checksum text not null, applied_at timestamptz not null default now())"
    )
    applied = await _applied(database)
    _check(known, applied)
    done = []
    for migration in known[len(applied) :]:
        async with database.transaction():
            await database.execute(migration.sql)
            await database.execute(
                "insert into schema_migrations (number, name, checksum) values ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.checksum,
            )
        done.append(f"{migration.number:04}_{migration.name}")
    return done


async def _applied(database: Statements) -> list[Applied]:
    return await database.fetch(Applied, "select number, name, checksum from schema_migrations order by number")


def _check(known: list[Migration], applied: list[Applied]) -> None:
    """Refuse a schema of the future and a past that was rewritten."""
    if len(applied) > len(known):
        raise SchemaError(
            f"The schema is at {applied[-1].number:04}_{applied[-1].name}, this code knows it up to"
            f" {len(known) - 1:04}: start a newer version of Kith."
        )
    for migration, row in zip(known, applied, strict=False):
        if (migration.number, migration.name, migration.checksum) != row:
            raise SchemaError(
                f"Migration {migration.number:04}_{migration.name} is not what was applied to this database as"
                f" {row.number:04}_{row.name}: a migration is never changed, add a new one."
            )
