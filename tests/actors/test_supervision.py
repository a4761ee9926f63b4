"""Crashes: the guilty command is refused once, its neighbours are answered, and nobody else notices."""

import logging
from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.kinds import ActorKind
from actors.mailbox import StopReason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds
from actors.supervisor import RestartPolicy
from tests.actors.stage import (
    Add,
    AnswerThenCrash,
    BrokenActorError,
    Command,
    Crash,
    End,
    Heard,
    Hold,
    Stage,
    TallyActor,
    running,
)


async def batch_of(stage: Stage, commands: Sequence[Command]) -> list[Heard]:
    """Tell an awake actor all of these, so that it drains them as one batch."""
    await stage.ask("a", Add(0))
    askers = [Heard() for _ in commands]
    for command, asker in zip(commands, askers, strict=True):
        stage.tallies.tell("a", command, asker)
    await trio.sleep(30)
    return askers


async def test_after_an_exception_the_state_is_a_new_one(autojump_clock: MockClock) -> None:
    """The old one may be half changed: the actor sets its total to 666 before it raises."""
    stage = Stage()
    async with running(stage.system):
        assert await stage.ask("a", Add(3)) == 3
        with pytest.raises(KithError) as refusal:
            await stage.ask("a", Crash())
        assert (refusal.value.code, refusal.value.outcome) == (ErrorCode.INTERNAL_ERROR, "unknown")
        assert await stage.ask("a", Add(1)) == 4
    before, after = (life.state for life in stage.lives)
    assert before is not after
    assert (before.total, after.total) == (666, 4)


