"""The sweep between two nodes in memory: what one commits reaches the connections of the other exactly once."""

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors import sweep as sweep_module
from actors.asking import Question
from actors.shapes.conversations import CreateDirect
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import Seconds
from actors.shapes.users import CountUnread, Disconnect, Ending, UpdateProfile
from storage.memory.tables import MembershipRow, MemoryTables
from tests.actors.small_node import Ear, SmallNode, settled, small_node

AWAY = KithError(ErrorCode.UNAVAILABLE)


class Two:
    """Two nodes on the same tables; ann and bob, and their conversation."""

    def __init__(self, one: SmallNode, two: SmallNode) -> None:
        self.one, self.two = one, two
        self.ann, self.bob = one.add_user("ann"), one.add_user("bob")
        self.talk = one.add_direct(self.ann, self.bob)

    async def say(self, node: SmallNode, user: UserId, text: str, ear: Ear | None = None) -> Any:
        return await node.ask(self.talk, node.send_command(user, text, ear=ear))

    async def look(self) -> None:
        """Both sweeps, once."""
        for node in (self.one, self.two):
            await node.sweep.look()
        await settled()


@asynccontextmanager
async def two_nodes(capacity: int = 1_000) -> AsyncIterator[Two]:
    tables = MemoryTables()
    async with (
        small_node(100, tables=tables, name="one", capacity=capacity) as one,
        small_node(100, tables=tables, name="two", capacity=capacity) as two,
    ):
        two._numbers = itertools.count(1_000_000)
        for node in (one, two):
            node.sweep._position = await node.flush_log.position()
        yield Two(one, two)


async def test_a_message_of_another_node_is_told_once_and_its_own_node_does_not_repeat_it(
    autojump_clock: object,
) -> None:
    async with two_nodes() as both:
        ann, bob = await both.one.connect(both.ann), await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "hello", ann)
        assert (ann.texts, bob.texts) == (["ok 2"], [])
        for _ in range(3):
            await both.look()
        assert (ann.texts, bob.texts) == (["ok 2"], ["hello"])
        assert [said["payload"]["rev"] for said in bob.heard] == [2]


async def test_it_looks_by_itself_once_a_second_and_at_once_when_woken(autojump_clock: object) -> None:
    async with two_nodes() as both, trio.open_nursery() as nursery:
        bob = await both.two.connect(both.bob)
        await nursery.start(both.two.sweep.run)
        await both.say(both.one, both.ann, "first")
        assert bob.texts == []
        await trio.sleep(1.1)
        assert bob.texts == ["first"]
        await both.say(both.one, both.ann, "second")
        both.two.notices.wake()
        await settled()
        assert bob.texts == ["first", "second"]
        nursery.cancel_scope.cancel()


async def test_calls_that_come_close_together_are_one_look(autojump_clock: object) -> None:
    async with two_nodes() as both, trio.open_nursery() as nursery:
        await nursery.start(both.two.sweep.run)
        for _ in range(100):
            both.two.notices.wake()
            await trio.sleep(0.001)
        assert 15 <= both.two.sweep.counters.rounds <= 25
        nursery.cancel_scope.cancel()


async def test_a_conversation_born_on_another_node_is_announced(autojump_clock: object) -> None:
    async with two_nodes() as both:
        eve = both.one.add_user("eve")
        ear = await both.two.connect(eve)
        id = ConversationId(both.one.new_id())
        await both.one.ask(id, CreateDirect(both.ann, eve, "standard"))
        await both.one.ask(id, both.one.send_command(both.ann, "hello"))
        await both.look()
        assert [(said["type"], said["payload"]["rev"]) for said in ear.heard] == [
            ("conversation.created", 1),
            ("message.created", 2),
        ]


# -- who comes, and what he was told ----------------------------------------------------------------------------------


async def test_a_newcomer_is_not_told_again_what_his_heads_cover(autojump_clock: object) -> None:
    async with two_nodes() as both:
        await both.say(both.one, both.ann, "before he came")
        bob = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "after he came")
        await both.look()
        assert bob.texts == ["after he came"]


