"""The mailbox alone: what is put is drained once and in order, whatever is cancelled around it."""

import logging
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.mailbox import BATCH_LIMIT, NOBODY, YIELD_EVERY, Envelope, Mailbox, MailboxFullError, StopReason
from actors.shapes.errors import ErrorCode, KithError
from tests.actors.stage import Deaf, Heard


def box(*commands: object, capacity: int = 1_000) -> Mailbox[Any]:
    mailbox: Mailbox[Any] = Mailbox(capacity)
    for command in commands:
        mailbox.put(Envelope(command, NOBODY))
    return mailbox


async def taken(mailbox: Mailbox[Any]) -> list[object]:
    return [envelope.command for envelope in await mailbox.drain()]


async def test_a_drain_takes_everything_in_order() -> None:
    assert await taken(box(1, 2, 3)) == [1, 2, 3]


async def test_a_drain_takes_no_more_than_the_limit() -> None:
    mailbox = box(*range(BATCH_LIMIT + 10))
    assert await taken(mailbox) == list(range(BATCH_LIMIT))
    assert len(mailbox) == 10
    assert await taken(mailbox) == list(range(BATCH_LIMIT, BATCH_LIMIT + 10))


async def test_a_put_wakes_the_drain(autojump_clock: trio.testing.MockClock) -> None:
    mailbox = box()
    parked: list[bool] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def sender() -> None:
            await trio.sleep(5)
            parked.append(mailbox.parked)
            mailbox.put(Envelope("late", NOBODY))
            parked.append(mailbox.parked)

        assert await taken(mailbox) == ["late"]
    assert parked == [True, False]


def test_a_full_mailbox_raises_and_keeps_what_it_has() -> None:
    mailbox = box(1, 2, capacity=2)
    before = mailbox.overflowed
    with pytest.raises(MailboxFullError):
        mailbox.put(Envelope(3, NOBODY))
    assert (before, mailbox.overflowed) == (False, True)
    assert len(mailbox) == 2
    mailbox.put_beyond(Envelope("farewell", NOBODY))
    assert len(mailbox) == 3


async def test_only_the_waiting_is_a_checkpoint() -> None:
    """A deadline in the past around a drain still yields what is here: nothing is ever half taken."""
    mailbox = box(1)
    with trio.CancelScope() as scope, trio.testing.assert_no_checkpoints():
        scope.cancel()
        assert await taken(mailbox) == [1]
    assert not scope.cancelled_caught


async def test_a_cancelled_wait_leaves_the_mailbox_usable() -> None:
    mailbox = box()
    with trio.move_on_after(0) as scope:
        await mailbox.drain()
    assert scope.cancelled_caught
    assert not mailbox.parked
    mailbox.put(Envelope(1, NOBODY))
    assert await taken(mailbox) == [1]


async def test_a_command_and_the_deadline_in_the_same_tick() -> None:
    """The put has woken the drain when the cancellation arrives: the command is delivered, not dropped."""
    mailbox = box()
    got: list[object] = []

    async def reader(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            got.extend(await taken(mailbox))

    async with trio.open_nursery() as nursery:
        scope: trio.CancelScope = await nursery.start(reader)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.put(Envelope(1, NOBODY))
        scope.cancel()
    assert got == [1]


async def test_an_actor_that_tells_itself_lets_others_run() -> None:
    """A drain that finds something does not wait; without a checkpoint now and then this would never end."""
    mailbox = box(0)
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(3 * YIELD_EVERY):
            await mailbox.drain()
            mailbox.put(Envelope(0, NOBODY))
        nursery.cancel_scope.cancel()
    assert others >= 2


async def test_two_tasks_cannot_drain_one_mailbox() -> None:
    """The second would take the first one's place, and the first would wait for ever."""
    mailbox = box()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.drain)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await mailbox.drain()
        nursery.cancel_scope.cancel()


async def test_a_batch_is_lent_until_the_next_drain() -> None:
    mailbox = box(1, 2)
    batch = await mailbox.drain()
    mailbox.stop(StopReason.IDLE)
    await mailbox.drain()
    assert batch == [], "a parked actor would keep its last batch alive"


async def test_what_an_actor_does_to_its_batch_does_not_hide_it_from_the_supervisor() -> None:
    mailbox = box(1, 2)
    batch = await mailbox.drain()
    batch.clear()
    assert [envelope.command for envelope in mailbox.take_back()] == [1, 2]