async def test_the_guilty_is_refused_once_and_its_neighbours_are_answered(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        askers = await batch_of(stage, [Add(1), Add(2), Crash(), Add(4), Add(8)])
        assert [asker.answers for asker in askers] == [[1], [3], [], [7], [15]]
        assert askers[2].codes == ["INTERNAL_ERROR"]
        assert stage.tallies.crashes == 2, "once in the batch, once alone"
        assert stage.batches == [
            [Add(0)],
            [Add(1), Add(2), Crash(), Add(4), Add(8)],
            [Crash()],
            [Add(4)],
            [Add(8)],
        ], "what was answered is not decided again, the rest one by one and in order"


async def test_a_crash_behind_the_answers_blames_nobody_who_still_waits(autojump_clock: MockClock) -> None:
    """The one command of a batch that was left after a crash was taken for the guilty one, and refused untried."""
    stage = Stage()
    async with running(stage.system):
        askers = await batch_of(stage, [AnswerThenCrash(), Add(5)])
        assert askers[0].answers == ["answered"]
        assert askers[1].answers == [5]
        assert stage.tallies.crashes == 1


async def test_new_commands_wait_behind_those_that_are_decided_again(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        await stage.ask("a", Add(0))
        for command in (Add(1), Crash(), Add(2)):
            stage.tallies.tell("a", command)
        await trio.sleep(0.01)  # in the pause after the first crash
        stage.tallies.tell("a", Add(3))
        await trio.sleep(10)
        assert [command.amount for command in stage.decided] == [0, 1, 2, 3]


async def test_the_sixth_crash_within_a_minute_sends_callers_away_for_the_cool_off(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        for _ in range(5):
            with pytest.raises(KithError) as crash:
                await stage.ask("a", Crash())
            assert crash.value.code is ErrorCode.INTERNAL_ERROR
        assert await stage.ask("a", Add(1)) == 1, "five are forgiven"
        with pytest.raises(KithError) as crash:
            await stage.ask("a", Crash())
        assert crash.value.code is ErrorCode.INTERNAL_ERROR
        gave_up_at = trio.current_time()
        while trio.current_time() < gave_up_at + 59:
            with pytest.raises(KithError) as away:
                await stage.ask("a", Add(1))
            assert away.value.code is ErrorCode.UNAVAILABLE
            assert away.value.retry_after == pytest.approx(gave_up_at + 60 - trio.current_time())
            await trio.sleep(10)
        await trio.sleep(2)
        assert await stage.ask("a", Add(1)) == 2, "then it works again"


async def test_what_waits_when_an_actor_gives_up_is_answered(autojump_clock: MockClock) -> None:
    stage = Stage(policy=RestartPolicy(budget=0, cool_off=Seconds(60)))
    async with running(stage.system):
        askers = await batch_of(stage, [Add(1), Crash(), Add(2)])
        assert askers[0].answers == [1]
        assert [error.outcome for asker in askers[1:] for error in asker.errors] == ["unknown", "unknown"]
        assert askers[1].codes == askers[2].codes == ["UNAVAILABLE"]
        assert not stage.tallies.is_awake("a")
        with pytest.raises(KithError) as away:
            await stage.ask("a", Add(1))
        assert (away.value.code, away.value.outcome) == (ErrorCode.UNAVAILABLE, "none")
        assert away.value.retry_after == pytest.approx(30, abs=0.01), "as long as the cool-off still lasts"
        assert not stage.tallies.tell_awake("a", Add(1))
        assert await stage.ask("b", Add(1)) == 1
        await trio.sleep(31)
        assert await stage.ask("a", Add(1)) == 2, "then it works again"
        assert stage.tallies.census().stops == {StopReason.GAVE_UP: 1}
        assert stage.tallies.census().gave_up == 1


async def test_a_full_budget_after_the_cool_off(autojump_clock: MockClock) -> None:
    policy = RestartPolicy(budget=2, window=Seconds(600), cool_off=Seconds(10))
    stage = Stage(policy=policy)
    async with running(stage.system):
        for round_ in range(3):
            for _ in range(3):
                with pytest.raises(KithError) as crash:
                    await stage.ask("a", Crash())
                assert crash.value.code is ErrorCode.INTERNAL_ERROR
            await trio.lowlevel.checkpoint()
            with pytest.raises(KithError) as away:
                await stage.ask("a", Add(1))
            assert away.value.code is ErrorCode.UNAVAILABLE
            assert stage.tallies.census().gave_up == round_ + 1
            await trio.sleep(10.1)


async def test_a_nap_does_not_refill_the_budget(autojump_clock: MockClock) -> None:
    """The budget lay with the actor: one that fell asleep between its crashes crashed for ever and never gave up."""
    stage = Stage(idle=1)
    codes: list[ErrorCode] = []
    async with running(stage.system):
        for _ in range(7):
            with pytest.raises(KithError) as refusal:
                await stage.ask("a", Crash())
            codes.append(refusal.value.code)
            await trio.sleep(4)
            assert not stage.tallies.is_awake("a")
    assert codes == [ErrorCode.INTERNAL_ERROR] * 6 + [ErrorCode.UNAVAILABLE]


async def test_old_crashes_do_not_count(autojump_clock: MockClock) -> None:
    stage = Stage(idle=1_000)
    async with running(stage.system):
        for _ in range(20):
            with pytest.raises(KithError) as crash:
                await stage.ask("a", Crash())
            assert crash.value.code is ErrorCode.INTERNAL_ERROR
            await trio.sleep(13)  # five a minute
        assert stage.tallies.census().gave_up == 0


async def test_each_pause_is_twice_the_last(autojump_clock: MockClock) -> None:
    stage = Stage(policy=RestartPolicy(budget=9, first_backoff=Seconds(0.1), longest_backoff=Seconds(1.0)))
    pauses: list[float] = []
    async with running(stage.system):
        for _ in range(6):
            with pytest.raises(KithError):
                await stage.ask("a", Crash())
            crashed_at = trio.current_time()
            await stage.ask("a", Add(1))
            pauses.append(round(trio.current_time() - crashed_at, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


async def test_a_neighbour_is_answered_at_once_all_the_while(autojump_clock: MockClock) -> None:
    stage = Stage()
    waits: list[float] = []
    async with running(stage.system):

        async def neighbour() -> None:
            for _ in range(200):
                asked = trio.current_time()
                await stage.ask("b", Add(1))
                waits.append(trio.current_time() - asked)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            for _ in range(6):
                with pytest.raises(KithError):
                    await stage.ask("a", Crash())
    assert waits == [0.0] * 200
    assert stage.store.rows["b"] == 200


async def test_an_actor_that_cannot_be_built_is_supervised_too(autojump_clock: MockClock) -> None:
    stage = Stage()
    attempts: list[str] = []

    def build(activation: object, state: object) -> TallyActor:
        attempts.append("build")
        raise BrokenActorError

    broken = stage.system.register(ActorKind("broken", stage.store.load, build, Seconds(60)))
    async with running(stage.system):
        with pytest.raises(KithError) as away:
            await broken.ask("a", Add(1), Seconds(100))
        assert away.value.code is ErrorCode.UNAVAILABLE
        assert len(attempts) == 6


async def test_an_actor_that_ends_without_a_reason_has_crashed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    async with running(stage.system):
        with caplog.at_level(logging.ERROR):
            assert await stage.ask("a", End("because")) == "ending"
            assert await stage.ask("a", Add(1)) == 1
        assert stage.tallies.crashes == 1
        assert "tally/a ended with 'because'" in caplog.text
        assert [getattr(record, "actor", None) for record in caplog.records] == ["tally/a"], "logged with its address"


async def test_an_actor_that_leaves_its_mail_unread_does_not_spin(autojump_clock: MockClock) -> None:
    """It ended before its first drain, was awakened for the command that waited, ended again: a busy loop for ever."""
    stage = Stage()

    class Absent(TallyActor):
        async def run(self) -> StopReason:
            return StopReason.NEVER_BORN

    absent = stage.another("absent", Absent)
    async with running(stage.system):
        with pytest.raises(KithError) as away:
            await absent.ask("a", Add(1), Seconds(100))
        assert away.value.code is ErrorCode.UNAVAILABLE
        assert len(stage.lives) == 6


async def test_questions_that_an_actor_forgot_are_refused_when_it_ends(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    async with running(stage.system):
        with caplog.at_level(logging.ERROR):
            askers = await batch_of(stage, [End(StopReason.EXPIRED), Add(1)])
        assert askers[0].answers == ["ending"]
        assert [(error.code, error.outcome) for error in askers[1].errors] == [(ErrorCode.INTERNAL_ERROR, "unknown")]
        assert "actor left questions unanswered" in caplog.text
        assert stage.tallies.stops == {StopReason.EXPIRED: 1}


async def test_a_new_life_begins_without_the_reflex_of_the_old_one(autojump_clock: MockClock) -> None:
    """What the dead actor did on the spot it would do for ever after, with the state it died with."""
    stage = Stage()
    reflexes: list[Command] = []

    class Quick(TallyActor):
        async def run(self) -> StopReason:
            if len(stage.lives) == 1:
                self.activation.mailbox.reflex = reflexes.append
            return await super().run()

    quick = stage.another("quick", Quick)
    async with running(stage.system):
        await quick.ask("a", Add(1), Seconds(1))
        await trio.testing.wait_all_tasks_blocked()
        quick.pass_on("a", Add(10))
        assert reflexes == [Add(10)]
        with pytest.raises(KithError):
            await quick.ask("a", Crash(), Seconds(1))
        await quick.ask("a", Add(0), Seconds(1))
        await trio.testing.wait_all_tasks_blocked()
        quick.pass_on("a", Add(100))
        assert await quick.ask("a", Add(0), Seconds(1)) == 101
        assert reflexes == [Add(10)]


async def test_a_group_of_exceptions_is_one_crash(autojump_clock: MockClock) -> None:
    """An actor may have tasks of its own; what they raise comes as a group."""
    stage = Stage()

    class Divided(TallyActor):
        async def run(self) -> StopReason:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail)
                nursery.start_soon(self.fail)
                return await super().run()

        async def fail(self) -> None:
            await trio.sleep(1)
            raise BrokenActorError

    divided = stage.another("divided", Divided)
    async with running(stage.system):
        assert await divided.ask("a", Add(1), Seconds(1)) == 1
        held = Heard()
        divided.tell("a", Hold(trio.Event()), held)
        await trio.sleep(1.01)
        assert divided.crashes == 1
        assert held.codes == ["INTERNAL_ERROR"]
        assert await divided.ask("a", Add(1), Seconds(1)) == 2


async def test_an_actor_that_crashes_while_the_node_cancels_ends_nobody_else(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception came out of the system's nursery with the cancellation, and the node ended with a traceback."""
    stage = Stage()

    class Clumsy(TallyActor):
        async def run(self) -> StopReason:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.stumble)
                return await super().run()

        async def stumble(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise BrokenActorError

    clumsy = stage.another("clumsy", Clumsy)
    with caplog.at_level(logging.ERROR):
        async with running(stage.system):
            await clumsy.ask("a", Add(1), Seconds(1))
    assert clumsy.crashes == 1
    assert clumsy.stops == {StopReason.CUT_OFF: 1}
    assert "actor crashed" in caplog.text


async def test_a_reload_that_fails_is_no_crash(autojump_clock: MockClock) -> None:
    """A fenced actor whose database does not answer has no bug: it ends, its askers hear the truth."""
    stage = Stage()

    class Fenced(TallyActor):
        async def handle(self, envelope: object) -> None:  # noqa: ARG002
            await self.activation.reload()

    def down(ids: Sequence[str]) -> None:
        if len(stage.store.queries) > 1:
            raise ConnectionResetError

    stage.store.before = down
    fenced = stage.another("fenced", Fenced)
    async with running(stage.system):
        with pytest.raises(KithError) as refusal:
            await fenced.ask("a", Add(1), Seconds(5))
        assert (refusal.value.code, refusal.value.outcome) == (ErrorCode.UNAVAILABLE, "unknown")
        assert fenced.crashes == 0
        assert fenced.stops == {StopReason.LOAD_FAILED: 1}


async def test_an_asker_who_asks_again_in_its_refusal_is_heard(autojump_clock: MockClock) -> None:
    """It was refused while the dead actor still stood in the table: its next command lay where nobody drained."""
    stage = Stage()
    second = Heard()

    class Insistent(Heard):
        def refuse(self, error: KithError) -> None:
            super().refuse(error)
            stage.store.before = lambda ids: None
            stage.tallies.tell("a", Add(1), second)

    def down(ids: Sequence[str]) -> None:
        raise ConnectionRefusedError

    stage.store.before = down
    first = Insistent()
    async with running(stage.system):
        stage.tallies.tell("a", Add(1), first)
        await trio.sleep(1)
        assert first.codes == ["UNAVAILABLE"]
        assert second.answers == [1]


async def test_the_supervisor_forgets(autojump_clock: MockClock) -> None:
    stage = Stage(idle=1)
    async with running(stage.system):
        for number in range(100):
            stage.tallies.tell(str(number), Crash())
        await trio.sleep(1)
        assert len(stage.tallies._supervisor) == 100
        await trio.sleep(70)
        assert len(stage.tallies._supervisor) == 0


@settings(max_examples=500)
@given(st.lists(st.sampled_from(["add", "crash", "answer, then crash"]), min_size=1, max_size=12), st.integers(0, 3))
def test_every_command_has_exactly_one_outcome(kinds: list[str], pause: int) -> None:
    """Whatever crashes when: additions are counted once, only the guilty are refused, nobody is forgotten."""
    made: dict[str, Callable[[], Command]] = {
        "add": lambda: Add(1),
        "crash": Crash,
        "answer, then crash": AnswerThenCrash,
    }
    stage = Stage(policy=RestartPolicy(budget=1_000, first_backoff=Seconds(0.01), longest_backoff=Seconds(0.04)))

    async def main() -> list[Heard]:
        askers = [Heard() for _ in kinds]
        async with running(stage.system):
            for kind, asker in zip(kinds, askers, strict=True):
                stage.tallies.tell("a", made[kind](), asker)
                if pause:
                    await trio.sleep(pause * 0.01)
            await trio.sleep(2)
        return askers

    askers = trio.run(main, clock=MockClock(autojump_threshold=0))
    added = 0
    for kind, asker in zip(kinds, askers, strict=True):
        added += kind == "add"
        expected = {"add": ([added], []), "crash": ([], ["INTERNAL_ERROR"]), "answer, then crash": (["answered"], [])}
        assert (asker.answers, asker.codes) == expected[kind]
    assert len(stage.decided) == added