async def test_what_is_committed_here_while_he_comes_is_in_his_heads_or_an_event(autojump_clock: object) -> None:
    """The conversation's actor commits between his registration and the look at his heads."""
    async with two_nodes() as both:
        async with both.one.busy(both.bob) as newcomer:
            await both.say(both.one, both.ann, "meanwhile")
        assert newcomer.texts == [], "his heads were read after the commit: they cover it"
        await both.say(both.one, both.ann, "later")
        assert newcomer.texts == ["later"]


async def test_heads_are_remembered_for_moments_only(autojump_clock: object) -> None:
    async with two_nodes() as both, trio.open_nursery() as nursery:
        await nursery.start(both.two.sweep.run)
        await both.two.connect(both.bob)
        actor = actor_of(both.two, both.bob)
        assert actor._newcomers is not None
        await trio.sleep(sweep_module.SETTLED_AFTER + 2.5)
        assert actor._newcomers is None
        nursery.cancel_scope.cancel()


def actor_of(node: SmallNode, user: UserId) -> Any:
    return node.users._cells[user].mailbox.reflex.__self__  # type: ignore[union-attr]


async def test_unread_counts_follow_other_nodes(autojump_clock: object) -> None:
    async with two_nodes() as both:
        await both.two.connect(both.bob)

        async def unread() -> int:
            question = Question("user")
            both.two.users.tell(both.bob, CountUnread((both.talk,)), question)
            counts: dict[ConversationId, int] = await question.wait(Seconds(5.0))
            return counts[both.talk]

        assert await unread() == 0
        await both.say(both.one, both.ann, "one")
        await both.say(both.one, both.ann, "two")
        assert await unread() == 0
        await both.look()
        assert await unread() == 2
        await both.say(both.two, both.ann, "three")
        assert await unread() == 3


# -- what others changed, before the next decision --------------------------------------------------------------------


async def test_a_conversation_that_changed_elsewhere_is_read_anew_and_not_fenced(autojump_clock: object) -> None:
    async with two_nodes() as both:
        await both.say(both.one, both.ann, "one")
        await both.say(both.two, both.bob, "two")  # awake on both
        await both.look()
        units = len(both.one.journal.appended)
        sent = await both.say(both.one, both.ann, "three")
        assert (sent.seq, len(both.one.journal.appended) - units) == (3, 1)


async def test_without_the_news_the_fence_holds(autojump_clock: object) -> None:
    async with two_nodes() as both:
        await both.say(both.one, both.ann, "one")
        await both.say(both.two, both.bob, "two")
        units = len(both.one.journal.appended)
        both.one.notices.others = 1
        sent = await both.say(both.one, both.ann, "three")
        assert (sent.seq, len(both.one.journal.appended) - units) == (3, 2)
        assert both.one.notices._woken.is_set(), "who is fenced has others looked for: they go before it"


