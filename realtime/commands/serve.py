"""`kith serve`: takes lock and port, brings up the database, runs the node or its workers, and ends all in order."""

import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial

import msgspec
import trio

from realtime.commands.database import bring_up_to_date, embedded
from realtime.commands.keeping import keep_postgres
from realtime.commands.stopping import (
    SIGNALS,
    StopRequestedError,
    deliver_signals,
    ignore_signals,
    leave_at_once,
    signals_kept,
    stop_raises,
    watch,
)
from realtime.commands.supervise import supervise
from realtime.env_file import scan_env_file, unknown_names
from realtime.listeners import base_url, open_listeners
from realtime.node_lock import NodeLock
from realtime.secret import settle_secret
from realtime.settings import CHECKOUT, Settings
from realtime.var_folder import prepare_var
from storage.embedded.cluster import Cluster
from storage.embedded.valkey import Valkey

log = logging.getLogger("kith.serve")


def serve(settings: Settings) -> int:
    """Run until a signal asks to stop; 0 when the stop was in order."""
    for sentence in unknown_names(scan_env_file(CHECKOUT / ".env")[0]):
        log.warning(sentence)
    with ExitStack() as stack:
        stack.enter_context(stop_raises())
        try:
            return assemble(settings, stack)
        except StopRequestedError as stop:
            log.info("stopped before it was ready", extra={"signal": str(stop)})
            return 0
        finally:
            # What is left are PostgreSQL's shutdown and the files, each with a bound of its own.
            ignore_signals()
            stack.close()


def assemble(settings: Settings, stack: ExitStack) -> int:
    """In the order of what is cheapest to refuse: folder, lock, port, and only then the database."""
    prepare_var(settings.var)
    lock = stack.enter_context(NodeLock(settings.var))
    settings = settle_secret(settings)
    listeners = [stack.enter_context(closing(listener)) for listener in open_listeners(settings.host, settings.port)]
    cluster = None
    if not settings.database_url:
        cluster = stack.enter_context(embedded(settings))
        settings = msgspec.structs.replace(settings, database_url=cluster.uri)
    url = base_url(listeners)

    def ready() -> None:
        try:
            lock.note(url)
        except OSError as error:
            # A full disk: it serves, and only commands that look for it by its lock do not learn where.
            log.error("the lock does not say where the server is", extra={"reason": error.strerror})
        # The one line of stdout; whoever started us may have closed the other end.
        with contextlib.suppress(OSError):
            print(f"Kith is ready: {url}", flush=True)
        log.info("ready", extra={"url": url})

    if settings.kith_workers > 1:
        return with_workers(settings, stack, listeners, cluster, ready)
    # Imported only now: it pulls in every part of a node, which a refusal need not wait for.
    from realtime.main import serve as serve_node

    with signals_kept():
        trio.run(run_node, settings, cluster, partial(serve_node, settings, listeners, ready))
    return 0


def with_workers(
    settings: Settings,
    stack: ExitStack,
    listeners: Sequence[socket.socket],
    cluster: Cluster | None,
    ready: Callable[[], None],
) -> int:
    """The node is several processes, and this one starts them; they need a bus between them."""
    bus = None
    if not settings.redis:
        bus = Valkey(settings.var, report=log.info)
        stack.callback(bus.stop)
        bus.start()
        settings = msgspec.structs.replace(settings, redis_url=bus.url)
    with signals_kept():
        trio.run(supervise, settings, listeners, ready, cluster, bus)
    return 0


async def run_node(settings: Settings, cluster: Cluster | None, node: Callable[[], Awaitable[None]]) -> None:
    """The node beside the two that watch over it: the signals, and the life of the embedded PostgreSQL."""

    def in_haste() -> None:
        if cluster is not None:
            cluster.stop()
        leave_at_once()

    async with trio.open_nursery() as watchers:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            deliver_signals()
            with trio.CancelScope() as life:
                watchers.start_soon(watch, signals, life.cancel, in_haste)
                for name in await bring_up_to_date(settings.database_url):
                    log.info("migrated", extra={"migration": name})
                if cluster is not None:
                    watchers.start_soon(keep_postgres, cluster)
                await node()
            watchers.cancel_scope.cancel()
