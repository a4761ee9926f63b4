"""Tells the clients of a stopping node to go, a batch at a time, each with its own moment to come back."""

import random
from typing import Final

import msgspec
import trio

from actors.envelopes import event_frame
from actors.shapes.frames import Frame
from actors.shapes.times import Seconds
from realtime.gateway.gateway import Gateway
from realtime.link import Link

SOONEST: Final = 0.5
LATEST: Final = 5.0
BATCH_SECONDS: Final = 0.05


class GoingAway(msgspec.Struct):
    reconnect_after: float


def going_away(_link: Link) -> Frame:
    """Spread over some seconds: all clients of a node at once would be a storm at the next one."""
    return event_frame("going_away", GoingAway(round(random.uniform(SOONEST, LATEST), 2)))


async def say_goodbye(gateway: Gateway, within: Seconds) -> None:
    """All of them within this time, so many at a time that the last ones are told before it is over."""
    batches = max(1, int(within / BATCH_SECONDS))
    size = max(100, gateway.counters.websockets // batches + 1)
    while gateway.going_away(going_away, size) > 0:  # noqa: ASYNC110 - paced on purpose, nothing is waited for
        await trio.sleep(BATCH_SECONDS)
