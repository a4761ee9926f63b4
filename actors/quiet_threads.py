"""A few threads for work that may take its time: they give way to the event loop whenever it wants the core."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import trio

T = TypeVar("T")

# Linux keeps a niceness per thread. At 15 a thread gets 3 % of a core that the loop wants whole, and all of an idle
# one. A thread of trio's own pool could not be made nice, because it could never be made eager again for other work.
NICENESS: Final = 15


class QuietThreads:
    """So many at a time. Who is cancelled while he waits leaves the queue; work that has begun is finished, unheard."""

    def __init__(self, count: int, name: str) -> None:
        self._room = trio.CapacityLimiter(count)
        self._pool = ThreadPoolExecutor(count, name, initializer=_step_back)

    async def run(self, work: Callable[[], T]) -> T:
        loop = trio.lowlevel.current_trio_token()
        done = trio.Event()

        def tell(_: Future[Any]) -> None:
            with contextlib.suppress(trio.RunFinishedError):  # the loop has ended, and with it whoever asked
                loop.run_sync_soon(done.set)

        # On behalf of this very work, as trio does it for its own threads: the room is free when the thread is, which
        # may be after whoever asked has gone.
        borrower = object()
        await self._room.acquire_on_behalf_of(borrower)
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._leave(loop, borrower))
        future.add_done_callback(tell)
        try:
            await done.wait()
        except trio.Cancelled:
            future.cancel()
            raise
        return future.result()

    def _leave(self, loop: trio.lowlevel.TrioToken, borrower: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            loop.run_sync_soon(self._room.release_on_behalf_of, borrower)


def _step_back() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it; then hashing is as eager as everything else
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
