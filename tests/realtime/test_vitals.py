"""What the node says of its object store: asked rarely, and never a reason not to serve."""

import trio
from trio.testing import wait_all_tasks_blocked

from realtime.vitals import RedisVital, StorageVital
from tests.clocks import HandClock


class Store:
    def __init__(self) -> None:
        self.state = "ok"
        self.asked = 0
        self.answers = trio.Event()

    async def ask(self) -> str:
        self.asked += 1
        await self.answers.wait()
        return self.state


async def test_it_is_asked_once_in_a_while_and_by_one() -> None:
    """Whoever asks for our health must not be able to make us ask the store as often."""
    clock, store, found = HandClock(), Store(), list[tuple[str, float, bool]]()
    vital = StorageVital(store.ask, clock)

    async def look() -> None:
        found.append(await vital.check())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(look)
        await wait_all_tasks_blocked()
        clock.seconds += 0.25
        store.answers.set()
    assert found == [("ok", 0.25, True)] * 20
    assert store.asked == 1
    store.state = "keys refused"
    clock.seconds += 4.0
    assert await vital.check() == ("ok", 0.25, True)
    clock.seconds += 2.0
    assert await vital.check() == ("keys refused", 0.0, True)
    assert store.asked == 2


async def test_a_node_serves_without_its_bus() -> None:
    class Bus:
        async def state(self) -> tuple[str, float]:
            return "away", 0.5

    assert await RedisVital(Bus()).check() == ("away", 0.5, True)


async def test_one_who_gives_up_does_not_leave_the_others_waiting() -> None:
    clock, store = HandClock(), Store()
    vital = StorageVital(store.ask, clock)
    with trio.move_on_after(0) as scope:
        await vital.check()
    assert scope.cancelled_caught
    store.answers.set()
    assert (await vital.check())[0] == "ok"
    assert store.asked == 2
