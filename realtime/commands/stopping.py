"""What the signals mean: the first asks for an ordered stop, a later second one for haste.

A terminal sends Ctrl-C to the whole group and make passes SIGTERM on, so one wish may arrive twice within a second.
"""

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import trio

log = logging.getLogger("kith.stop")

# What asks to stop, whoever is asked.
STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
SIGNALS = STOP_SIGNALS
# A closed terminal ends what runs in it, unless nohup said otherwise before we were started.
if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    SIGNALS += (signal.SIGHUP,)
SAME_WISH_SECONDS = 1.0
# Ten seconds in all: the node's own steps are bounded by nine, and PostgreSQL's shutdown takes a moment after them.
DRAIN_SECONDS = 9.5


class StopRequestedError(BaseException):
    """A signal came while nothing ran yet that could be drained."""


@contextmanager
def stop_raises(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """While a node is being put together: leave by an exception, through every `finally` on the way.

    The handlers come off at the first signal, so that what these do is not broken off by a second one.
    """

    def leave(number: int, _: FrameType | None) -> None:
        ignore_signals(signals)
        raise StopRequestedError(signal.Signals(number).name)

    before = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    finally:
        if all(signal.getsignal(number) is leave for number in signals):
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore_signals(signals: Sequence[signal.Signals] = SIGNALS) -> None:
    """From here on the stop is under way and bounded; a handler and not SIG_IGN, which children would inherit."""
    for number in signals:
        signal.signal(number, lambda *_: None)


@contextmanager
def signals_kept(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Around trio.run: hold signals back until the node listens for them, and let late ones do nothing.

    An exception out of a handler must not hit the scheduler, and a signal in those milliseconds must not get lost.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    ignore_signals(signals)
    try:
        yield
    finally:
        deliver_signals(signals)


def deliver_signals(signals: Sequence[signal.Signals] = SIGNALS) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


async def watch(signals: AsyncIterator[int], drain: Callable[[], None], in_haste: Callable[[], None]) -> None:
    """Call `drain` at the first signal; `in_haste` at one that is no echo of it, or when the drain takes too long."""
    first = await anext(signals)
    log.info("stopping", extra={"signal": signal.Signals(first).name})
    drain()
    with trio.move_on_after(SAME_WISH_SECONDS):
        async for _ in signals:
            pass
    with trio.move_on_after(DRAIN_SECONDS - SAME_WISH_SECONDS):
        second = await anext(signals)
        log.warning("stopping in haste", extra={"signal": signal.Signals(second).name})
        in_haste()
        return
    log.error("the node did not stop in time", extra={"seconds": DRAIN_SECONDS})
    in_haste()


def leave_at_once() -> None:
    """End without unwinding: what was acknowledged is on disk, and nothing else is owed to anybody."""
    os._exit(1)
