"""Falling asleep: who does, who does not, and that a message never meets a closed door."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.directory import SWEEP_SLICE
from actors.mailbox import StopReason
from actors.shapes.errors import KithError
from actors.shapes.times import Seconds
from tests.actors.stage import Add, Crash, End, Hold, Pin, Stage, TallyActor, running

ROOT = Path(__file__).resolve().parent.parent.parent


async def test_who_has_nothing_to_do_falls_asleep_and_wakes_with_its_state(autojump_clock: MockClock) -> None:
    stage = Stage(idle=120)
    async with running(stage.system):
        await stage.ask("a", Add(7))
        await trio.sleep(119)
        assert stage.tallies.is_awake("a")
        await trio.sleep(4)
        assert not stage.tallies.is_awake("a")
        assert stage.tallies.stops == {StopReason.IDLE: 1}
        assert await stage.ask("a", Add(1)) == 8
    first, second = stage.lives
    assert first.state is not second.state


async def test_every_message_puts_the_sleep_off(autojump_clock: MockClock) -> None:
    stage = Stage(idle=10)
    async with running(stage.system):
        for _ in range(20):
            await stage.ask("a", Add(1))
            await trio.sleep(7)
        assert len(stage.lives) == 1


async def test_who_is_pinned_stays(autojump_clock: MockClock) -> None:
    stage = Stage(idle=10)
    async with running(stage.system):
        await stage.ask("a", Pin(True))
        await trio.sleep(1_000)
        assert stage.tallies.is_awake("a")
        await stage.ask("a", Pin(False))
        await trio.sleep(13)
        assert not stage.tallies.is_awake("a")


async def test_a_new_awakening_begins_without_the_pin(autojump_clock: MockClock) -> None:
    """An actor that crashed had forgotten why it was pinned, but its mailbox had not: it never slept again."""
    stage = Stage(idle=10)
    async with running(stage.system):
        await stage.ask("a", Pin(True))
        with pytest.raises(KithError):
            await stage.ask("a", Crash())
        await trio.sleep(13)
        assert not stage.tallies.is_awake("a")


async def test_who_works_is_not_idle(autojump_clock: MockClock) -> None:
    stage = Stage(idle=10)
    release = trio.Event()
    async with running(stage.system):
        stage.tallies.tell("a", Hold(release))
        await trio.sleep(100)
        assert stage.tallies.is_awake("a")
        release.set()
        await trio.sleep(13)
        assert not stage.tallies.is_awake("a")


async def test_an_actor_may_end_by_itself(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        for reason in (StopReason.EXPIRED, StopReason.NEVER_BORN, StopReason.IDLE):
            assert await stage.ask("a", End(reason)) == "ending"
            await trio.testing.wait_all_tasks_blocked()
            assert not stage.tallies.is_awake("a")
        assert stage.tallies.stops == {StopReason.EXPIRED: 1, StopReason.NEVER_BORN: 1, StopReason.IDLE: 1}
        assert stage.tallies.activations == len(stage.tallies) + stage.tallies.stops.total()


async def test_a_message_to_one_who_is_ending_begins_a_life_of_its_own(autojump_clock: MockClock) -> None:
    """The new life must not find the old one's reason in its mailbox, and end behind its first command."""
    stage = Stage()

    class Ending(TallyActor):
        async def run(self) -> StopReason:
            if len(stage.lives) == 1:
                self.activation.mailbox.stop(StopReason.EXPIRED)
            reason = await super().run()
            await trio.sleep(1)
            return reason

    ending = stage.another("ending", Ending)
    async with running(stage.system):
        assert await ending.ask("a", Add(1), Seconds(1)) == 1
        assert await ending.ask("a", Add(1), Seconds(5)) == 2
        await trio.sleep(5)
        assert ending.is_awake("a")
        assert len(stage.lives) == 2
        assert ending.stops.total() == 0


