"""A user's actor: every connection hears everything, once and in order, and none stays that may have missed some."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.asking import Question
from actors.mailbox import StopReason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.frames import Frame
from actors.shapes.ids import ConversationId, LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import (
    CloseLogins,
    Connect,
    Connected,
    CountUnread,
    Deliver,
    Disconnect,
    Ending,
    NewLogin,
    OpenLogin,
    Register,
    UpdateProfile,
    UserChanged,
    UserState,
)
from storage.memory.accounts import MemoryAccounts
from storage.memory.users import MemoryUsers
from tests.actors.small_node import Answer, Ear, SmallNode, settled, small_node

UNAVAILABLE = KithError(ErrorCode.UNAVAILABLE)


def event(node: SmallNode, seq: int = 0, **more: Any) -> Deliver:
    frame = Frame(b'{"type":"message.created","payload":{"text":"%d"}}' % seq)
    return Deliver(frame, ConversationId(node.new_id()), seq, UserId(node.new_id()), **more)


async def ask(node: SmallNode, user: UserId, command: Any) -> Any:
    question = Question("user")
    node.users.tell(user, command, question)
    return await question.wait(Seconds(60))


def mailbox(node: SmallNode, user: UserId) -> Any:
    return node.users._cells[user].mailbox


# -- delivery ---------------------------------------------------------------------------------------------------------


async def test_everybody_hears_the_event_and_its_origin_the_ok(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        ears = [await node.connect(user) for _ in range(3)]
        ok = Frame(b'{"type":"ok","payload":{"rev":7}}')
        told = event(node, 1, origin=ears[1].id, ok=ok)
        node.users.tell(user, told)
        node.users.tell(user, event(node, 2, origin=ears[1].id))  # its command had no ref: nothing to answer
        await settled()
        assert [e.texts for e in ears] == [["1", "2"], ["ok 7"], ["1", "2"]]
        assert ears[0].frames[0] is ears[2].frames[0] is told.frame  # encoded once, shared by all


async def test_a_connection_learns_where_it_stands(autojump_clock: object) -> None:
    async with small_node() as node:
        ann, bob = node.add_user("ann"), node.add_user("bob")
        talk = node.add_direct(ann, bob)
        await node.ask(talk, node.send_command(bob, "hi"))
        connected = await ask(node, ann, Connect(Ear(1, LoginId("l")), None, 0))
        assert isinstance(connected, Connected)
        assert (connected.heads, connected.user.username, connected.unread_notifications) == ({talk: 2}, "ann", 0)


async def test_who_left_hears_nothing_more(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        ear, other = await node.connect(user), await node.connect(user)
        node.users.must_tell(user, Disconnect(ear.id))
        node.users.tell(user, event(node, 1))
        await settled()
        assert (ear.texts, ear.ended, other.texts) == ([], [], ["1"])


# -- who may connect --------------------------------------------------------------------------------------------------


async def test_a_device_has_one_connection(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        first = await node.connect(user, "phone", 5)
        late = await node.connect(user, "phone", 5)
        newer = await node.connect(user, "phone", 6)
        node.users.tell(user, event(node, 1))
        await settled()
        assert [e.ended for e in (first, late, newer)] == [[Ending.REPLACED], [Ending.REPLACED], []]
        assert [e.texts for e in (first, late, newer)] == [[], [], ["1"]]


async def test_the_cap_of_connections(autojump_clock: object) -> None:
    async with small_node(connections_most=2) as node:
        user = node.add_user("ann")
        ears = [await node.connect(user) for _ in range(3)]
        assert [e.ended for e in ears] == [[], [], [Ending.TOO_MANY]]


async def test_unknown_suspended_deleted_and_revoked_do_not_get_in(autojump_clock: object) -> None:
    async with small_node() as node:
        suspended, deleted, fine = [node.add_user(name) for name in ("sue", "del", "fin")]
        node.tables.users[suspended].status = "suspended"
        node.tables.users[deleted].status = "deleted"
        revoked = LoginId(node.new_id())
        node.revocations.add([revoked])
        ears = [
            await node.connect(UserId(node.new_id())),
            await node.connect(suspended),
            await node.connect(deleted),
            await node.connect(fine, login=revoked),
            await node.connect(fine),
        ]
        assert [e.ended for e in ears] == [[Ending.REVOKED]] * 4 + [[]]


async def test_a_revoked_login_ends_its_connections_at_once(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        logins = [LoginId(node.new_id()) for _ in range(2)]
        for number, login in enumerate(logins):
            now = node.clock.now()
            new = NewLogin(login, b"%d" % number, None, None, now, WallTime(now + 10**9))
            await ask(node, user, OpenLogin(new))
        ears = [await node.connect(user, login=login) for login in (*logins, logins[0])]
        assert await ask(node, user, CloseLogins([logins[0]])) == [logins[0]]
        assert [e.ended for e in ears] == [[Ending.REVOKED], [], [Ending.REVOKED]]
        assert logins[0] in node.revocations
        assert (await node.connect(user, login=logins[0])).ended == [Ending.REVOKED]


async def test_when_the_heads_cannot_be_read_the_newcomer_is_refused_and_not_kept(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        node.user_store.failures.append(UNAVAILABLE)
        ear, asked = Ear(1, LoginId("l")), Answer()
        node.users.tell(user, Connect(ear, "phone", 1), asked)
        await settled()
        assert asked.only.code is ErrorCode.UNAVAILABLE
        node.users.tell(user, event(node, 1))
        await settled()
        assert (ear.frames, ear.ended) == ([], [])
        assert not mailbox(node, user).pinned
        assert (await node.connect(user, "phone", 2)).ended == []


# -- nothing is missed silently ---------------------------------------------------------------------------------------


async def test_events_that_found_no_room_close_the_connections_with_resync(autojump_clock: object) -> None:
    async with small_node(capacity=4) as node:
        user = node.add_user("ann")
        ear = await node.connect(user)
        for n in range(4):
            node.users.tell(user, event(node, n + 1))
        with pytest.raises(KithError) as refused:
            node.users.tell(user, event(node, 5))
        await settled()
        assert (refused.value.code, ear.ended) == (ErrorCode.OVERLOADED, [Ending.RESYNC])
        again = await node.connect(user)
        node.users.tell(user, event(node, 11))
        await settled()
        assert (again.ended, again.texts) == ([], ["11"])


async def test_unread_is_counted_again_after_events_found_no_room(autojump_clock: object) -> None:
    """The refused events were never counted, and the counts kept: from then on the user was shown too few, for as long
    as his actor stayed awake."""
    async with small_node(capacity=4) as node:
        ann, bob = node.add_user("ann"), node.add_user("bob")
        talk = node.add_direct(ann, bob)
        assert await ask(node, bob, CountUnread((talk,))) == {talk: 0}
        async with node.busy(bob):
            for n in range(4):
                node.users.tell(bob, event(node, n))
            node.tell(talk, *[node.send_command(ann, "x") for _ in range(4)])
            await settled()
        assert await ask(node, bob, CountUnread((talk,))) == {talk: 4}


async def test_a_crash_sends_the_connections_away_and_the_next_life_is_fresh(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        ear, other = await node.connect(user), await node.connect(user)
        other.broken = ZeroDivisionError("a bug in an edge")
        node.users.tell(user, event(node, 1))
        await trio.sleep(1)
        assert (ear.ended, other.ended) == ([Ending.RESTART], [Ending.RESTART])
        assert not mailbox(node, user).pinned
        again = await node.connect(user)
        node.users.tell(user, event(node, 2))
        await settled()
        assert (ear.texts, other.texts, again.texts, again.ended) == (["1"], [], ["2"], [])


async def test_a_connection_whose_registration_crashed_is_not_half_kept(autojump_clock: object) -> None:
    """It was entered, then the actor crashed and closed it; decided again in the next life, the closed connection was
    entered once more. Nobody ever took leave for it: the actor never slept again, and its place was never free."""
    async with small_node() as node:
        user = node.add_user("ann")
        load = node.heads.load
        crashes = [ZeroDivisionError("a bug")]

        async def buggy(id: UserId) -> Any:
            if crashes:
                raise crashes.pop()
            return await load(id)

        node.heads.load = buggy  # type: ignore[method-assign]
        ears, answers = [Ear(n, LoginId("l")) for n in range(2)], [Answer(), Answer()]
        for ear, answer in zip(ears, answers, strict=True):
            node.users.tell(user, Connect(ear, None, 0), answer)
        await trio.sleep(1)
        for ear, answer in zip(ears, answers, strict=True):
            # Registered and alive, or told that it is not: never ended *and* kept.
            assert (ear.ended == []) == isinstance(answer.only, Connected)
        node.users.tell(user, event(node, 1))
        await settled()
        assert [ear.texts for ear in ears] == [["1"], ["1"]]


async def test_who_connects_while_the_actor_falls_asleep_is_heard(autojump_clock: object) -> None:
    """The sweep had told the idle actor to end, and in the same tick a connection came: it was registered by an actor
    that then ended, and never heard anything again."""
    async with small_node() as node:
        user = node.add_user("ann")
        await ask(node, user, CountUnread(()))
        await settled()
        mailbox(node, user).stop(StopReason.IDLE)  # the sweep
        ear = Ear(1, LoginId("l"))
        node.users.tell(user, Connect(ear, None, 0), Answer())
        await trio.sleep(1_000)
        node.users.tell(user, event(node, 1))
        await settled()
        assert (ear.texts, ear.ended) == (["1"], [])


async def test_events_keep_their_order_whether_the_actor_is_parked_or_busy(autojump_clock: object) -> None:
    """An event for a parked actor is passed on without waking it: it must overtake none that waits for a busy one."""
    async with small_node() as node:
        user = node.add_user("ann")
        ear = await node.connect(user)
        node.users.pass_on(user, event(node, 1))
        assert ear.texts == ["1"]  # on the spot
        async with node.busy(user):
            for seq in (2, 3, 4):
                node.users.pass_on(user, event(node, seq))
            assert ear.texts == ["1"]
        node.users.pass_on(user, event(node, 5))
        assert ear.texts == ["1", "2", "3", "4", "5"]


async def test_an_event_that_cannot_be_passed_on_crashes_the_actor_and_not_who_told_it(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        ear = await node.connect(user)
        ear.broken = ZeroDivisionError("a bug in an edge")
        node.users.pass_on(user, event(node, 1))
        await trio.sleep(1)
        assert (ear.ended, node.users.crashes) == ([Ending.RESTART], 1)
        assert (await node.connect(user)).ended == []


async def test_it_sleeps_when_nobody_is_connected_and_not_before(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        ear = await node.connect(user)
        await trio.sleep(1_000)
        assert node.users.is_pinned(user)
        node.users.must_tell(user, Disconnect(ear.id))
        await trio.sleep(1_000)
        assert not node.users.is_awake(user)


# -- unread -----------------------------------------------------------------------------------------------------------


async def test_unread_counts_along_and_agrees_with_a_recount(autojump_clock: object) -> None:
    async with small_node() as node:
        ann, bob, eve = node.add_user("ann"), node.add_user("bob"), node.add_user("eve")
        talk, other = node.add_direct(ann, bob), node.add_direct(bob, eve)
        assert await ask(node, bob, CountUnread((talk, other))) == {talk: 0, other: 0}
        for sender in (ann, ann, bob, ann):
            await node.ask(talk, node.send_command(sender, "x"))
        await node.ask(other, node.send_command(eve, "x"))
        await settled()
        counted = await ask(node, bob, CountUnread((talk, other)))
        recount = await node.reads.unread(bob, [talk, other])
        assert counted == {talk: 3, other: 1} == {id: count for id, (count, _) in recount.items()}
        assert await ask(node, ann, CountUnread((talk, other))) == {talk: 1}


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["ann", "bob", "ask", "full", "sleep"]), max_size=25))
def test_whatever_happens_unread_is_what_the_database_says(happenings: list[str]) -> None:
    async def main() -> None:
        async with small_node(capacity=6) as node:
            people = {name: node.add_user(name) for name in ("ann", "bob")}
            talk = node.add_direct(*people.values())
            for what in happenings:
                if what in people:
                    await node.ask(talk, node.send_command(people[what], "x"))
                elif what == "full":  # bob's mailbox has no room for what ann says now
                    async with node.busy(people["bob"]):
                        for n in range(6):
                            node.users.tell(people["bob"], event(node, n))
                        await node.ask(talk, node.send_command(people["ann"], "x"))
                elif what == "sleep":
                    await trio.sleep(500)
                await settled()
                if what == "ask":
                    counted = await ask(node, people["bob"], CountUnread((talk,)))
                    recount = await node.reads.unread(people["bob"], [talk])
                    assert counted == {talk: recount[talk][0]}

    trio.run(main, clock=MockClock(autojump_threshold=0))


# -- the account ------------------------------------------------------------------------------------------------------


async def test_a_new_name_reaches_the_conversations_that_are_awake(autojump_clock: object) -> None:
    async with small_node() as node:
        ann, bob = node.add_user("ann"), node.add_user("bob")
        talk = node.add_direct(ann, bob)
        ear = await node.connect(bob)
        await node.ask(talk, node.send_command(ann, "1"))
        changed = await ask(node, ann, UpdateProfile(display_name="Anna"))
        assert changed.name == "Anna"
        await settled()
        await node.ask(talk, node.send_command(ann, "2"))
        await settled()
        assert [said["payload"]["sender_name"] for said in ear.heard] == ["ann", "Anna"]


async def test_a_refused_command_ends_neither_the_actor_nor_its_connections(autojump_clock: object) -> None:
    async with small_node() as node:
        user, taken = node.add_user("ann"), node.add_user("bob")
        ear = await node.connect(user)
        with pytest.raises(KithError) as refused:
            await ask(node, user, UpdateProfile(username=node.tables.users[taken].username))
        assert refused.value.code is ErrorCode.USERNAME_TAKEN
        assert ear.ended == []
        assert node.users.crashes == 0


# -- what was changed elsewhere --------------------------------------------------------------------------------


async def test_who_was_suspended_elsewhere_loses_his_connections_once_it_is_told(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        ears = [await node.connect(user) for _ in range(2)]
        node.tables.users[user].status = "suspended"
        node.tables.users[user].rev += 1
        await ask(node, user, UserChanged())
        assert [ear.ended for ear in ears] == [[Ending.REVOKED], [Ending.REVOKED]]


async def test_a_known_revision_is_not_read_again(autojump_clock: object) -> None:
    async with small_node() as node:
        user = node.add_user("ann")
        await node.connect(user)
        before = len(node.user_store.loads)
        node.tables.users[user].rev = 0
        node.users.tell(user, UserChanged(rev=0))
        await settled()
        assert len(node.user_store.loads) == before + 1, "without a revision it is read in any case"
        node.tables.users[user].rev = 7
        await ask(node, user, UserChanged(rev=7))
        await ask(node, user, UserChanged(rev=7))
        assert len(node.user_store.loads) == before + 2


async def test_a_restored_user_is_let_in_by_a_node_that_was_told_nothing(autojump_clock: object) -> None:
    """Its memory calls him suspended; he signed in on another node, which knows better."""
    async with small_node() as node:
        user = node.add_user("ann")
        node.tables.users[user].status = "suspended"
        await ask(node, user, UserChanged())
        ear = Ear(1, LoginId("l"))
        node.users.tell(user, Connect(ear, None, 0))
        await settled()
        assert ear.ended == [Ending.REVOKED]
        node.tables.users[user].status = "active"
        ear = Ear(2, LoginId("m"))
        assert isinstance(await ask(node, user, Connect(ear, None, 0)), Connected)
        assert ear.ended == []


async def test_a_registration_that_cannot_be_read_back_has_happened_all_the_same(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was committed and then refused with outcome `none`, because the row could not be read; and the actor denied
    him, at this node, for as long as it stayed awake."""
    read, down = MemoryUsers.load, False

    async def load(self: MemoryUsers, ids: Sequence[UserId]) -> dict[UserId, UserState]:
        if down:
            raise UNAVAILABLE
        return await read(self, ids)

    monkeypatch.setattr(MemoryUsers, "load", load)
    async with small_node() as node:
        user = UserId(node.new_id())
        await ask(node, user, CountUnread(()))  # awake, and nobody yet
        down = True
        login = NewLogin(LoginId(node.new_id()), b"token", None, None, WallTime(0), WallTime(1 << 50))
        account = await ask(node, user, Register("zoe@example.org", "zoe", True, "hash", login))
        assert account.username == "zoe"
        down = False
        assert isinstance(await ask(node, user, Connect(Ear(1, login.id), None, 0)), Connected)


async def test_what_nobody_knows_the_outcome_of_is_read_before_it_is_decided_on(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspension whose answer is lost is on disk, and its flush row is this node's own: no sweep will tell."""
    async with small_node() as node:
        user = node.add_user("ann")

        async def answer_lost(*_: object) -> None:
            node.tables.users[user].status = "suspended"
            raise KithError(ErrorCode.UNAVAILABLE, outcome="unknown")

        monkeypatch.setattr(MemoryAccounts, "close_logins", answer_lost)
        with pytest.raises(KithError):
            await ask(node, user, CloseLogins())
        ear = await node.connect(user)
        assert ear.ended == [Ending.REVOKED]
