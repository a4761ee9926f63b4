"""Wall time: what the database says it is, and how it meets trio's deadlines."""

import time
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors import clock as clock_module
from actors.clock import FAKE_START, FakeClock, SystemClock, trio_deadline
from actors.shapes.times import Seconds, WallTime


class Machine:
    """A machine whose clock is wrong by so many milliseconds; the world's time stands beside it."""

    def __init__(self, wrong_by: int) -> None:
        self.world = 1_800_000_000_000
        self.wrong_by = wrong_by

    def sleep(self, millis: int) -> None:
        self.world += millis

    @property
    def clocks(self) -> SimpleNamespace:
        return SimpleNamespace(
            time_ns=lambda: (self.world + self.wrong_by) * 1_000_000, monotonic=lambda: self.world / 1000 + 77
        )


@given(wrong_by=st.integers(-86_400_000, 86_400_000), there=st.integers(0, 500), back=st.integers(0, 500))
def test_a_node_whose_clock_is_wrong_tells_the_databases_time(wrong_by: int, there: int, back: int) -> None:
    """To half of the round trip, which is all that can be known from one question."""
    machine = Machine(wrong_by)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock_module, "time", machine.clocks)
        clock = SystemClock()
        assert clock.now() - machine.world == wrong_by
        asked_at = clock.monotonic()
        machine.sleep(there)
        database_now = WallTime(machine.world)
        machine.sleep(back)
        clock.correct(database_now, asked_at)
        assert abs(clock.now() - machine.world) <= (there + back) / 2 + 1
        assert clock.offset == pytest.approx((clock.now() - machine.world - wrong_by) / 1000)
        machine.sleep(3_600_000)
        assert abs(clock.now() - machine.world) <= (there + back) / 2 + 1


def test_an_answer_that_was_long_on_its_way_does_not_move_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hung for twenty seconds and then answered moved the node's clock by ten."""
    machine = Machine(wrong_by=0)
    monkeypatch.setattr(clock_module, "time", machine.clocks)
    clock = SystemClock()

    def ask(seconds_back: float) -> float:
        asked_at, database_now = clock.monotonic(), WallTime(machine.world)
        machine.sleep(round(seconds_back * 1000))
        clock.correct(database_now, asked_at)
        return (clock.now() - machine.world) / 1000

    assert ask(seconds_back=4) == pytest.approx(-2), "the first one is better than nothing"
    assert ask(seconds_back=0.5) == pytest.approx(-0.25)
    assert ask(seconds_back=20) == pytest.approx(-0.25)


def test_the_system_clock_is_the_machines_until_it_is_corrected() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time() * 1000) < 1_000
    assert abs(clock.monotonic() - time.monotonic()) < 1
    assert clock.offset == pytest.approx(0)


async def test_the_fake_clock_follows_trio(autojump_clock: MockClock) -> None:
    clock = FakeClock()
    assert clock.now() == FAKE_START
    await trio.sleep(90.5)
    assert clock.now() == FAKE_START + 90_500
    assert clock.monotonic() == pytest.approx(90.5)


async def test_a_skewed_clock_is_wrong_about_the_hour_and_not_about_durations(autojump_clock: MockClock) -> None:
    clock = FakeClock(WallTime(5_000))
    clock.skew = Seconds(-2.0)
    assert clock.now() == 3_000
    assert clock.monotonic() == pytest.approx(0)


@pytest.mark.parametrize("skew", [-3.0, 0.0, 0.0004, 12.5])
async def test_a_wall_time_becomes_a_deadline(autojump_clock: MockClock, skew: float) -> None:
    clock = FakeClock()
    clock.skew = Seconds(skew)
    at = WallTime(clock.now() + 7_000)
    with trio.move_on_at(trio_deadline(clock, at)):
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(7.0)
    assert abs(clock.now() - at) <= 1


async def test_a_deadline_in_the_past_has_passed(autojump_clock: MockClock) -> None:
    clock = FakeClock()
    with trio.move_on_at(trio_deadline(clock, WallTime(FAKE_START - 1))) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 0
