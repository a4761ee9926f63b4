"""Errors of a flush that are no row's by their class: some are the world's and pass, some follow from what is sent."""

import logging
from collections.abc import AsyncIterator

import pytest
import trio

from actors.ports import Committed, Poisoned
from actors.shapes.ids import UserId
from actors.shapes.times import Seconds
from storage.database_errors import RowRefusedError, StatementFailedError
from storage.journal import sender
from storage.journal.counters import JournalCounters
from storage.journal.journal import PostgresJournal
from storage.journal.statement import flush_of
from storage.node import begin_incarnation
from storage.postgres import Statements, open_postgres
from tests.clocks import HandClock
from tests.storage.test_journal_postgres import Appended, until
from tests.storage.worlds import PostgresWorld, add_user, batch, begin_dialogue, birth, message, new_id


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def one_lane(
    database_url: str, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresWorld]:
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(sender, "LONGEST_PAUSE", 0.01)
    async with open_postgres(database_url) as postgres, trio.open_nursery() as nursery:
        journal = PostgresJournal([postgres.dedicated()], await begin_incarnation(postgres, "n"), clock)
        await nursery.start(journal.run)
        yield PostgresWorld(postgres, journal)
        await journal.aclose(Seconds(1.0))


async def refuse(world: PostgresWorld, sqlstate: str) -> None:
    """From now on the server fails with this whenever the message `guilty` is stored."""

    async def work(statements: Statements) -> None:
        await statements.execute(
            "create or replace function fail() returns trigger language plpgsql as"
            f" $$ begin raise exception 'it fails' using errcode = '{sqlstate}'; end $$"
        )
        await statements.execute(
            "create trigger fails before insert on messages for each row when (new.body = 'guilty')"
            " execute function fail()"
        )

    await world.postgres.transaction(work)


@pytest.mark.parametrize("sqlstate", ["54000", "P0001", "XX000"])
async def test_a_unit_the_server_fails_at_is_found_and_the_others_are_stored(
    one_lane: PostgresWorld, sqlstate: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It was repeated for ever: nobody on that lane got an answer any more."""
    talks = [await begin_dialogue(one_lane, str(number)) for number in range(6)]
    await refuse(one_lane, sqlstate)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            appended = Appended(nursery, one_lane)
            for number, talk in enumerate(talks):
                text = "guilty" if number == 4 else "innocent"
                appended.add(str(number), batch(talk.id, 1, [message(talk.id, talk.a, 1, 2, text)]))
        assert appended.results.pop("4") == Poisoned(sqlstate)
        assert set(appended.results.values()) == {Committed()}
        assert [len(await one_lane.stored(talk.id)) for talk in talks] == [1, 1, 1, 1, 0, 1]
        assert await talks[4].say("again") == Committed()
    assert not one_lane.journal.troubled
    assert one_lane.journal.counters.poisoned == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors
    assert all("gives up" in text and sqlstate in text for text in errors)


async def test_a_passing_error_costs_nobody_his_message(one_lane: PostgresWorld) -> None:
    """As often as it may be repeated, and no more: a sequence counts, which no rollback takes back."""
    talk = await begin_dialogue(one_lane)

    async def work(statements: Statements) -> None:
        await statements.execute("create sequence attempts")
        await statements.execute(
            "create function fail() returns trigger language plpgsql as $$ begin"
            f" if nextval('attempts') <= {sender.REPEATS_BEFORE_BLAME} then raise exception using errcode = 'XX000';"
            " end if; return new; end $$"
        )
        await statements.execute("create trigger fails before insert on messages for each row execute function fail()")

    await one_lane.postgres.transaction(work)
    assert await talk.say("hello") == Committed()
    assert one_lane.journal.counters.retries == sender.REPEATS_BEFORE_BLAME


async def test_a_flush_whose_answer_was_lost_is_blamed_only_if_it_left_no_receipt(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        a = UserId(new_id())
        await add_user(postgres, a, "anna")
        identity = await begin_incarnation(postgres, "n")
        stored, unsent = (flush_of(identity, [birth(a, type="group", id=new_id())]) for _ in range(2))
        line = postgres.dedicated()
        one = sender.Sender(line, JournalCounters(), HandClock())
        assert await one.send(stored) == sender.Written([])
        error = StatementFailedError("XX000", "it fails")
        proved = await one._blame(stored, error, True)
        assert (proved.lost, len(proved.won or ())) == (None, 1)
        with pytest.raises(RowRefusedError):
            await one._blame(unsent, error, True)
        line.terminate()


@pytest.mark.parametrize("sqlstate", ["53100", "25006", "40001", "55P03"])
async def test_what_is_the_worlds_fault_is_repeated_until_it_passes_and_told_once_a_minute(
    one_lane: PostgresWorld, clock: HandClock, sqlstate: str, caplog: pytest.LogCaptureFixture
) -> None:
    talk = await begin_dialogue(one_lane)
    await refuse(one_lane, sqlstate)
    journal = one_lane.journal

    def warnings() -> int:
        return sum("will repeat its flush" in record.getMessage() for record in caplog.records)

    async with trio.open_nursery() as nursery:
        appended = Appended(nursery, one_lane)
        appended.add("it", batch(talk.id, 1, [message(talk.id, talk.a, 1, 2, "guilty")]))
        await until(lambda: journal.counters.retries > 2 * sender.REPEATS_BEFORE_BLAME, "many repeats")
        assert (appended.results, journal.troubled, warnings()) == ({}, True, 1)
        clock.seconds += 61
        await until(lambda: warnings() == 2, "the second warning")
        seen = journal.counters.retries
        await until(lambda: journal.counters.retries > seen + 5, "more repeats")
        assert warnings() == 2
        await one_lane.postgres.execute("drop trigger fails on messages")
    assert appended.results == {"it": Committed()}
    assert not journal.troubled
