"""The process that hashes passwords: at work, killed at work, and gone with its node."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actors.hashing import FAILED, RIGHT, WRONG, HashWork
from actors.hashing_process import HashingProcess
from actors.hashing_worker import NICENESS

SECONDS = 20.0


def work(password: str, known: str | None = None, memory: int = 8_192) -> HashWork:
    return HashWork(password, known, 1, memory)


@asynccontextmanager
async def running(at_once: int = 2) -> AsyncIterator[HashingProcess]:
    process = HashingProcess(at_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        with trio.fail_after(SECONDS):
            yield process
        nursery.cancel_scope.cancel()


async def until(what: Callable[[], object]) -> None:
    while not what():  # noqa: ASYNC110 - another process decides
        await trio.sleep(0.01)


async def test_it_hashes_and_checks_and_gives_way() -> None:
    async with running() as process:
        hashed = await process(work("correct horse"))  # sent before the process was there
        assert await process(work("correct horse", hashed)) == RIGHT
        assert await process(work("wrong horse", hashed)) == WRONG
        assert await process(work("line\nbreak \x00 \U0001f40e", hashed)) == WRONG
        assert await process(work("anything", "no hash")) == WRONG
        assert process.pid is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == NICENESS


async def test_what_cannot_be_hashed_is_said_and_costs_no_place() -> None:
    """A worker without memory for a hash said nothing: whoever had asked waited for good, and held his place."""
    async with running(at_once=1) as process:
        assert await process(work("correct horse", memory=1 << 60)) == FAILED
        assert await process(work("correct horse")) != FAILED


async def test_what_it_was_doing_when_it_was_killed_is_done_by_the_next_one() -> None:
    async with running() as process:
        hashed = await process(work("correct horse"))
        results: list[str] = []

        async def ask() -> None:
            results.append(await process(work("correct horse", hashed)))

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGSTOP)  # so that it is certainly asked and has certainly not answered
                for _ in range(5):
                    nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked(0.05)
                os.kill(process.pid, signal.SIGKILL)
            await until(lambda: process.pid)
        assert results == [RIGHT] * 15


@pytest.mark.parametrize("rubbish", [b"a library's warning\n", b"\xff\xfe\n", b'{"number": "one"}\n'])
async def test_one_that_answers_rubbish_is_replaced(
    rubbish: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read left `run` as an exception, and ended the node with all its connections."""
    first, real = tmp_path / "first", trio.lowlevel.open_process
    rude = f"""import sys, time
sys.stdin.readline()
sys.stdout.buffer.write({rubbish!r})
sys.stdout.flush()
time.sleep(60)"""

    async def open_process(command: list[str], **options: Any) -> trio.Process:
        if first.exists():
            return await real(command, **options)
        first.touch()
        return await real([sys.executable, "-c", rude], **options)

    monkeypatch.setattr(trio.lowlevel, "open_process", open_process)
    async with running() as process:
        assert await process(work("correct horse")) != FAILED
    assert "the hashing process answers what is no answer" in caplog.text


async def test_who_leaves_costs_no_place() -> None:
    async with running(at_once=1) as process:
        hashed = await process(work("correct horse"))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(process, work("correct horse", hashed))
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
        os.kill(process.pid, signal.SIGCONT)
        assert await process(work("correct horse", hashed)) == RIGHT


async def test_half_an_errand_spoils_no_other_one() -> None:
    """Who left while the pipe was full left half a line in it, and the next one, glued to it, was never answered."""
    async with running(at_once=100) as process:
        hashed = await process(work("correct horse"))
        stopped = process.pid
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(process, work("\x01" * 1_024, hashed))  # 6 KB: no more than 4 go whole
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped, signal.SIGCONT)
        with trio.fail_after(5):
            assert await process(work("correct horse", hashed)) == RIGHT


async def test_it_is_ours_wherever_the_server_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "actors.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)
    async with running() as process:
        with trio.fail_after(5):
            assert await process(work("correct horse"))


async def test_it_goes_with_its_node() -> None:
    async with running() as process:
        await process(work("correct horse"))
        pid = process.pid
    assert pid is not None
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
