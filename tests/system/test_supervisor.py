"""The supervisor with workers that are small programs: refusing, dying at once, hanging, and not coming up again."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors.clock import SystemClock
from realtime.commands import database, supervise
from realtime.refusal import RefusalError
from realtime.workers import supervisor as supervising
from realtime.workers.supervisor import Supervisor
from realtime.workers.worker import Plan
from tests.system.crew import until

# What a worker says when it is ready, as bytes: these programs import nothing, so that each starts in 20 ms.
READY = r"os.write(int(a['--line']), b'\0\0\0\x0c\x81\xa4type\xa5ready')"
PROGRAM = """
import os, signal, sys, time
a = dict(zip(sys.argv[2::2], sys.argv[3::2]))
with open(sys.argv[1], "a") as notes:
    notes.write(a["--number"] + (" crashed" if "--after-crash" in sys.argv else "") + chr(10))
lives = open(sys.argv[1]).read().count(chr(10))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
"""


class Crew:
    """A supervisor at work, and what its workers wrote down: one line for each start."""

    def __init__(self, notes: Path, text: str, workers: int = 2, program: str = sys.executable) -> None:
        self.notes = notes
        self.notes.touch()
        command = (program, "-S", "-c", PROGRAM + text, str(notes))
        plan = Plan(command=command, environment=dict(os.environ), listeners=(), workers=workers)
        self.supervisor = Supervisor(plan, SystemClock(), after_crash=False)
        self.ready = trio.Event()

    @property
    def starts(self) -> list[str]:
        return self.notes.read_text().splitlines()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.supervisor.run, self.ready.set)
            with trio.fail_after(10):
                await self.ready.wait()
            yield
            nursery.cancel_scope.cancel()


SERVE = f"{READY}\nwhile True: signal.pause()\n"


async def test_workers_live_as_long_as_the_supervisor(tmp_path: Path) -> None:
    crew = Crew(tmp_path / "notes", SERVE)
    async with crew.at_work():
        assert sorted(crew.starts) == ["1", "2"]
    assert crew.supervisor.in_order


async def test_a_refusal_at_the_first_start_is_the_servers_own(tmp_path: Path) -> None:
    crew = Crew(tmp_path / "notes", f"if a['--number'] == '2': sys.exit(1)\n{SERVE}")
    with trio.fail_after(10), pytest.raises(ExceptionGroup) as caught:
        async with crew.at_work():
            raise AssertionError("it said that it is ready")
    assert caught.group_contains(RefusalError, match="did not start")
    assert crew.starts.count("2") == len([line for line in crew.starts if line.startswith("2")]) == 1


async def test_who_is_killed_while_it_starts_is_started_again(tmp_path: Path) -> None:
    first_time = "a['--number'] == '1' and '--after-crash' not in sys.argv"
    crew = Crew(tmp_path / "notes", f"if {first_time}: os.kill(os.getpid(), 9)\n{SERVE}")
    async with crew.at_work():
        assert sorted(crew.starts) == ["1", "1 crashed", "2"]


async def test_a_worker_that_dies_at_once_is_no_busy_loop_and_is_never_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crew = Crew(tmp_path / "notes", f"if a['--number'] == '2' and lives > 2: sys.exit(3)\n{SERVE}")
    async with crew.at_work():
        second = next(w for w in crew.supervisor.living if w.number == 2)
        os.kill(second.pid, signal.SIGKILL)
        await until(lambda: "dies again and again" in caplog.text, "the supervisor to lose its patience")
        starts = len(crew.starts)
        assert starts == 2 + 4
        await trio.sleep(1.0)
        assert len(crew.starts) == starts
        assert [w.number for w in crew.supervisor.living] == [1], "the other one lives"
    assert [line for line in crew.starts if line.startswith("2")] == ["2", *["2 crashed"] * 4]


async def test_a_new_worker_that_does_not_come_up_does_not_cost_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    crew = Crew(tmp_path / "notes", f"if lives > 2: sys.exit(1)\n{SERVE}")
    async with crew.at_work():
        before = {worker.pid for worker in crew.supervisor.living}
        crew.supervisor.roll()
        await until(lambda: "the rolling restart is broken off" in caplog.text, "its end")
        assert {worker.pid for worker in crew.supervisor.living} == before
        assert len(crew.starts) == 3


async def test_a_rolling_restart_is_no_crash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    crew = Crew(tmp_path / "notes", SERVE)
    async with crew.at_work():
        crew.supervisor.roll()
        crew.supervisor.roll()  # the same wish
        await until(lambda: "all workers are new" in caplog.text, "its end")
    assert sorted(crew.starts) == ["1", "1", "2", "2"]
    assert crew.supervisor.in_order


async def test_a_stop_in_the_middle_of_a_rolling_restart_leaves_nobody(tmp_path: Path) -> None:
    crew = Crew(tmp_path / "notes", f"if lives > 2: time.sleep(60)\n{SERVE}")
    async with crew.at_work():
        crew.supervisor.roll()
        await until(lambda: len(crew.starts) == 3, "the new worker")
        living = list(crew.supervisor.living)
    assert len(living) == 3
    assert all(worker.ended.is_set() for worker in living)


async def test_a_worker_that_hangs_for_long_is_killed_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These programs answer no beat at all, so both of them do."""
    monkeypatch.setattr(supervising, "BEAT_EVERY", 0.02)
    crew = Crew(tmp_path / "notes", SERVE)
    async with crew.at_work():
        await until(lambda: crew.starts.count("1 crashed") > 0 and crew.starts.count("2 crashed") > 0, "new ones")
    assert "a worker does not answer" in caplog.text
    assert "a worker hangs and is killed" in caplog.text


