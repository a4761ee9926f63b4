"""Waking up: how many queries it takes, and whom a failed one harms."""

import gc
import logging
import weakref
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.loading import FAILURES_MOST, LOAD_DEADLINE, LOAD_LIMIT, Loader, LoadError
from actors.mailbox import StopReason
from actors.shapes.errors import ErrorCode, KithError
from tests.actors.stage import Add, Heard, Stage, running


async def test_all_that_wake_in_one_tick_are_loaded_by_one_query(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        for number in range(1_500):
            stage.tallies.tell(str(number), Add(1))
        await stage.ask("0", Add(1))
        assert [len(query) for query in stage.store.queries] == [1_500]


async def test_a_batch_is_bounded(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with running(stage.system):
        for number in range(2 * LOAD_LIMIT + 1):
            stage.tallies.tell(str(number), Add(1))
        await stage.ask(str(2 * LOAD_LIMIT), Add(1))
        assert [len(query) for query in stage.store.queries] == [LOAD_LIMIT, LOAD_LIMIT, 1]


async def test_while_one_batch_is_loaded_the_next_one_gathers(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.store.seconds = 1.0
    async with running(stage.system):
        for number in range(100):  # one every 10 ms
            stage.tallies.tell(str(number), Add(1))
            await trio.sleep(0.01)
        await stage.ask("99", Add(1))
        assert [len(query) for query in stage.store.queries] == [1, 99]


async def test_the_worlds_fault_fails_the_batch_and_is_not_asked_again_a_thousand_times(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    askers = [Heard() for _ in range(1_000)]

    def down(ids: Sequence[str]) -> None:
        raise ConnectionRefusedError

    stage.store.before = down
    async with running(stage.system):
        with caplog.at_level(logging.ERROR):
            for number, asker in enumerate(askers):
                stage.tallies.tell(str(number), Add(1), asker)
            await trio.sleep(1)
        assert len(stage.store.queries) == 1
        assert len(caplog.records) == 1, "one query, one line"
        assert all(asker.codes == ["UNAVAILABLE"] and asker.errors[0].outcome == "none" for asker in askers)
        assert stage.tallies.stops == {StopReason.LOAD_FAILED: 1_000}
        assert len(stage.tallies) == 0
        assert stage.tallies.crashes == 0, "no budget is spent on it"
        stage.store.before = lambda ids: None
        assert await stage.ask("7", Add(1)) == 1, "the next caller tries again at once"


async def test_a_refusal_of_the_store_reaches_the_caller_as_it_is(autojump_clock: MockClock) -> None:
    stage = Stage()

    def busy(ids: Sequence[str]) -> None:
        raise KithError(ErrorCode.OVERLOADED, retry_after=9.0)

    stage.store.before = busy
    async with running(stage.system):
        with pytest.raises(KithError) as refusal:
            await stage.ask("a", Add(1))
        assert (refusal.value.code, refusal.value.retry_after) == (ErrorCode.OVERLOADED, 9.0)


async def test_a_row_that_cannot_be_read_harms_its_own_address_only(autojump_clock: MockClock) -> None:
    """One row that could not be decoded refused the 1,999 other conversations that woke in the same tick."""
    stage = Stage()
    askers = {str(number): Heard() for number in range(LOAD_LIMIT)}

    def poison(ids: Sequence[str]) -> None:
        if "1234" in ids:
            raise ValueError("not a row")

    stage.store.before = poison
    async with running(stage.system):
        for id, asker in askers.items():
            stage.tallies.tell(id, Add(1), asker)
        await trio.sleep(1)
        refused = [id for id, asker in askers.items() if asker.errors]
        assert refused == ["1234"]
        assert askers["1234"].codes == ["UNAVAILABLE"]
        assert all(asker.answers == [1] for id, asker in askers.items() if id != "1234")
        assert len(stage.store.queries) <= 24


async def test_when_every_row_fails_the_queries_are_bounded(autojump_clock: MockClock) -> None:
    stage = Stage()
    askers = [Heard() for _ in range(LOAD_LIMIT)]

    def broken(ids: Sequence[str]) -> None:
        raise KeyError("a column that was renamed")

    stage.store.before = broken
    async with running(stage.system):
        for number, asker in enumerate(askers):
            stage.tallies.tell(str(number), Add(1), asker)
        await trio.sleep(1)
        assert all(asker.codes == ["UNAVAILABLE"] for asker in askers)
        assert len(stage.store.queries) <= 2 * FAILURES_MOST + 1


async def test_a_store_that_answers_nonsense_harms_only_those_who_asked(autojump_clock: MockClock) -> None:
    """Its answer was looked into outside of the `try`: the loader ended, and the whole node with it."""

    async def load(ids: Sequence[str]) -> dict[str, int]:
        return [*ids] if "bad" in ids else dict.fromkeys(ids, 1)  # type: ignore[return-value]

    loader: Loader[str, int] = Loader(load)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loader.run)
        with pytest.raises(LoadError):
            await loader.load("bad")
        assert await loader.load("good") == 1
        nursery.cancel_scope.cancel()


async def test_a_query_that_does_not_come_back_is_given_up(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.store.gate = trio.Event()
    async with running(stage.system):
        with pytest.raises(KithError) as refusal:
            await stage.ask("a", Add(1))
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        assert trio.current_time() == pytest.approx(LOAD_DEADLINE)


async def test_each_of_those_who_waited_gets_an_error_of_its_own(autojump_clock: MockClock) -> None:
    cause = ValueError("not a row")

    async def load(ids: Sequence[str]) -> dict[str, int]:
        raise cause

    loader: Loader[str, int] = Loader(load)
    caught: list[LoadError] = []

    async def wanting() -> None:
        with pytest.raises(LoadError) as error:
            await loader.load("a")
        caught.append(error.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loader.run)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as wants:
            for _ in range(3):
                wants.start_soon(wanting)
        nursery.cancel_scope.cancel()
    assert len({id(error) for error in caught}) == 3
    assert all(error.__cause__ is cause for error in caught)
    assert loader.queries == 1


async def test_two_who_want_the_same_both_get_it(autojump_clock: MockClock) -> None:
    """As two tasks of one actor may. They were handed one outcome, which trio lets only the first one open."""

    async def load(ids: Sequence[str]) -> dict[str, str]:
        return {id: id.upper() for id in ids}

    loader: Loader[str, str] = Loader(load)
    got: list[str | None] = []

    async def wanting() -> None:
        got.append(await loader.load("a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loader.run)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as wants:
            wants.start_soon(wanting)
            wants.start_soon(wanting)
        nursery.cancel_scope.cancel()
    assert got == ["A", "A"]
    assert loader.queries == 1


async def test_who_leaves_while_the_query_is_on_the_way_harms_nobody(autojump_clock: MockClock) -> None:
    """A load refused to be cancelled while its batch was on the way: a shutdown waited for a database that hung."""
    gate = trio.Event()

    async def load(ids: Sequence[str]) -> dict[str, str]:
        await gate.wait()
        return {id: id.upper() for id in ids}

    loader: Loader[str, str] = Loader(load)
    got: list[str | None] = []

    async def wanting(id: str) -> None:
        got.append(await loader.load(id))

    async def leaving(id: str) -> None:
        with trio.move_on_after(1) as patience:
            await loader.load(id)
        assert patience.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loader.run)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as wants:
            wants.start_soon(wanting, "a")
            wants.start_soon(wanting, "b")
            wants.start_soon(leaving, "a")
            await trio.testing.wait_all_tasks_blocked()
            assert loader.queries == 1
            await leaving("c")  # it gathers for the next batch, and has left before that is asked for
            gate.set()
        assert sorted(map(str, got)) == ["A", "B"]
        assert loader.queries == 1, "nobody wants c any more"
        nursery.cancel_scope.cancel()


async def test_a_cancelled_loader_answers_those_who_wait_elsewhere(autojump_clock: MockClock) -> None:
    loader: Loader[str, int] = Loader(never)
    caught: list[LoadError] = []

    async def wanting(id: str) -> None:
        with pytest.raises(LoadError) as error:
            await loader.load(id)
        caught.append(error.value)

    async with trio.open_nursery() as outside, trio.open_nursery() as inside:
        outside.start_soon(wanting, "on the way")
        inside.start_soon(loader.run)
        await trio.testing.wait_all_tasks_blocked()
        outside.start_soon(wanting, "gathering")
        await trio.testing.wait_all_tasks_blocked()
        inside.cancel_scope.cancel()
    assert [error.code for error in caught] == [ErrorCode.UNAVAILABLE] * 2
    with pytest.raises(LoadError):
        await loader.load("too late")


async def test_a_shutdown_does_not_wait_for_a_hanging_database(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.store.gate = trio.Event()
    asker = Heard()
    async with running(stage.system):
        stage.tallies.tell("a", Add(1), asker)
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == 0
    assert asker.codes == ["UNAVAILABLE"]
    assert stage.tallies.stops == {StopReason.CUT_OFF: 1}


async def test_the_loader_forgets_what_it_loaded(autojump_clock: MockClock) -> None:
    """Its last batch, up to 2,000 states and the tasks of their actors, stayed alive until the next actor woke."""

    class State:
        pass

    watched: list[weakref.ref[State]] = []

    async def load(ids: Sequence[str]) -> dict[str, State]:
        states = {id: State() for id in ids}
        watched.extend(map(weakref.ref, states.values()))
        return states

    loader: Loader[str, State] = Loader(load)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loader.run)
        assert await loader.load("a") is not None
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [state() for state in watched] == [None]
        nursery.cancel_scope.cancel()


async def never(ids: Sequence[str]) -> dict[str, int]:
    await trio.sleep_forever()
    raise AssertionError("unreachable")
