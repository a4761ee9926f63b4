"""Flushes past the driver: the same answers, errors and ends as through it, and the driver's own calls in between."""

import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from storage.database_errors import DatabaseAwayError, RowRefusedError, StatementFailedError
from storage.direct_line import DirectLine, LineLostError, Refusal
from storage.postgres import Dedicated, open_postgres

TWO = "select x::text, $2::text from generate_series(1, $1::bigint) x"


@pytest.fixture
async def line(raw_database_url: str) -> AsyncIterator[Dedicated]:
    async with open_postgres(raw_database_url, 2) as postgres:
        line = postgres.dedicated()
        await line.connect()
        yield line
        line.terminate()


def pair(left: str, right: str) -> tuple[str, str]:
    return left, right


async def test_a_flush_answers_as_a_fetch_does(line: Dedicated) -> None:
    for number, text in ((0, "none"), (3, "ünïcödé \U0001f600"), (20_000, "more than one read holds")):
        expected = [(str(x + 1), text) for x in range(number)]
        assert await line.flush(pair, TWO, (number, text)) == expected
        assert await line.fetch(pair, TWO, (number, text)) == expected, "the driver reads again in between"


async def test_a_large_value_goes_out_in_as_many_writes_as_it_takes(line: Dedicated) -> None:
    text = "x" * 20_000_000
    [(_, back)] = await line.flush(pair, "select '', length($1::text)::text", (text,))
    assert back == "20000000"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select (1 / ($1::int - 1))::text, ''", RowRefusedError),
        ("select set_config('no.such' || chr($1::int), '', false), 1 / 0 from no_such_table", None),
    ],
)
async def test_errors_are_told_by_fault_and_the_line_goes_on(
    line: Dedicated, sql: str, expected: type[Exception] | None
) -> None:
    with pytest.raises(expected or StatementFailedError):
        await line.flush(pair, sql, (1,))
    assert await line.flush(pair, TWO, (1, "still here")) == [("1", "still here")]


async def test_a_constraint_is_named(line: Dedicated) -> None:
    await line.fetch(pair, "create table once (id text constraint only_once primary key)", ())
    sql = "with i as (insert into once values ($1::text)) select '', ''"
    await line.flush(pair, sql, ("a",))
    with pytest.raises(RowRefusedError) as refused:
        await line.flush(pair, sql, ("a",))
    assert (refused.value.sqlstate, refused.value.constraint) == ("23505", "only_once")


async def test_a_connection_that_the_server_ends_is_away_and_can_be_opened_anew(line: Dedicated) -> None:
    with pytest.raises(DatabaseAwayError):
        await line.flush(pair, "select pg_terminate_backend(pg_backend_pid())::text, $1::text", ("",))
    assert not line.connected
    with pytest.raises(DatabaseAwayError):
        await line.flush(pair, TWO, (1, ""))
    await line.connect()
    assert await line.flush(pair, TWO, (1, "again")) == [("1", "again")]


async def test_ending_the_line_wakes_whoever_waits_for_its_answer(line: Dedicated) -> None:
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(DatabaseAwayError):
                await line.flush(pair, "select pg_sleep(30)::text, $1::text", ("",))

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        line.terminate()


SERVER_ANSWERS = [
    (b"2\x00\x00\x00\x04C\x00\x00\x00\x0dSELECT 0\x00Z\x00\x00\x00\x05I", []),
    (b"N\x00\x00\x00\x05\x00S\x00\x00\x00\x08a\x00b\x00A\x00\x00\x00\x0a1234a\x00Z\x00\x00\x00\x05I", []),
    (b"D\x00\x00\x00\x0c\x00\x01\x00\x00\x00\x02hiZ\x00\x00\x00\x05I", [("hi",)]),
    (b"E\x00\x00\x00\x0fC23505\x00nk\x00\x00Z\x00\x00\x00\x05I", Refusal("23505", "k", "")),
]


@pytest.mark.parametrize(("said", "expected"), SERVER_ANSWERS)
async def test_an_answer_may_come_in_any_pieces(said: bytes, expected: object) -> None:
    for cut in range(1, len(said)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            direct = DirectLine(ours)
            async with trio.open_nursery() as nursery:

                async def ask(direct: DirectLine = direct) -> None:
                    assert await direct.execute("s", ("v", 1)) == expected

                nursery.start_soon(ask)
                theirs.send(said[:cut])
                await trio.testing.wait_all_tasks_blocked()
                theirs.send(said[cut:])


@pytest.mark.parametrize("said", [b"", b"Z\x00", b"X\x00\x00\x00\x04", b"D\x00\x00\x00\x0a\x00\x01\xff\xff\xff\xff"])
async def test_what_is_cut_off_or_not_understood_is_lost(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(LineLostError):
            await DirectLine(ours).execute("s", ())


async def test_an_answer_that_was_given_up_is_never_taken_for_the_next(line: Dedicated) -> None:
    with trio.move_on_after(0.05):
        await line.flush(pair, "select pg_sleep(0.3)::text, $1::text", ("one",))
    with pytest.raises(DatabaseAwayError):
        await line.flush(pair, TWO, (1, "two"))
    await line.connect()
    assert await line.flush(pair, TWO, (1, "three")) == [("1", "three")]


async def test_what_comes_behind_an_answer_belongs_to_the_next() -> None:
    """Part of a notice in the same read used to be thrown away; what followed could not be understood any more."""
    ready = b"Z\x00\x00\x00\x05I"
    notice = b"N\x00\x00\x00\x05\x00"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        direct = DirectLine(ours)
        theirs.send(ready + notice[:3])
        assert await direct.execute("s", ()) == []
        theirs.send(notice[3:] + ready)
        assert await direct.execute("s", ()) == []