async def test_a_new_name_is_used_on_the_other_node(autojump_clock: object) -> None:
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        await both.say(both.two, both.ann, "as ann")
        question = Question("user")
        both.one.users.tell(both.ann, UpdateProfile(display_name="Annette"), question)
        await question.wait(Seconds(5.0))
        await both.look()
        await both.say(both.two, both.ann, "as annette")
        assert [said["payload"]["sender_name"] for said in bob.heard] == ["ann", "Annette"]


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_what_a_failing_database_interrupts_is_told_later_and_once(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        for number in range(3):
            await both.say(both.one, both.ann, str(number))
        failures = both.two.flush_log.failures
        failures.append(AWAY)  # the position is read first
        await both.two.sweep.look()
        assert (bob.texts, both.two.sweep.counters.failures) == ([], 1)
        with monkeypatch.context() as patched:
            patched.setattr(both.two.flush_log, "changed", away)
            await both.two.sweep.look()  # the heads are known now, what changed is not
        assert bob.texts == []
        await both.say(both.one, both.ann, "3")
        await both.look()
        assert bob.texts == ["0", "1", "2", "3"]


async def away(*_: object) -> None:
    raise AWAY


async def test_what_an_actor_failed_to_tell_is_told_by_the_sweep(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug between commit and publishing: the message was on disk, its sender heard `ok` at last, nobody else ever
    heard of it."""
    async with two_nodes() as both:
        bob = await both.one.connect(both.bob)
        with monkeypatch.context() as patched:
            patched.setattr(both.one.users, "pass_on", broken)
            sending = both.one.tell(both.talk, both.one.send_command(both.ann, "nearly lost"))
            await settled()
        await trio.sleep(5)
        assert sending[0].told, "decided again after the crash, and found to be stored"
        assert bob.texts == []
        await both.look()
        assert bob.texts == ["nearly lost"]
        assert both.one.sweep.counters.unpublished == 1


def broken(*_: object) -> None:
    raise RuntimeError("a bug of the publishing")


async def test_too_much_at_once_closes_to_reload(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "PENDING_MOST", 5)
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        for number in range(6):
            await both.say(both.one, both.ann, str(number))
        await both.look()
        assert (bob.texts, bob.ended, both.two.sweep.counters.resyncs) == ([], [Ending.RESYNC], 1)
        again = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "after")
        await both.look()
        assert again.texts == ["after"]


async def test_a_bug_closes_to_reload_and_ends_nobody(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "one")
        with monkeypatch.context() as patched:
            patched.setattr(sweep_module, "tellings", broken)
            await both.look()
        assert bob.ended == [Ending.RESYNC]
        again = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "two")
        await both.look()
        assert again.texts == ["two"]


async def test_what_cannot_be_read_for_long_closes_to_reload_once(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that failed each time, though the database answered, kept back everything behind it, and nobody knew."""
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "one")
        with monkeypatch.context() as patched:
            patched.setattr(both.two.flush_log, "changed", away)
            await both.two.sweep.look()
            await trio.sleep(14)
            await both.two.sweep.look()
            await settled()
            assert bob.ended == []
            await trio.sleep(1)
            await both.two.sweep.look()
            await settled()
            assert (bob.ended, both.two.sweep.counters.resyncs) == ([Ending.RESYNC], 1)
            await both.two.sweep.look()
        again = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "two")
        await both.look()
        assert (again.texts, both.two.sweep.counters.resyncs) == (["two"], 1)