async def test_a_message_in_the_tick_of_the_sweep_keeps_the_actor_awake(autojump_clock: MockClock) -> None:
    stage = Stage(idle=10)
    async with running(stage.system):
        await stage.ask("a", Add(0))
        await stage.tallies.sweep(Seconds(1))
        cell = stage.tallies._cells["a"]
        cell.mailbox.stop(StopReason.IDLE)
        assert await stage.ask("a", Pin(True)) is None
        await trio.sleep(30)
        assert len(stage.lives) == 1
        assert stage.tallies.is_pinned("a")


async def test_a_message_sent_during_passivation_is_answered_ten_thousand_times(autojump_clock: MockClock) -> None:
    """100 rounds of 100 addresses: each is swept to sleep while somebody asks it, some steps earlier or later, and
    takes some steps to end and to load again. The schedule is random and seeded."""
    chance = random.Random(2026)
    stage = Stage()
    awake: Counter[str] = Counter()
    met: Counter[str] = Counter()

    class Slow(TallyActor):
        """Takes its time to fall asleep, and notices when there are two of it."""

        async def run(self) -> StopReason:
            awake[self.state.id] += 1
            assert awake[self.state.id] == 1, "two activations of one address"
            try:
                reason = await super().run()
                await steps(chance.randrange(4))
                return reason
            finally:
                awake[self.state.id] -= 1

    async def steps(count: int) -> None:
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    slow = stage.another("slow", Slow)

    async def ask_some(id: str, expected: list[int]) -> None:
        await steps(chance.randrange(8))
        met["asleep" if not slow.is_awake(id) else str(slow._cells[id].mailbox.stop_reason)] += 1
        answers = [await slow.ask(id, Add(1), Seconds(10)) for _ in expected]
        assert answers == expected

    async with running(stage.system):
        ids = [str(number) for number in range(100)]
        for turn in range(100):
            for id in ids:
                slow.tell(id, Add(0))
            await trio.testing.wait_all_tasks_blocked()
            await slow.sweep(Seconds(1))  # sees that they were touched
            async with trio.open_nursery() as nursery:
                for id in ids:
                    nursery.start_soon(ask_some, id, [2 * turn + 1, 2 * turn + 2])
                await steps(chance.randrange(4))
                await slow.sweep(Seconds(1_000))
    assert [stage.store.rows[id] for id in ids] == [200] * 100
    assert slow.crashes == 0
    assert min(met["asleep"], met["idle"], met["None"]) > 1_000, f"the race was met from every side: {met}"


async def test_a_great_sleep_does_not_stop_the_node(autojump_clock: MockClock) -> None:
    """100,000 actors were sent to sleep in one tick, and for a second no message moved. Now others run in between."""
    stage = Stage(idle=10)
    ticks = 0

    async def others() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.lowlevel.checkpoint()

    async with running(stage.system):
        for number in range(10 * SWEEP_SLICE):
            stage.tallies.tell(str(number), Add(1))
        await trio.testing.wait_all_tasks_blocked()
        await stage.tallies.sweep(Seconds(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await stage.tallies.sweep(Seconds(100))
            nursery.cancel_scope.cancel()
        assert ticks >= 9
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.tallies) == 0
        full = sys.getsizeof(stage.tallies._cells)
        await stage.tallies.sweep(Seconds(1))
        assert sys.getsizeof(stage.tallies._cells) < full / 100, "a table would keep the room of its fullest hour"


@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_conversations_that_were_touched_once_leave_nothing_behind(count: int) -> None:
    command = [sys.executable, str(ROOT / "tests" / "actors" / "touch_once.py"), str(count)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True, timeout=300)
    figures = json.loads(done.stdout)
    assert figures["passivations"] >= count
    assert figures["awake"] < 100
    assert figures["most_awake"] > 1_000
    assert figures["memory_at_end"] <= 1.15 * figures["memory_at_start"], figures
    assert figures["objects_at_end"] <= 1.01 * figures["objects_at_start"], figures