async def test_stop_lets_the_actor_finish() -> None:
    mailbox = box(1)
    mailbox.stop(StopReason.SHUTDOWN)
    mailbox.put(Envelope(2, NOBODY))
    assert await taken(mailbox) == [1, 2]
    assert await taken(mailbox) == []
    assert mailbox.stop_reason is StopReason.SHUTDOWN


async def test_stop_wakes_a_parked_actor() -> None:
    mailbox = box()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def stopper() -> None:
            await trio.testing.wait_all_tasks_blocked()
            mailbox.stop(StopReason.SHUTDOWN)

        assert await taken(mailbox) == []


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        (StopReason.IDLE, StopReason.SHUTDOWN, StopReason.SHUTDOWN),
        (StopReason.SHUTDOWN, StopReason.IDLE, StopReason.SHUTDOWN),
        (StopReason.NEVER_BORN, StopReason.SHUTDOWN, StopReason.NEVER_BORN),
    ],
)
def test_which_reason_stands(first: StopReason, second: StopReason, stands: StopReason) -> None:
    mailbox = box()
    mailbox.stop(first)
    mailbox.stop(second)
    assert mailbox.stop_reason is stands


async def test_a_message_takes_the_sleep_back() -> None:
    """The sweep had stopped a user's actor in the tick in which he connected. It registered the connection and ended
    behind it: his socket stayed open, and no event ever reached it again."""
    mailbox = box()
    got: list[list[object]] = []

    async def reader() -> None:
        got.append(await taken(mailbox))
        with trio.move_on_after(0):
            got.append(await taken(mailbox))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.stop(StopReason.IDLE)
        mailbox.put(Envelope("connect", NOBODY))
    assert got == [["connect"]], "the second drain waits, it does not end"
    assert mailbox.stop_reason is None


async def test_refuse_all_answers_everybody_once_and_says_what_was_begun() -> None:
    mailbox: Mailbox[int] = Mailbox(10)
    in_hand, again, waiting, settled = Heard(), Heard(), Heard(), Heard()
    for asker in (settled, in_hand):
        mailbox.put(Envelope(1, asker))
    (await mailbox.drain())[0].answer("done")
    mailbox.again([Envelope(2, again)])
    mailbox.put(Envelope(3, waiting))
    for _ in range(2):
        mailbox.refuse_all(KithError(ErrorCode.UNAVAILABLE, outcome="none"))
    assert [asker.errors[0].outcome for asker in (in_hand, again, waiting)] == ["unknown", "unknown", "none"]
    assert [len(asker.errors) for asker in (in_hand, again, waiting, settled)] == [1, 1, 1, 0]
    assert settled.answers == ["done"]
    assert not mailbox.owes


def test_an_asker_with_a_bug_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        Envelope(1, Deaf()).answer("anything")
        Envelope(1, Deaf()).refuse(KithError(ErrorCode.FORBIDDEN))
    assert [(record.message, getattr(record, "asker", None)) for record in caplog.records] == [
        ("asker failed", "Deaf")
    ] * 2


def test_an_outcome_is_told_once() -> None:
    asker = Heard()
    envelope = Envelope(1, asker)
    envelope.answer("first")
    envelope.answer("second")
    envelope.refuse(KithError(ErrorCode.FORBIDDEN))
    assert (asker.answers, asker.errors) == (["first"], [])


def test_who_takes_an_envelope_over_answers_it() -> None:
    asker = Heard()
    envelope = Envelope(1, asker)
    taken_over = envelope.hand_over()
    envelope.refuse(KithError(ErrorCode.UNAVAILABLE))
    taken_over.answer("later")
    assert (asker.answers, asker.errors) == (["later"], [])


@settings(max_examples=500)
@given(
    puts=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=30),
    patience=st.lists(st.integers(1, 3), min_size=1, max_size=10),
)
def test_every_command_is_drained_once_and_in_order(puts: list[tuple[int, int]], patience: list[int]) -> None:
    """Any pauses of the sender against any deadlines around the drain; half of them fall into the same moment."""

    async def main() -> list[object]:
        mailbox = box()
        got: list[object] = []

        async def sender() -> None:
            number = 0
            for pause, count in puts:
                await trio.sleep(pause)
                for _ in range(count):
                    mailbox.put(Envelope(number, NOBODY))
                    number += 1
            mailbox.stop(StopReason.SHUTDOWN)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender)
            turn = 0
            while mailbox.stop_reason is None or len(mailbox):
                with trio.move_on_after(patience[turn % len(patience)]):
                    got += await taken(mailbox)
                turn += 1
        return got

    sent = list(range(sum(count for _, count in puts)))
    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == sent
