"""The doctor names what would break and is silent about what would not."""

import resource
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from realtime.commands import database
from realtime.commands.database import bring_up_to_date
from realtime.commands.database_facts import DatabaseFacts, ServerFacts, database_facts
from realtime.commands.doctor import Report, doctor, judge, machine
from realtime.settings import Settings, load_settings
from storage.database_errors import DatabaseAwayError

SOUND = ServerFacts("18.4", 18, "UTF8", True, True, "on", 100)


def found(
    settings: Settings, server: ServerFacts = SOUND, clock_offset_ms: int = 0, schema: str | None = None
) -> Report:
    report = Report()
    judge(DatabaseFacts(server, clock_offset_ms, schema), settings, report)
    return report


def test_a_sound_database_gets_no_word() -> None:
    report = found(load_settings({}), SOUND, 999, "The database has no schema yet: run `kith migrate`.")
    assert (report.problems, report.notes) == ([], [])


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        (replace(SOUND, fsync=False), "fsync is off: a power cut can take back what was acknowledged."),
        (replace(SOUND, full_page_writes=False), "full_page_writes is off"),
        (replace(SOUND, major=14, version="14.1"), "PostgreSQL 14.1 is too old; Kith needs 15."),
        (replace(SOUND, encoding="SQL_ASCII"), "encoded in SQL_ASCII and must be in UTF8"),
        (replace(SOUND, max_connections=25), "DATABASE_POOL_MAX is 25 and the server takes 25."),
    ],
)
def test_what_would_break_is_named(server: ServerFacts, sentence: str) -> None:
    (problem,) = found(load_settings({}), server).problems
    assert sentence in problem


def test_a_schema_from_the_future_would_break() -> None:
    assert found(load_settings({}), schema="start a newer version of Kith.").problems


def test_what_the_operator_accepted_and_a_wrong_clock_are_notes() -> None:
    report = found(load_settings({"UNSAFE_DURABILITY": "yes"}), replace(SOUND, fsync=False), -90_000)
    assert report.problems == []
    assert [note.split()[0] for note in report.notes] == ["fsync", "this"]
    assert "-90000 ms" in report.notes[1]


def test_more_connections_than_descriptors_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    report = Report()
    machine(load_settings({"KITH_VAR": str(tmp_path)}), report)
    (note,) = report.notes
    assert "4096 descriptors leave room for 3584" in note


async def test_a_real_database_answers_about_itself(database_url: str) -> None:
    facts = await database_facts(database_url)
    assert facts.schema_problem is None
    assert (facts.server.fsync, facts.server.full_page_writes, facts.server.encoding) == (True, True, "UTF8")
    assert abs(facts.clock_offset_ms) < 1_000


def test_all_of_it(raw_database_url: str, tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"DATABASE_URL": raw_database_url, "KITH_VAR": str(tmp_path), "PORT": "0"}
    assert doctor(load_settings(given)) == 0
    said = capsys.readouterr().out
    assert "Nothing would break." in said
    for line in ("registrations", "fails closed; 50% full after a crash", "fsync", "descriptors", "JWT_SECRET"):
        assert line in said
    assert raw_database_url not in said


def test_a_database_that_is_not_there_is_a_problem_and_the_rest_is_still_said(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/none", "KITH_VAR": f"{tmp_path}/var", "PORT": "0"}
    assert doctor(load_settings(given)) == 1
    said = capsys.readouterr().out
    assert "Would break: " in said
    assert "Limits" in said


async def test_a_database_that_comes_up_late_is_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    async def migrate(url: str) -> list[str]:
        tries.append(trio.current_time())
        if len(tries) < 4:
            raise DatabaseAwayError("connection refused")
        return ["0001_create_users"]

    monkeypatch.setattr(database, "migrate", migrate)
    assert await bring_up_to_date("postgresql://late/kith") == ["0001_create_users"]
    assert tries[-1] - tries[0] == pytest.approx(3.0)


async def test_a_database_that_never_comes_up_is_reported(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def migrate(url: str) -> list[str]:
        raise DatabaseAwayError("connection refused")

    monkeypatch.setattr(database, "migrate", migrate)
    with pytest.raises(DatabaseAwayError):
        await bring_up_to_date("postgresql://never/kith")