async def test_an_outage_is_no_reason_to_reload(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        await both.say(both.one, both.ann, "one")
        with monkeypatch.context() as patched:
            patched.setattr(both.two.flush_log, "changed", away)
            await both.two.sweep.look()
            patched.setattr(both.two.flush_log, "since", away)
            await trio.sleep(60)
            await both.two.sweep.look()
        await both.look()
        assert (bob.texts, bob.ended) == (["one"], [])


async def test_a_full_mailbox_hears_of_a_suspension(autojump_clock: object) -> None:
    """What his actor had no room for it never learned, and he was let in again at this node."""
    async with two_nodes(capacity=3) as both:
        await both.two.connect(both.bob)
        question = Question("user")
        both.one.users.tell(both.bob, UpdateProfile(bio="x"), question)
        await question.wait(Seconds(5.0))
        both.two.tables.users[both.bob].status = "suspended"
        async with both.two.busy(both.bob):
            for _ in range(3):
                both.two.users.tell(both.bob, CountUnread(()))
            await both.two.sweep.look()
        await settled()
        again = await both.two.connect(both.bob)
        assert again.ended == [Ending.REVOKED]


async def test_a_full_mailbox_closes_to_reload(autojump_clock: object) -> None:
    async with two_nodes(capacity=3) as both:
        bob = await both.two.connect(both.bob)
        async with both.two.busy(both.bob):
            for number in range(5):
                await both.say(both.one, both.ann, str(number))
            await both.two.sweep.look()
        assert bob.ended == [Ending.RESYNC]


async def test_pages_keep_the_order(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "PAGE", 3)
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        for number in range(20):
            await both.say(both.one, both.ann, str(number))
        await both.look()
        assert bob.texts == [str(number) for number in range(20)]


async def test_a_change_that_has_no_event_closes_to_reload(autojump_clock: object) -> None:
    async with two_nodes() as both:
        bob = await both.two.connect(both.bob)
        table = both.one.tables.conversations[both.talk]
        table.members.append(MembershipRow(both.one.add_user("eve"), "member", 2, both.one.clock.start, 2))
        table.rev = 2
        both.one.tables.flushes.append(sweep_row("one", both.talk, 1, 2))
        await both.look()
        assert bob.ended == [Ending.RESYNC]


def sweep_row(node: str, id: str, old: int, new: int) -> Any:
    from storage.memory.tables import FlushRow

    return FlushRow(node, [("c", id, old, new)])


async def test_sleepers_stay_asleep(autojump_clock: object) -> None:
    async with two_nodes() as both:
        await both.say(both.one, both.ann, "hello")
        await both.look()
        assert not both.two.users.is_awake(both.bob)
        assert not both.two.conversations.is_awake(both.talk)


# -- whatever happens -------------------------------------------------------------------------------------------------


class Listener:
    """A connection, and what it must have heard: everything above the heads it was told."""

    def __init__(self, user: UserId, ear: Ear, head: int) -> None:
        self.user, self.ear, self.head = user, ear, head


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("look"), st.integers(0, 1)),
    st.tuples(st.just("connect"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("hold"), st.integers(0, 1)),
    st.tuples(st.just("release"), st.integers(0, 1)),
    st.tuples(st.just("away"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(0, 3)),
)


class Play:
    """Whatever a program of steps does to two nodes."""

    def __init__(self, both: Two) -> None:
        self.both = both
        self.nodes, self.people = (both.one, both.two), (both.ann, both.bob)
        self.listeners: list[Listener] = []
        self.sent = 0

    async def send(self, node: int, user: int) -> None:
        where, who = self.nodes[node], self.people[user]
        self.sent += 1
        here = [one.ear for one in self.listeners if one.user == who and one.ear in ears_of(where, who)]
        ear = here[self.sent % len(here)] if here and self.sent % 2 else None
        where.tell(self.both.talk, where.send_command(who, f"{self.sent}", ear=ear))

    async def look(self, node: int) -> None:
        await self.nodes[node].sweep.look()

    async def connect(self, node: int, user: int) -> None:
        where, who = self.nodes[node], self.people[user]
        ear = await where.connect(who)
        head = actor_of(where, who)._newcomers._told[ear.id][1][self.both.talk]
        self.listeners.append(Listener(who, ear, head))

    async def leave(self, which: int) -> None:
        if self.listeners:
            gone = self.listeners.pop(which % len(self.listeners))
            for node in self.nodes:
                node.users.must_tell(gone.user, Disconnect(gone.ear.id))

    async def hold(self, node: int) -> None:
        self.nodes[node].journal.hold()

    async def release(self, node: int) -> None:
        self.nodes[node].journal.release()

    async def away(self, node: int) -> None:
        self.nodes[node].flush_log.failures.append(AWAY)

    async def wait(self, seconds: int) -> None:
        await trio.sleep(seconds)

    async def judge(self) -> None:
        for node in self.nodes:
            node.journal.release()
            node.flush_log.failures.clear()
        await trio.sleep(30)
        await self.both.look()
        rev = self.both.one.tables.conversations[self.both.talk].rev
        for one in self.listeners:
            assert one.ear.ended == []
            revs = [said["payload"]["rev"] for said in one.ear.heard if said["type"] in ("ok", "message.created")]
            assert sorted(revs) == list(range(one.head + 1, rev + 1)), "each exactly once"


async def play(steps: list[tuple[Any, ...]], chance: random.Random) -> None:
    async with two_nodes() as both:
        play = Play(both)
        try:
            for what, *values in steps:
                await getattr(play, what)(*values)
                if chance.random() < 0.7:
                    await settled()
            await play.judge()
        finally:  # an actor that waits for its journal cannot be cancelled: a step that fails must not hang the test
            for node in play.nodes:
                node.journal.release()


def ears_of(node: SmallNode, user: UserId) -> list[Any]:
    if not node.users.is_awake(user):
        return []
    return list(actor_of(node, user)._attendance.sockets)


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=10, max_size=60), st.randoms(use_true_random=False))
def test_each_connection_hears_each_message_exactly_once(steps: list[tuple[Any, ...]], chance: random.Random) -> None:
    trio.run(play, steps, chance, clock=MockClock(autojump_threshold=0))
