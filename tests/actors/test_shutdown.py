"""The end of a node: top kind first, every mailbox finished, every asker answered, and no wait without a bound."""

import logging
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.mailbox import StopReason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds
from actors.supervisor import RestartPolicy
from tests.actors.stage import Add, Command, Crash, End, Heard, Hold, Stage, TallyActor, running


class Publisher(TallyActor):
    """Tells the kind below what it has done, the last time when it ends."""

    async def run(self) -> StopReason:
        reason = await super().run()
        await trio.sleep(1)
        self.stage.tallies.tell("reader", Add(1_000))
        return reason


async def test_the_top_kind_ends_first_and_is_heard_below(autojump_clock: MockClock) -> None:
    stage = Stage()
    publishers = stage.another("publisher", Publisher)
    async with running(stage.system):
        for number in range(10):
            await publishers.ask(str(number), Add(1), Seconds(1))
        await stage.ask("reader", Add(1))
        await stage.system.stop()
        assert (len(publishers), len(stage.tallies)) == (0, 0)
    assert stage.store.rows["reader"] == 10_001, "what was published while finishing has been read"
    assert publishers.stops == {StopReason.SHUTDOWN: 10}
    assert stage.tallies.stops == {StopReason.SHUTDOWN: 1}


async def test_every_mailbox_is_finished(autojump_clock: MockClock) -> None:
    stage = Stage()
    askers = [Heard() for _ in range(1_000)]
    async with running(stage.system):
        for number, asker in enumerate(askers):
            stage.tallies.tell(str(number % 100), Add(1), asker)
        await stage.system.stop()
        assert [len(asker.answers) for asker in askers] == [1] * 1_000


async def test_nobody_new_is_woken(autojump_clock: MockClock) -> None:
    stage = Stage()
    release = trio.Event()
    async with running(stage.system), trio.open_nursery() as nursery:
        stage.tallies.tell("a", Hold(release))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stage.system.stop)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(KithError) as away:
            stage.tallies.tell("b", Add(1))
        assert (away.value.code, away.value.outcome) == (ErrorCode.UNAVAILABLE, "none")
        late = Heard()
        stage.tallies.tell("a", Add(1), late)  # it is still finishing, so it takes this along
        release.set()
    assert late.answers == [1]


async def test_a_message_behind_the_last_drain_is_answered_by_a_new_life(autojump_clock: MockClock) -> None:
    stage = Stage()

    class Lingering(TallyActor):
        async def run(self) -> StopReason:
            reason = await super().run()
            await trio.sleep(1)
            return reason

    lingering = stage.another("lingering", Lingering)
    async with running(stage.system), trio.open_nursery() as nursery:
        await lingering.ask("a", Add(1), Seconds(1))
        nursery.start_soon(stage.system.stop)
        await trio.sleep(0.5)
        assert await lingering.ask("a", Add(1), Seconds(10)) == 2
    assert len(stage.lives) == 2
    assert lingering.stops == {StopReason.SHUTDOWN: 1}


async def test_stop_while_the_state_is_being_loaded(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.store.seconds = 3
    asker = Heard()
    async with running(stage.system):
        stage.tallies.tell("a", Add(1), asker)
        await trio.sleep(1)
        await stage.system.stop()
        assert trio.current_time() == pytest.approx(3)
    assert asker.answers == [1]


async def test_stop_does_not_wait_for_the_pause_after_a_crash(autojump_clock: MockClock) -> None:
    stage = Stage(policy=RestartPolicy(first_backoff=Seconds(500), longest_backoff=Seconds(500)))
    asker = Heard()
    async with running(stage.system):
        stage.tallies.tell("a", Crash())
        await trio.sleep(1)
        stage.tallies.tell("a", Add(1), asker)
        await stage.system.stop()
        assert trio.current_time() == pytest.approx(1)
    assert asker.answers == [1]
    assert stage.tallies.stops == {StopReason.SHUTDOWN: 1}


async def test_an_actor_that_crashes_to_the_end_does_not_hold_the_shutdown(autojump_clock: MockClock) -> None:
    stage = Stage()
    askers = [Heard() for _ in range(50)]
    async with running(stage.system):
        for asker in askers:
            stage.tallies.tell("a", Crash(), asker)
        await stage.system.stop()
    codes = [code for asker in askers for code in asker.codes]
    assert codes == ["INTERNAL_ERROR"] * 5 + ["UNAVAILABLE"] * 45
    assert stage.tallies.stops == {StopReason.GAVE_UP: 1}


async def test_stop_while_cooling_off_or_asleep_returns_at_once(autojump_clock: MockClock) -> None:
    stage = Stage(policy=RestartPolicy(budget=0))
    async with running(stage.system):
        with pytest.raises(KithError):
            await stage.ask("a", Crash())
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        await stage.system.stop()
        assert trio.current_time() == now


async def test_two_may_stop_and_both_return(autojump_clock: MockClock) -> None:
    """The second call replaced the event that the first one waited for."""
    stage = Stage()
    release = trio.Event()
    async with running(stage.system):
        stage.tallies.tell("a", Hold(release))
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.system.stop)
            nursery.start_soon(stage.system.stop)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        await stage.system.stop()


