"""`kith serve-worker`: one process of `kith serve --workers N`; the supervisor starts it, and nobody else."""

import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from msgspec import Struct

from realtime.commands.stopping import (
    STOP_SIGNALS,
    StopRequestedError,
    deliver_signals,
    ignore_signals,
    leave_at_once,
    signals_kept,
    stop_raises,
    watch,
)
from realtime.secret import settle_secret
from realtime.settings import Settings
from realtime.workers.crew import Crew
from realtime.workers.line import Line
from realtime.workers.share import share_of

log = logging.getLogger("kith.worker")


class Berth(Struct, frozen=True):
    """Which worker this is, and the descriptors it was born with."""

    number: int
    line: int
    listeners: tuple[int, ...]
    after_crash: bool


def work(settings: Settings, berth: Berth) -> int:
    """Serve until told to stop, or until the supervisor has gone; 0 when the stop was in order."""
    # A terminal that closes, or an operator's HUP to everything called kith, is the supervisor's business.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    deliver_signals(STOP_SIGNALS)  # whatever the supervisor held back when it forked
    for descriptor in (berth.line, *berth.listeners):
        # A child of this worker that outlived it would hold the port, and let nobody in.
        os.set_inheritable(descriptor, False)
    name_in_logs(berth.number)
    with stop_raises(STOP_SIGNALS):
        try:
            settings = share_of(settle_secret(settings), berth.number)
            listeners = [socket.socket(fileno=descriptor) for descriptor in berth.listeners]
            from realtime.main import serve as serve_node

            with signals_kept(STOP_SIGNALS):
                trio.run(run_worker, settings, berth, partial(serve_node, settings, listeners))
        except StopRequestedError:
            pass
        finally:
            ignore_signals(STOP_SIGNALS)
    return 0


async def run_worker(settings: Settings, berth: Berth, serve: Callable[..., Awaitable[None]]) -> None:
    """The node beside the two that watch over it: the signals, and the line to the supervisor."""
    end = trio.socket.from_stdlib_socket(socket.socket(fileno=berth.line))
    line = Line(trio.SocketStream(end))
    crew = Crew(berth.number, settings.kith_workers, after_crash=berth.after_crash, line=line)

    def orphaned() -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # the one way to stop, with the one bound on how long it takes

    async with trio.open_nursery() as watchers:
        with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
            deliver_signals(STOP_SIGNALS)
            with trio.CancelScope() as life:
                watchers.start_soon(watch, signals, life.cancel, leave_at_once)
                watchers.start_soon(crew.run, orphaned)
                await serve(crew.ready, crew)
            watchers.cancel_scope.cancel()


def name_in_logs(number: int) -> None:
    """Every line of this process says which worker it comes from."""

    def name(record: logging.LogRecord) -> bool:
        record.worker = number
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(name)
