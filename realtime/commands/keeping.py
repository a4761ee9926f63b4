"""Starting the embedded servers again after somebody killed them, as an operator's init would."""

import logging
from typing import Final, Protocol

import trio

from storage.embedded.errors import EmbeddedError

log = logging.getLogger("kith.serve")

WATCH_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0


class Kept(Protocol):
    """A server that was started beside the node."""

    def is_alive(self) -> bool: ...

    def revive(self) -> None: ...


async def keep_postgres(cluster: Kept) -> None:
    """For ever. Its recovery takes as long as it takes, in a thread of its own."""
    while True:
        await trio.sleep(WATCH_SECONDS)
        if cluster.is_alive():
            continue
        log.error("PostgreSQL has gone and is started again")
        try:
            # Not abandoned on cancel: a half-started PostgreSQL could not be stopped afterwards.
            await trio.to_thread.run_sync(cluster.revive)
        except (EmbeddedError, OSError) as error:  # OSError: no process, no memory, no room on the disk
            log.error("PostgreSQL does not come back", extra={"reason": str(error)})


async def keep_bus(bus: Kept) -> None:
    """For ever, ever less often while it does not stay: without it the workers hear of each other by the sweep."""
    wait = WATCH_SECONDS
    while True:
        await trio.sleep(wait)
        if bus.is_alive():
            wait = WATCH_SECONDS
            continue
        log.error("Valkey has gone and is started again")
        try:
            bus.revive()
        except OSError as error:  # no memory, no descriptor: a later try may find some
            log.error("Valkey does not come back", extra={"reason": str(error)})
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)
