"""Addressing: one activation per address, asking and its deadline, full mailboxes, figures that are true."""

import contextvars
import gc
import logging
import traceback
import weakref
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.asking import Question
from actors.kinds import Activation, ActorKind
from actors.mailbox import StopReason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds
from tests.actors.stage import Add, BrokenActorError, Crash, Deaf, Heard, Hold, Pin, Stage, TallyActor, running


async def test_one_activation_under_a_thousand_callers(autojump_clock: MockClock) -> None:
    """They come while the state is being loaded, as they do after a restart of a busy node."""
    stage = Stage()
    stage.store.rows["a"] = 1_000_000
    stage.store.seconds = 0.5
    totals: list[int] = []

    async def caller() -> None:
        totals.append(await stage.ask("a", Add(1)))

    async with running(stage.system):
        async with trio.open_nursery() as nursery:
            for _ in range(1_000):
                nursery.start_soon(caller)
        assert sorted(totals) == list(range(1_000_001, 1_001_001)), "every command was decided once, on one state"
        assert len(stage.lives) == 1
        assert stage.store.queries == [["a"]]
        assert stage.tallies.activations == 1


async def test_commands_of_one_caller_are_decided_in_order(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        for number in range(600):  # more than one batch
            stage.tallies.tell("a", Add(number))
        await stage.ask("a", Add(600))
    assert [command.amount for command in stage.decided] == list(range(601))
    assert max(map(len, stage.batches)) > 1


async def test_an_answer_comes_back_and_a_refusal_is_raised(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        assert await stage.ask("a", Add(2)) == 2
        with pytest.raises(KithError) as refusal:
            await stage.ask("a", Crash())
        assert refusal.value.code is ErrorCode.INTERNAL_ERROR


async def test_the_deadline_ends_the_wait_and_not_the_work(autojump_clock: MockClock) -> None:
    stage = Stage()
    release = trio.Event()
    async with running(stage.system):
        stage.tallies.tell("a", Hold(release))
        with pytest.raises(KithError) as late:
            await stage.ask("a", Add(5), timeout=2.0)
        assert (late.value.code, late.value.outcome) == (ErrorCode.TIMEOUT, "unknown")
        assert "tally (Add) did not answer within 2 s" in late.value.message
        assert trio.current_time() == pytest.approx(2.0)
        release.set()
        assert await stage.ask("a", Add(1)) == 6, "the command whose asker had left was decided all the same"


@pytest.mark.parametrize("timeout", [0.0, -3.0])
async def test_a_caller_without_time_left_gets_a_timeout(autojump_clock: MockClock, timeout: float) -> None:  # noqa: ASYNC109
    """`deadline - now` is negative when it is too late; trio raises ValueError for that, after the command was sent."""
    stage = Stage()
    async with running(stage.system):
        with pytest.raises(KithError) as late:
            await stage.ask("a", Add(5), timeout=timeout)
        assert (late.value.code, late.value.outcome) == (ErrorCode.TIMEOUT, "unknown")


async def test_an_answer_in_the_tick_of_the_deadline_counts(autojump_clock: MockClock) -> None:
    question = Question("somebody")
    got: list[object] = []

    async def asker() -> None:
        got.append(await question.wait(Seconds(5.0)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asker)
        await trio.testing.wait_all_tasks_blocked()
        question.answer("in time")
        nursery.cancel_scope.cancel()
    assert got == ["in time"]
    question.refuse(KithError(ErrorCode.FORBIDDEN))
    assert await question.wait() == "in time", "the first outcome stands"


async def test_a_cancelled_asker_leaves_the_actor_alone(autojump_clock: MockClock) -> None:
    stage = Stage()
    release = trio.Event()
    async with running(stage.system):
        stage.tallies.tell("a", Hold(release))
        with trio.move_on_after(1):
            await stage.ask("a", Add(5))
        release.set()
        assert await stage.ask("a", Add(1)) == 6


async def test_each_asker_gets_an_error_of_its_own(autojump_clock: MockClock) -> None:
    """One refusal was raised in a thousand tasks: its traceback grew by every one of them, and each saw the others'."""
    refusal = KithError(ErrorCode.UNAVAILABLE, "down", retry_after=7.0, details={"part": "database"}, outcome="unknown")
    raised: list[KithError] = []
    for _ in range(3):
        question = Question("somebody")
        question.refuse(refusal)
        with pytest.raises(KithError) as caught:
            await question.wait()
        raised.append(caught.value)
    assert len({id(error) for error in [refusal, *raised]}) == 4
    assert refusal.__traceback__ is None
    assert len(traceback.extract_tb(raised[0].__traceback__)) == len(traceback.extract_tb(raised[2].__traceback__))
    for error in raised:
        assert (error.code, error.message, error.retry_after) == (refusal.code, refusal.message, refusal.retry_after)
        assert (error.details, error.outcome) == (refusal.details, refusal.outcome)


async def test_a_full_mailbox_refuses_with_a_hint_and_loses_nothing(autojump_clock: MockClock) -> None:
    stage = Stage(capacity=5)
    release = trio.Event()
    async with running(stage.system):
        stage.tallies.tell("a", Hold(release))
        await trio.testing.wait_all_tasks_blocked()
        askers = [Heard() for _ in range(5)]
        for asker in askers:
            stage.tallies.tell("a", Add(1), asker)
        with pytest.raises(KithError) as full:
            stage.tallies.tell("a", Add(1))
        assert (full.value.code, full.value.outcome) == (ErrorCode.OVERLOADED, "none")
        assert full.value.retry_after is not None
        assert full.value.retry_after > 0
        assert not stage.tallies.tell_awake("a", Add(1))
        stage.tallies.must_tell("a", Add(10))
        assert stage.tallies.census().refused == 2
        release.set()
        assert await stage.ask("b", Add(1)) == 1, "the neighbour never noticed"
        assert await stage.ask("a", Add(1)) == 16
        assert [asker.answers for asker in askers] == [[1], [2], [3], [4], [5]]


async def test_tell_awake_wakes_nobody(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        assert not stage.tallies.tell_awake("a", Add(1))
        stage.tallies.must_tell("a", Add(1))
        assert not stage.tallies.is_awake("a")
        assert len(stage.tallies) == 0
        await stage.ask("a", Add(1))
        assert stage.tallies.tell_awake("a", Add(1))
        assert await stage.ask("a", Add(1)) == 3
        assert stage.tallies.is_awake("a")


async def test_pinned_is_what_the_actor_says(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        assert not stage.tallies.is_pinned("a")
        await stage.ask("a", Pin(True))
        assert stage.tallies.is_pinned("a")
        await stage.ask("a", Pin(False))
        assert not stage.tallies.is_pinned("a")


async def test_an_asker_that_raises_does_not_kill_the_actor(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    async with running(stage.system):
        with caplog.at_level(logging.ERROR):
            stage.tallies.tell("a", Add(1), Deaf())
            assert await stage.ask("a", Add(1)) == 2
        assert stage.tallies.crashes == 0
        assert [record.message for record in caplog.records] == ["asker failed"]


async def test_an_actor_does_not_live_in_the_context_of_who_woke_it(autojump_clock: MockClock) -> None:
    """It had the context of the first request as long as it lived: that request's id in its logs, and its memory."""
    where = contextvars.ContextVar("where", default="nowhere")
    seen: list[str] = []

    class Witness(TallyActor):
        async def run(self) -> StopReason:
            seen.append(where.get())
            return await super().run()

    stage = Stage()
    witnesses = stage.another("witness", Witness)
    where.set("system")
    async with running(stage.system):
        where.set("request")
        await witnesses.ask("a", Add(1), Seconds(1))
    assert seen == ["system"]


async def test_the_first_state_is_not_kept_beside_the_second(autojump_clock: MockClock) -> None:
    stage = Stage()

    class Fresh:
        """A state that can be watched."""

    watched: list[weakref.ref[Fresh]] = []

    class Forgetful:
        def __init__(self, activation: Activation[str, Fresh, Add], state: Fresh | None) -> None:  # noqa: ARG002
            self.activation = activation

        async def run(self) -> StopReason:
            while batch := await self.activation.mailbox.drain():
                batch[0].answer(None)
            return StopReason.IDLE

    async def load(ids: Sequence[str]) -> dict[str, Fresh]:
        states = {id: Fresh() for id in ids}
        watched.extend(map(weakref.ref, states.values()))
        return states

    kind: ActorKind[str, Fresh, Add] = ActorKind("forgetful", load, Forgetful, Seconds(60))
    directory = stage.system.register(kind)
    async with running(stage.system):
        await directory.ask("a", Add(1), Seconds(1))
        gc.collect()
        assert [state() for state in watched] == [None]


async def test_the_right_to_write_ends_with_the_activation(autojump_clock: MockClock) -> None:
    stage = Stage(idle=5)
    async with running(stage.system):
        await stage.ask("a", Add(1))
        assert stage.lives[0].activation.actor == "tally/a"
        assert validity(stage) == [True]
        await trio.sleep(10)
        assert validity(stage) == [False]
        await stage.ask("a", Add(1))
        assert validity(stage) == [False, True]
        with pytest.raises(KithError):
            await stage.ask("a", Crash())
        assert validity(stage) == [False, False]
        await stage.ask("a", Add(1))
        assert validity(stage) == [False, False, True]
    assert validity(stage) == [False, False, False]


def validity(stage: Stage) -> list[bool]:
    return [life.activation.valid for life in stage.lives]


async def test_reload_gives_what_the_database_has_now(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        await stage.ask("a", Add(1))
        life = stage.lives[0]
        stage.store.rows["a"] = 50  # somebody else wrote
        fresh = await life.activation.reload()
        assert fresh is not None
        assert fresh is not life.state
        assert fresh.total == 50


async def test_the_census_tells_the_truth(autojump_clock: MockClock) -> None:
    stage = Stage(idle=30)
    releases = [trio.Event(), trio.Event()]
    async with running(stage.system):
        for id, release, waiting in zip("ab", releases, (3, 1), strict=True):
            stage.tallies.tell(id, Hold(release))
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(waiting):
                stage.tallies.tell(id, Add(1))
        await stage.ask("c", Add(1))
        await trio.sleep(10.5)
        census = stage.system.census()[0]
        assert (census.kind, census.awake, census.waiting, census.deepest) == ("tally", 3, 4, 3)
        assert census.oldest == pytest.approx(10, abs=1.01)
        for release in releases:
            release.set()
        await trio.sleep(2.5)
        census = stage.system.census()[0]
        assert (census.awake, census.waiting) == (3, 0)
        assert census.oldest == pytest.approx(0)
        with pytest.raises(KithError):
            await stage.ask("c", Crash())
        await trio.sleep(60)
        census = stage.system.census()[0]
        assert (census.awake, census.activations, census.passivations) == (0, 3, 3)
        assert (census.crashes, census.gave_up, census.refused) == (1, 0, 0)
        assert census.stops == {StopReason.IDLE: 3}


async def test_work_in_hand_counts_as_waiting_work(autojump_clock: MockClock) -> None:
    """The one batch of a quiet actor hung in the journal for minutes, and `oldest` said 0: the mailbox was empty."""
    stage = Stage()
    release = trio.Event()
    async with running(stage.system):
        stage.tallies.tell("a", Hold(release))
        await trio.sleep(20.5)
        assert stage.tallies.census().oldest == pytest.approx(20, abs=1.01)
        release.set()


async def test_a_system_that_does_not_run_says_so(autojump_clock: MockClock) -> None:
    stage = Stage()
    with pytest.raises(KithError) as early:
        stage.tallies.tell("a", Add(1))
    assert (early.value.code, early.value.outcome) == (ErrorCode.UNAVAILABLE, "none")
    async with running(stage.system):
        await stage.ask("a", Add(1))
    with pytest.raises(KithError) as late:
        stage.tallies.tell("a", Add(1))
    assert late.value.code is ErrorCode.UNAVAILABLE
    assert len(stage.tallies) == 0


async def test_mistakes_of_the_composition_root_are_raised_at_once(autojump_clock: MockClock) -> None:
    stage = Stage()
    with pytest.raises(ValueError, match="tally is registered already"):
        stage.another("tally", TallyActor)
    with pytest.raises(ValueError, match="at least one command"):
        Stage(capacity=0)
    async with running(stage.system):
        with pytest.raises(RuntimeError, match="too late"):
            stage.another("other", TallyActor)


def test_a_broken_actor_error_is_no_kith_error() -> None:
    """The tests rely on it: a refusal must come from the runtime, not from the actor's own exception."""
    assert not issubclass(BrokenActorError, KithError)