async def test_a_stuck_actor_is_bounded_by_the_callers_deadline(autojump_clock: MockClock) -> None:
    stage = Stage()
    in_hand, waiting, neighbour = Heard(), Heard(), Heard()
    async with running(stage.system):
        stage.tallies.tell("stuck", Hold(trio.Event()), in_hand)
        await trio.testing.wait_all_tasks_blocked()
        stage.tallies.tell("stuck", Add(1), waiting)
        stage.tallies.tell("fine", Add(1), neighbour)
        with trio.move_on_after(10) as patience:
            await stage.system.stop()
        assert patience.cancelled_caught
        assert trio.current_time() == pytest.approx(10)
        assert stage.tallies.addresses(5) == ["stuck"]
    assert neighbour.answers == [1]
    assert [(error.code, error.outcome) for error in in_hand.errors] == [(ErrorCode.UNAVAILABLE, "unknown")]
    assert [(error.code, error.outcome) for error in waiting.errors] == [(ErrorCode.UNAVAILABLE, "none")]
    assert stage.tallies.stops == {StopReason.SHUTDOWN: 1, StopReason.CUT_OFF: 1}


async def test_a_stuck_actor_leaves_the_kinds_below_their_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    above = stage.another("above", TallyActor)
    below = Heard()
    async with running(stage.system):
        above.tell("stuck", Hold(trio.Event()))
        stage.tallies.tell("a", Add(1), below)
        with caplog.at_level(logging.WARNING):
            await stage.system.stop(within=Seconds(10))
        assert trio.current_time() == pytest.approx(5)
        assert below.answers == [1]
        assert len(stage.tallies) == 0
        record = caplog.records[0]
        assert (record.message, getattr(record, "kind", ""), getattr(record, "some", [])) == (
            "actors did not finish",
            "above",
            ["stuck"],
        )


async def test_a_cancelled_system_answers_everybody(autojump_clock: MockClock) -> None:
    """Whoever cancels without stopping first cuts off; even so no asker hangs."""
    stage = Stage()
    askers = [Heard() for _ in range(300)]
    async with running(stage.system):
        stage.tallies.tell("held", Hold(trio.Event()), askers[0])
        await trio.testing.wait_all_tasks_blocked()
        for number, asker in enumerate(askers[1:]):
            stage.tallies.tell(str(number % 7), Add(1), asker)
    assert all(len(asker.answers) + len(asker.errors) == 1 for asker in askers)
    assert len(stage.tallies) == 0
    assert stage.tallies.activations == stage.tallies.stops.total() == stage.tallies.stops[StopReason.CUT_OFF]


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "crash", "hold", "end", "pause"])), max_size=15),
    st.integers(0, 3),
    st.booleans(),
)
def test_nothing_hangs(script: Sequence[tuple[str, str]], idle: int, ordered: bool) -> None:
    """Any mixture of work, crashes, ends and sleeps, stopped at any point: everybody has exactly one outcome."""
    stage = Stage(idle=idle, sweep=0.1)
    askers: list[Heard] = []

    async def main() -> None:
        release = trio.Event()
        async with running(stage.system):
            for id, kind in script:
                if kind == "pause":
                    await trio.sleep(0.2)
                    continue
                made: dict[str, Command] = {
                    "add": Add(1),
                    "crash": Crash(),
                    "hold": Hold(release),
                    "end": End(StopReason.EXPIRED),
                }
                asker = Heard()
                try:
                    stage.tallies.tell(id, made[kind], asker)
                except KithError as error:
                    asker.refuse(error)
                askers.append(asker)
            if ordered:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stage.system.stop)
                    await trio.sleep(0.1)
                    release.set()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert all(len(asker.answers) + len(asker.errors) == 1 for asker in askers)
    assert len(stage.tallies) == 0
    assert stage.tallies.activations == stage.tallies.stops.total()
    if ordered:
        assert StopReason.CUT_OFF not in stage.tallies.stops
