"""`kith serve --workers N`: the supervisor's process, which has the port, the database and the signals: no client."""

import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import trio

from actors.clock import SystemClock
from realtime.commands.database import bring_up_to_date
from realtime.commands.keeping import keep_bus, keep_postgres
from realtime.commands.stopping import STOP_SIGNALS, deliver_signals, leave_at_once, watch
from realtime.last_stop import crashed_before, note_order
from realtime.settings import Settings, given_settings
from realtime.workers.supervisor import Supervisor
from realtime.workers.worker import Plan
from storage.database_errors import DatabaseError
from storage.embedded.cluster import Cluster
from storage.embedded.valkey import Valkey

log = logging.getLogger("kith.supervisor")


def plan_of(settings: Settings, listeners: Sequence[socket.socket]) -> Plan:
    """Workers are given what this process was given when it started, also those that start much later: two workers
    that differ in a setting would be two truths behind one port."""
    ours = {
        "KITH_WORKERS": str(settings.kith_workers),
        "KITH_NODE": settings.kith_node,
        "KITH_VAR": str(settings.var),
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis,
        "JWT_SECRET": settings.jwt_secret,
        "UNSAFE_DURABILITY": "yes" if settings.unsafe_durability else "no",
    }
    isolated = ["-I"] if sys.flags.isolated else []
    return Plan(
        command=(sys.executable, *isolated, "-m", "realtime.cli", "serve-worker"),
        environment={**os.environ, **given_settings(), **ours},
        listeners=tuple(listener.fileno() for listener in listeners),
        workers=settings.kith_workers,
    )


async def supervise(
    settings: Settings,
    listeners: Sequence[socket.socket],
    ready: Callable[[], None],
    cluster: Cluster | None,
    bus: Valkey | None,
) -> None:
    """Until a signal asks to stop; what was embedded is stopped by the caller, after the last worker."""
    had_terminal = has_terminal()
    supervisor: Supervisor | None = None

    def in_haste() -> None:
        if supervisor is not None:
            supervisor.kill_all()
        for embedded in (bus, cluster):
            if embedded is not None:
                embedded.stop()
        leave_at_once()

    async with trio.open_nursery() as watchers:
        with trio.open_signal_receiver(*STOP_SIGNALS) as signals, trio.open_signal_receiver(signal.SIGHUP) as hang_ups:
            deliver_signals()
            with trio.CancelScope() as life:
                watchers.start_soon(watch, signals, life.cancel, in_haste)
                if bus is not None:
                    watchers.start_soon(keep_bus, bus)
                for name in await bring_up_to_date(settings.database_url):
                    log.info("migrated", extra={"migration": name})
                if cluster is not None:
                    watchers.start_soon(keep_postgres, cluster)
                plan, crashed = plan_of(settings, listeners), crashed_before(settings.var)
                supervisor = Supervisor(plan, SystemClock(), after_crash=crashed)
                prepare = partial(prepared, settings.database_url)
                watchers.start_soon(hear_hang_ups, hang_ups, supervisor, had_terminal, prepare)
                await supervisor.run(ready)
            watchers.cancel_scope.cancel()
    if supervisor is not None and supervisor.in_order:
        note_order(settings.var)


async def prepared(database_url: str) -> bool:
    """Whether the database is ready for new workers: they are new code, which may lean on a migration of its own."""
    try:
        for name in await bring_up_to_date(database_url):
            log.info("migrated", extra={"migration": name})
    except DatabaseError as error:
        log.error("no rolling restart", extra={"reason": str(error)})
        return False
    return True


async def hear_hang_ups(
    hang_ups: AsyncIterator[int],
    supervisor: Supervisor,
    had_terminal: bool,
    prepare: Callable[[], Awaitable[bool]],
) -> None:
    """SIGHUP has two senders: an operator who wants new workers, and a terminal that closes and ends what runs in
    it."""
    async for _ in hang_ups:
        if had_terminal and not has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        elif await prepare():
            supervisor.roll()


def has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
