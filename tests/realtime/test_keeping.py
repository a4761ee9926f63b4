"""Embedded servers are started again however often that fails: the node goes on without them."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from realtime.commands.keeping import Kept, keep_bus, keep_postgres
from storage.embedded.errors import EmbeddedPostgresError


class Server:
    """Away, and coming back when the last of its failures is behind it."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.back = trio.Event()

    def is_alive(self) -> bool:
        return self.back.is_set()

    def revive(self) -> None:
        if self.failures:
            raise self.failures.pop()
        if trio.lowlevel.in_trio_run():
            self.back.set()
        else:
            trio.from_thread.run_sync(self.back.set)


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("keep", "failure"),
    [(keep_postgres, FULL), (keep_postgres, EmbeddedPostgresError("It does not answer.")), (keep_bus, FULL)],
)
async def test_a_start_that_fails_is_tried_again(
    keep: Callable[[Kept], Awaitable[None]],
    failure: Exception,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A full disk, at the moment in which PostgreSQL had to be started again, ended the node and all its workers."""
    server = Server([failure, failure])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, server)
        await server.back.wait()
        nursery.cancel_scope.cancel()
    assert caplog.text.count("does not come back") == 2
