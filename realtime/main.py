"""Runs a node and ends it in order; together with realtime/assembly/ the only code that may import everything."""

import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

import trio

from actors.shapes.errors import KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds
from actors.shapes.users import EndLogins
from realtime.assembly.core import OWN_LINES
from realtime.assembly.node import Node, assemble
from realtime.departure import say_goodbye
from realtime.last_stop import note_order
from realtime.settings import Settings
from realtime.workers.crew import Crew
from storage.durability import check_durability
from storage.epoch import database_now
from storage.flush_retention import forget_old_flushes
from storage.idempotency_keys import forget_old_keys
from storage.node_retention import forget_gone_nodes
from storage.postgres import open_postgres

log = logging.getLogger("kith.node")

STOP_SECONDS: Final = Seconds(9.0)  # of the ten that whoever asked us to stop waits before he kills
CLOCK_EVERY: Final = Seconds(10.0)


async def serve(
    settings: Settings, listeners: list[socket.socket], ready: Callable[[], None], crew: Crew | None = None
) -> None:
    """Run until cancelled; then stop accepting, let the clients go, finish what is in hand, flush, close."""
    async with trio.open_nursery() as watchers:
        asked = trio.Event()
        watchers.start_soon(_notice_cancellation, asked)
        # Shielded, because a cancellation would cut every actor off in the middle of its batch: the node hears that it
        # is to stop, and each step of the stop has a deadline of its own.
        with trio.CancelScope(shield=True):
            async with open_postgres(settings.database_url, settings.database_pool_max - OWN_LINES) as postgres:
                await check_durability(postgres, unsafe=settings.unsafe_durability)
                await _live(await assemble(settings, postgres, crew), listeners, ready, asked)
        watchers.cancel_scope.cancel()


async def _notice_cancellation(asked: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        asked.set()


async def _live(node: Node, listeners: Sequence[socket.socket], ready: Callable[[], None], asked: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(node.core.journal.run)
        nursery.start_soon(node.population.heads.run)
        nursery.start_soon(node.population.profiles.run)
        nursery.start_soon(node.population.readers.run)
        await nursery.start(node.population.system.run)
        nursery.start_soon(node.core.limiter.run)
        nursery.start_soon(node.core.hashing.run)
        nursery.start_soon(_keep_time, node)
        nursery.start_soon(node.core.notes.run)
        nursery.start_soon(_watch_revocations, node)
        nursery.start_soon(forget_old_flushes, node.core.postgres)
        nursery.start_soon(forget_old_keys, node.core.postgres, node.core.clock)
        nursery.start_soon(forget_gone_nodes, node.core.postgres)
        await nursery.start(node.population.sweep.run)
        if node.core.bus is not None:
            nursery.start_soon(node.core.bus.run)
        await nursery.start(node.gateway.serve, listeners)
        _settle_memory()
        node.serving.set()
        ready()
        await asked.wait()
        await _stop(node)
        nursery.cancel_scope.cancel()


async def _stop(node: Node) -> None:
    """In the order in which work flows: what has begun is finished, committed and sent before its way is closed."""
    begun = perf_counter()
    node.stopping.set()
    if node.core.crew is not None:
        await node.gateway.hand_over(STOP_SECONDS * 0.1)
    node.gateway.stop_accepting()
    with trio.move_on_after(STOP_SECONDS * 0.25):
        await say_goodbye(node.gateway, Seconds(STOP_SECONDS * 0.2))
    await node.population.system.stop(within=Seconds(STOP_SECONDS * 0.25))
    await node.core.journal.aclose(Seconds(STOP_SECONDS * 0.2))
    with trio.move_on_after(STOP_SECONDS * 0.05), contextlib.suppress(KithError):
        await node.core.notes.flush()
    await node.gateway.aclose(STOP_SECONDS * 0.1)
    if node.core.crew is None:
        note_order(node.core.settings.var)
    log.info("stopped", extra={"seconds": round(perf_counter() - begun, 2)})


def _settle_memory() -> None:
    """What a node is made of lives as long as it does: the collector need not look at it, nor look so often at all.

    With Python's own thresholds the collector took 7 % of a core at 10,000 messages a second and found nothing: what a
    message leaves behind is freed by its reference count.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _keep_time(node: Node) -> None:
    """Wall time is PostgreSQL's; while it is away the last offset holds."""
    while True:
        asked_at = node.core.clock.monotonic()
        try:
            node.core.clock.correct(await database_now(node.core.postgres), asked_at)
        except Exception as error:
            log.warning("the database did not tell the time", extra={"error": type(error).__name__})
        await trio.sleep(CLOCK_EVERY)


async def _watch_revocations(node: Node) -> None:
    def tell(user: UserId, login: LoginId) -> None:
        node.population.users.must_tell(user, EndLogins((login,)))

    await node.core.revocations.watch(node.core.accounts, tell)