async def test_a_worker_that_hangs_before_it_is_ready_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who had been ready was looked after, so such a worker was missing until somebody counted."""
    monkeypatch.setattr(supervising, "BEAT_EVERY", 0.02)
    crew = Crew(tmp_path / "notes", f"if lives == 1: signal.pause()\n{SERVE}", workers=1)
    async with crew.at_work():
        assert crew.starts == ["1", "1 crashed"]


async def test_a_worker_that_cannot_be_started_costs_no_other_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fork that failed (no memory, no descriptor) ended the supervisor, and with it everybody's connections."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o700)
    crew = Crew(tmp_path / "notes", SERVE, program=str(program))
    async with crew.at_work():
        first, second = sorted(crew.supervisor.living, key=lambda worker: worker.number)
        program.rename(tmp_path / "away")
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: caplog.text.count("a worker cannot be started") > 1, "a second attempt")
        crew.supervisor.roll()
        await until(lambda: "the rolling restart is broken off" in caplog.text, "its end")
        assert crew.supervisor.living == {second}
        (tmp_path / "away").rename(program)
        await until(lambda: crew.starts.count("1 crashed") == 1, "the attempt that succeeds")
        assert second in crew.supervisor.living
        assert len(crew.supervisor.living) == 2


async def test_a_first_start_that_fails_is_a_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crew = Crew(tmp_path / "notes", SERVE, program=str(tmp_path / "nothing"))
    with trio.fail_after(10), pytest.raises(RefusalError, match="did not start"):
        await crew.supervisor.run(crew.ready.set)
    assert "a worker cannot be started" in caplog.text


async def test_who_is_started_again_and_renewed_at_once_is_one_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rolling restart came while a dead worker waited for its next life: it got both, and the first of the two served
    beside the other under the same number until the server stopped."""
    caplog.set_level(logging.INFO)
    crew = Crew(tmp_path / "notes", f"if lives > 2: time.sleep(0.6)\n{SERVE}")
    async with crew.at_work():
        for starts in (3, 4):  # the second death is followed by a wait
            one = next(worker for worker in crew.supervisor.living if worker.number == 1)
            os.kill(one.pid, signal.SIGKILL)
            if starts == 3:
                await until(lambda: len(crew.starts) == 3, "its next life")
            await one.ended.wait()
        crew.supervisor.roll()
        await until(lambda: "all workers are new" in caplog.text, "its end")
        assert sorted(worker.number for worker in crew.supervisor.living) == [1, 2]
    assert sorted(crew.starts) == ["1", "1", "1 crashed", "2", "2"]


@pytest.mark.parametrize(
    ("had", "has", "ready", "wish"),
    [
        (False, False, True, "roll"),
        (True, True, True, "roll"),
        (True, False, True, "stop"),
        (False, False, False, "nothing"),
    ],
)
async def test_a_hang_up_means_new_workers_unless_the_terminal_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had: bool, has: bool, ready: bool, wish: str
) -> None:
    wishes: list[str] = []
    crew = Crew(tmp_path / "notes", SERVE)
    monkeypatch.setattr(supervise, "has_terminal", lambda: has)
    monkeypatch.setattr(crew.supervisor, "roll", lambda: wishes.append("roll"))

    async def prepared() -> bool:
        return ready

    async def one_hang_up() -> AsyncIterator[int]:
        yield signal.SIGHUP

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await supervise.hear_hang_ups(one_hang_up(), crew.supervisor, had, prepared)
        with trio.move_on_after(5.0 if wish == "stop" else 0.05):
            async for _ in signals:
                wishes.append("stop")
                break
    assert wishes == ([] if wish == "nothing" else [wish])


async def test_new_workers_find_the_schema_of_their_code(
    raw_database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rolling restart after an upgrade ran new code on the old schema: only a whole start brought migrations."""
    caplog.set_level(logging.INFO)
    assert await supervise.prepared(raw_database_url)
    assert "migrated" in caplog.text
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0)
    assert not await supervise.prepared("postgresql://nobody@127.0.0.1:1/nothing")
    assert "no rolling restart" in caplog.text
