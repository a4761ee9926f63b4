"""The schema moves forward only, once, and never behind anybody's back."""

import shutil
from pathlib import Path

import pytest
import trio

from storage.database_errors import SchemaError
from storage.migrator import FOLDER, migrate, migrations, schema_problem
from storage.postgres import Statements, run_once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The real migrations, where a test may change them."""
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations"))


async def problem(url: str, folder: Path) -> str | None:
    async def ask(database: Statements) -> str | None:
        return await schema_problem(database, folder)

    return await run_once(url, ask)


def add(folder: Path, name: str, sql: str) -> None:
    (folder / name).write_text(sql)


async def test_all_are_applied_once(raw_database_url: str) -> None:
    assert await problem(raw_database_url, FOLDER) == "The database has no schema yet: run `kith migrate`."
    applied = await migrate(raw_database_url)
    assert applied[:2] == ["0000_create_journal", "0001_create_users"]
    assert len(applied) == len(migrations())
    assert await migrate(raw_database_url) == []
    assert await problem(raw_database_url, FOLDER) is None


async def test_nodes_may_start_together(raw_database_url: str) -> None:
    done: list[list[str]] = []

    async def start() -> None:
        done.append(await migrate(raw_database_url))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(start)
    assert sorted(map(len, done)) == [0, 0, 0, 0, len(migrations())]


async def test_a_newer_schema_is_refused(database_url: str, folder: Path) -> None:
    last = migrations()[-1]
    future = f"{last.number + 1:04}_from_the_future"
    add(folder, f"{future}.sql", "create table future (id int)")
    assert await problem(database_url, folder) == f"The schema lacks {future}: run `kith migrate`."
    assert await migrate(database_url, folder) == [future]
    with pytest.raises(SchemaError, match=rf"has {future}.*its last is {last.title}.*newer version"):
        await migrate(database_url)
    told = await problem(database_url, FOLDER)
    assert told is not None
    assert "newer version" in told


async def test_a_gap_may_be_filled_later(raw_database_url: str, folder: Path) -> None:
    """Numbers are given out before their features are built; whoever comes late need not renumber."""
    last = migrations()[-1]
    add(folder, f"{last.number + 2:04}_early.sql", "create table early (id int)")
    await migrate(raw_database_url, folder)
    add(folder, f"{last.number + 1:04}_late.sql", "create table late (id int)")
    assert await problem(raw_database_url, folder) == f"The schema lacks {last.number + 1:04}_late: run `kith migrate`."
    assert await migrate(raw_database_url, folder) == [f"{last.number + 1:04}_late"]
    assert await problem(raw_database_url, folder) is None


async def test_a_changed_migration_is_refused(database_url: str, folder: Path) -> None:
    path = folder / "0001_create_users.sql"
    path.write_text(path.read_text() + "\n-- a harmless remark\n")
    with pytest.raises(SchemaError, match=r"0001_create_users is not what was applied"):
        await migrate(database_url, folder)


async def test_a_failing_migration_leaves_no_trace_and_can_be_mended(raw_database_url: str, folder: Path) -> None:
    number = migrations()[-1].number + 1
    name = f"{number:04}_half.sql"
    add(folder, name, "create table half (id int); select 1 / 0")
    with pytest.raises(Exception, match="22012"):
        await migrate(raw_database_url, folder)
    assert await problem(raw_database_url, FOLDER) is None
    add(folder, name, "create table half (id int)")
    assert await migrate(raw_database_url, folder) == [f"{number:04}_half"]


@pytest.mark.parametrize("name", ["5_wrong.sql", "0001_another_first.sql"])
def test_a_strange_name_and_a_number_given_twice_are_refused(folder: Path, name: str) -> None:
    add(folder, name, "select 1")
    with pytest.raises(SchemaError):
        migrations(folder)


async def test_no_durable_table_is_unlogged(database_url: str) -> None:
    """An UNLOGGED table is empty after a crash: everything acknowledged in it would be gone."""

    async def ask(database: Statements) -> tuple[list[str], list[str]]:
        tables = "select relname::text from pg_class join pg_namespace n on n.oid = relnamespace"
        tables += " where relkind in ('r', 'p') and nspname = 'public'"
        return await database.fetch(str, tables), await database.fetch(str, tables + " and relpersistence <> 'p'")

    every, unlogged = await run_once(database_url, ask)
    assert {"messages", "conversations", "flushes", "users", "sessions", "blocks"} <= set(every)
    assert unlogged == []


async def test_replayed_rows_say_which_transaction_changed_them(database_url: str) -> None:
    async def ask(database: Statements) -> list[str]:
        return await database.fetch(
            str,
            "select table_name::text from information_schema.columns"
            " where column_name = 'changed_xid' and udt_name = 'xid8' and is_nullable = 'NO'",
        )

    replayed = {"users", "conversations", "conversation_members", "messages", "stories", "follows"}
    assert set(await run_once(database_url, ask)) == replayed
