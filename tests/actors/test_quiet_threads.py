"""Threads that give way: how eager they are, how many work at once, and what becomes of those who leave."""

import os
import sys
import threading

import pytest
import trio
import trio.testing

from actors.quiet_threads import NICENESS, QuietThreads


async def test_work_is_done_elsewhere_and_its_outcome_comes_back() -> None:
    threads = QuietThreads(1, "quiet")
    assert await threads.run(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 7) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness per thread")
async def test_its_threads_are_nice_and_no_others() -> None:
    threads = QuietThreads(2, "quiet")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert await threads.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == NICENESS
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert await trio.to_thread.run_sync(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == before


async def test_who_leaves_frees_his_place_in_the_queue_at_once_and_his_thread_when_it_is_done() -> None:
    threads, gate, began = QuietThreads(1, "quiet"), threading.Event(), trio.Event()
    loop = trio.lowlevel.current_trio_token()
    ran: list[str] = []

    def slow() -> None:
        loop.run_sync_soon(began.set)
        gate.wait(10)
        ran.append("slow")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, slow)
        await began.wait()
        nursery.start_soon(threads.run, lambda: ran.append("never"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    gate.set()
    assert await threads.run(lambda: "next") == "next"
    assert ran == ["slow"]
