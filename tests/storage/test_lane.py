"""What a lane does with the units of a flush once their fate is known."""

import itertools

from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import Seconds, WallTime
from storage.journal.counters import JournalCounters, observe_nothing
from storage.journal.lane import Lane
from storage.journal.repeats import Repeated
from storage.journal.sender import Head, RowPassedOverError, Written
from storage.journal.statement import Flush
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


class PassedOver:
    """The sender of a server that passes over every flush with `guilty` in it, and names a repeat of nobody's."""

    troubled = False

    def __init__(self, guilty: ConversationId) -> None:
        self.guilty = guilty
        self.sent = 0

    async def send(self, flush: Flush, _suspected: str | None = None) -> Written:
        self.sent += 1
        if self.guilty in str(flush.values):
            raise RowPassedOverError
        return Written([])

    async def ask(self, *_: object) -> list[Repeated]:
        stranger = ConversationId(new_id())
        sent = message(stranger, UserId(new_id()), 1, 1)
        return [Repeated(stranger, sent.sender_id, sent.client_id, sent.id, 1, 1, WallTime(0), "")]


async def test_a_flush_that_nobody_is_told_about_is_not_sent_for_ever() -> None:
    """What was found was of none of its units, so all of them went back, into the same flush."""
    waiting = Waiting(BOUNDS)
    watched = JournalCounters(), observe_nothing
    lane = Lane(Dedicated(None, ""), NodeIdentity("node", 1, itertools.count(1)), HandClock(), waiting, watched)
    ids = [ConversationId(new_id()) for _ in range(5)]
    sender = PassedOver(ids[3])
    lane._sender = sender  # type: ignore[assignment] # enough of one
    units = []
    for id in ids:
        units.append(Waiter(batch(id, 0, [message(id, UserId(new_id()), 1, 1)]), (id, 2, 100), Seconds(0.0)))
        waiting.add(units[-1])
    await lane._settle(waiting.take())
    assert [waiter.decided for waiter in units] == [True] * 5
    assert lane.counters.poisoned == 1
    assert sender.sent < 10
