"""What a lane does with the units of a flush once their fate is known."""

import itertools

from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import Seconds
from storage.journal.counters import JournalCounters, observe_nothing
from storage.journal.lane import Lane
from storage.journal.sender import Head, Written
from storage.journal.waiting import BOUNDS, Waiter, Waiting
from storage.node import NodeIdentity
from storage.postgres import Dedicated
from tests.clocks import HandClock
from tests.storage.worlds import batch, message, new_id

UNITS = 200


class CountedWaiter(Waiter):
    """Counts with how many others it was compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedWaiter.compared += 1
        return self is other

    __hash__ = Waiter.__hash__


async def test_a_proved_commit_is_told_without_comparing_every_unit_with_every_other() -> None:
    waiting = Waiting(BOUNDS)
    watched = JournalCounters(), observe_nothing
    lane = Lane(Dedicated(None, ""), NodeIdentity("node", 1, itertools.count(1)), HandClock(), waiting, watched)
    units = []
    for _ in range(UNITS):
        id = ConversationId(new_id())
        units.append(CountedWaiter(batch(id, 0, [message(id, UserId(new_id()), 1, 1)]), (id, 2, 100), Seconds(0.0)))
        waiting.add(units[-1])
    taken = waiting.take()
    won = units[::2]
    CountedWaiter.compared = 0
    written = Written(None, [Head("c", waiter.address) for waiter in won])
    rows = await lane._conclude(taken, written)
    assert CountedWaiter.compared == 0
    assert rows == 2 * len(won)
    assert [waiter.decided for waiter in units] == [True, False] * (UNITS // 2)
    again = waiting.take()
    assert [waiter.address for waiter in again] == [waiter.address for waiter in units[1::2]]
