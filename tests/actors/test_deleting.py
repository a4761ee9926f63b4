"""Deleting: who may, what everybody is told, and that sends and deletions of one drain are one unit in their order."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from actors.inbox import Inbox
from actors.ports import ConversationUnit, Fenced, Poisoned
from actors.shapes.audit import AuditRow
from actors.shapes.conversations import DeleteMessage, Origin, ReadMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, MessageId, UserId
from actors.shapes.messages import DeletedMessage, MessageDeleted, MessageSent, MessageView
from actors.shapes.times import WallTime, iso
from actors.shapes.users import CountUnread
from storage.memory.tables import MembershipRow
from tests.actors.small_node import Ear, SmallNode, settled, small_node
from tests.actors.test_conversation_actor import Pair, code


class Group:
    """An owner, an admin, two members, and one who joined after the first message of each."""

    def __init__(self, node: SmallNode) -> None:
        self.node = node
        names = ("owner", "admin", "member", "other", "late")
        self.owner, self.admin, self.member, self.other, self.late = [node.add_user(name) for name in names]
        self.talk = node.add_direct(self.owner, self.admin, self.member, self.other)
        table = node.tables.conversations[self.talk]
        table.type = "group"
        for membership, role in zip(table.members, ("owner", "admin", "member", "member"), strict=True):
            membership.role = role

    async def say(self, sender: UserId, text: str) -> MessageSent:
        sent: MessageSent = await self.node.ask(self.talk, self.node.send_command(sender, text))
        return sent

    async def delete(self, deleter: UserId, message: MessageId, **more: Any) -> Any:
        return await self.node.ask(self.talk, DeleteMessage(deleter, message, **more))

    def join_late(self) -> None:
        """While nobody is awake: members come and go in another issue."""
        table = self.node.tables.conversations[self.talk]
        table.rev += 1
        table.members.append(MembershipRow(self.late, "admin", table.rev, self.node.clock.start, table.rev))


async def say(node: SmallNode, talk: ConversationId, sender: UserId, text: str = "x") -> MessageSent:
    sent: MessageSent = await node.ask(talk, node.send_command(sender, text))
    return sent


def types(ear: Ear) -> list[tuple[str, int]]:
    return [(said["type"], said["payload"].get("rev", 0)) for said in ear.heard]


# -- who may ----------------------------------------------------------------------------------------------------------


async def test_authors_and_admins_may_and_nobody_else(autojump_clock: object) -> None:
    async with small_node() as node:
        group = Group(node)
        authors = (group.owner, group.admin, group.member, group.other)
        outcomes = {}
        for name, deleter in zip(("owner", "admin", "member"), authors, strict=False):
            for author in authors:
                sent = await group.say(author, "x")
                outcome = await group.delete(deleter, sent.message_id)
                outcomes[name, author == deleter] = outcome if isinstance(outcome, KithError) else "deleted"
        refused = outcomes.pop(("member", False))
        assert code(refused) == ErrorCode.FORBIDDEN
        assert set(outcomes.values()) == {"deleted"}


async def test_to_strangers_neither_message_nor_conversation_exist(autojump_clock: object) -> None:
    async with small_node() as node:
        pair, eve = Pair(node), node.add_user("eve")
        sent = await say(node, pair.talk, pair.ann)
        answers = [
            await node.ask(place, DeleteMessage(eve, id))
            for place in (pair.talk, ConversationId(node.new_id()))
            for id in (sent.message_id, MessageId(node.new_id()))
        ]
        assert {(code(answer), answer.message, str(answer.details)) for answer in answers} == {
            (ErrorCode.CONVERSATION_NOT_FOUND, "No such conversation", "{}")
        }


async def test_a_message_of_another_conversation_is_none_of_this_one(autojump_clock: object) -> None:
    async with small_node() as node:
        one, two = Pair(node), Pair(node)
        sent = await say(node, two.talk, two.ann)
        assert code(await node.ask(one.talk, DeleteMessage(one.ann, sent.message_id))) == ErrorCode.MESSAGE_NOT_FOUND
        assert code(await node.ask(one.talk, ReadMessage(one.ann, sent.message_id))) == ErrorCode.MESSAGE_NOT_FOUND


async def test_an_admin_who_joined_later_deletes_what_he_may_read(autojump_clock: object) -> None:
    async with small_node() as node:
        group = Group(node)
        before = (await group.say(group.member, "before")).message_id
        group.join_late()
        await node.ask(group.talk, node.send_command(group.member, "fenced, so that it is read anew"))
        after = await group.say(group.member, "after")
        assert code(await group.delete(group.late, before)) == ErrorCode.MESSAGE_NOT_FOUND
        assert isinstance(await group.delete(group.late, after.message_id), MessageDeleted)


async def test_a_platform_admin_needs_no_membership_and_leaves_his_audit(autojump_clock: object) -> None:
    async with small_node() as node:
        pair, root = Pair(node), node.add_user("root")
        sent = await say(node, pair.talk, pair.ann)
        audit = AuditRow("a1", WallTime(1), root, "delete_message", "message", sent.message_id, reason="spam")
        command = DeleteMessage(root, sent.message_id, as_admin=True, audit=audit)
        assert await node.ask(pair.talk, command) == MessageDeleted(3)
        unit = node.journal.appended[-1]
        assert isinstance(unit, ConversationUnit)
        assert unit.beside is not None
        assert (unit.beside.audits, unit.beside.deleted[0].deleted_by) == ((audit,), root)
        # Again: nothing is done, so there is nothing to be audited.
        assert await node.ask(pair.talk, command) == MessageDeleted(3)
        assert node.journal.appended[-1] is unit
        nowhere = ConversationId(node.new_id())
        assert code(await node.ask(nowhere, command)) == ErrorCode.CONVERSATION_NOT_FOUND
        none = DeleteMessage(root, MessageId(node.new_id()), as_admin=True)
        assert code(await node.ask(pair.talk, none)) == ErrorCode.MESSAGE_NOT_FOUND


async def test_a_block_keeps_nobody_from_deleting_his_own(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        node.tables.blocks.add((pair.bob, pair.ann))
        assert await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id)) == MessageDeleted(3)


# -- what is told -----------------------------------------------------------------------------------------------------


async def test_the_ok_comes_in_the_place_of_the_event(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        ann, other, bob = [await node.connect(user) for user in (pair.ann, pair.ann, pair.bob)]
        origin = Origin(ann.id, "r", 1.0)
        (answer,) = node.tell(pair.talk, DeleteMessage(pair.ann, sent.message_id, origin))
        await settled()
        assert answer.told == []
        assert ann.heard == [{"ref": "r", "payload": {"rev": 3}, "type": "ok"}]
        event = {
            "conversation_id": pair.talk,
            "message_id": sent.message_id,
            "seq": 1,
            "rev": 3,
            "deleted_by": pair.ann,
            "deleted_at": iso(node.clock.now()),
        }
        assert other.heard == bob.heard == [{"type": "message.deleted", "payload": event}]
        assert (bob.frames[0].born, ann.frames[0].born) == (1.0, 0.0)


async def test_a_repeat_is_answered_alone_and_writes_nothing(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        await say(node, pair.talk, pair.ann, "y")
        first = await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id))
        await say(node, pair.talk, pair.bob)
        bob, units = await node.connect(pair.bob), len(node.journal.appended)
        assert first == await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id)) == MessageDeleted(4)
        assert (bob.heard, len(node.journal.appended)) == ([], units)


async def test_who_joined_later_is_told_that_a_revision_passed(autojump_clock: object) -> None:
    async with small_node() as node:
        group = Group(node)
        sent = await group.say(group.late, "by somebody who was here before")
        assert isinstance(sent, KithError)
        sent = await group.say(group.member, "before")
        group.join_late()
        await group.say(group.member, "fenced, so that it is read anew")
        late, other = await node.connect(group.late), await node.connect(group.other)
        await group.delete(group.member, sent.message_id)
        assert late.heard == [{"type": "rev", "payload": {"conversation_id": group.talk, "rev": 5}}]
        assert types(other) == [("message.deleted", 5)]


async def test_an_author_who_came_back_is_answered(autojump_clock: object) -> None:
    """Taken for somebody who knows nothing of the message he would never have got his `ok`."""
    async with small_node() as node:
        group = Group(node)
        sent = await group.say(group.member, "before")
        table = node.tables.conversations[group.talk]
        table.rev += 2
        (mine,) = (membership for membership in table.members if membership.user_id == group.member)
        mine.joined_rev = table.rev
        await group.say(group.other, "fenced, so that it is read anew")
        author = await node.connect(group.member)
        node.tell(group.talk, DeleteMessage(group.member, sent.message_id, Origin(author.id, "r", 1.0)))
        await settled()
        assert author.heard == [{"ref": "r", "payload": {"rev": 6}, "type": "ok"}]


async def test_nothing_is_told_before_the_commit(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        bob = await node.connect(pair.bob)
        node.journal.hold()
        (answer,) = node.tell(pair.talk, DeleteMessage(pair.ann, sent.message_id))
        await settled()
        assert (answer.told, bob.heard) == ([], [])
        node.journal.release()
        await settled()
        assert (answer.only, types(bob)) == (MessageDeleted(3), [("message.deleted", 3)])


# -- one drain --------------------------------------------------------------------------------------------------------


async def drained(node: SmallNode, talk: ConversationId, *commands: Any) -> Sequence[Any]:
    """All in one batch; what each was told."""
    answers = node.tell(talk, *commands)
    await settled()
    return [answer.only for answer in answers]


async def test_sends_and_deletions_of_a_drain_are_one_unit_in_their_order(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        old = [await say(node, pair.talk, pair.ann, text) for text in ("one", "two")]
        bob, units = await node.connect(pair.bob), len(node.journal.appended)
        told = await drained(
            node,
            pair.talk,
            DeleteMessage(pair.ann, old[0].message_id),
            node.send_command(pair.ann, "three"),
            DeleteMessage(pair.ann, old[1].message_id),
            DeleteMessage(pair.bob, old[1].message_id),
            DeleteMessage(pair.ann, old[0].message_id),
            node.send_command(pair.bob, "four"),
        )
        assert [getattr(answer, "rev", answer) for answer in told[:3]] == [4, 5, 6]
        assert code(told[3]) == ErrorCode.FORBIDDEN
        assert (told[4], told[5].rev, told[5].seq) == (MessageDeleted(4), 7, 4)
        assert len(node.journal.appended) == units + 1
        assert types(bob) == [
            ("message.deleted", 4), ("message.created", 5), ("message.deleted", 6), ("message.created", 7),
        ]  # fmt: skip


async def test_a_message_of_the_same_drain_can_be_deleted(autojump_clock: object) -> None:
    """It waits for the unit that writes the message: one statement cannot insert a row and change it."""
    async with small_node() as node:
        pair = Pair(node)
        await say(node, pair.talk, pair.bob)
        bob, number = await node.connect(pair.bob), iter(range(1, 9))
        ids = [node.new_id() for _ in range(8)]
        numbers, node._numbers = node._numbers, iter(())  # type: ignore[assignment]
        node.new_id = lambda: ids[next(number)]  # type: ignore[method-assign]
        sends = [node.send_command(pair.ann, text, id=ids[0][:-1] + text) for text in "ab"]
        told = await drained(node, pair.talk, sends[0], DeleteMessage(pair.ann, MessageId(ids[1])), sends[1])
        node._numbers = numbers
        assert [answer.rev for answer in told] == [3, 4, 5]
        assert types(bob) == [("message.created", 3), ("message.deleted", 4), ("message.created", 5)]
        view = await node.ask(pair.talk, ReadMessage(pair.bob, MessageId(ids[1])))
        assert isinstance(view, MessageView)
        assert (view.text, view.rev) == (None, 4)


async def test_who_is_fenced_decides_on_what_is_there_now(autojump_clock: object) -> None:
    """Another node was faster, and deleted the same message: its revision is the answer, and nothing is written."""
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        table = node.tables.conversations[pair.talk]
        facts = node.reads.facts

        async def facts_then_fence(id: ConversationId, messages: Sequence[MessageId]) -> Any:
            found = await facts(id, messages)
            if table.rev == 2:  # asked by us, then done by them
                table.rev = 3
                table.deleted[sent.message_id] = DeletedMessage(sent.message_id, id, 1, 3, 2, pair.bob, WallTime(1))
            return found

        node.reads.facts = facts_then_fence  # type: ignore[method-assign]
        assert await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id)) == MessageDeleted(3)
        assert (table.rev, table.deleted[sent.message_id].deleted_by) == (3, pair.bob)


async def test_fenced_for_ever_it_says_try_again(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        node.journal.script.extend([Fenced()] * 5)
        assert code(await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id))) == ErrorCode.TRY_AGAIN


async def test_of_a_poisoned_batch_the_others_are_done(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        poisoned = node.send_command(pair.ann, "nul \0")
        told = await drained(node, pair.talk, poisoned, DeleteMessage(pair.ann, sent.message_id))
        assert (code(told[0]), told[1]) == (ErrorCode.INVALID_PAYLOAD, MessageDeleted(3))
        node.journal.script.append(Poisoned("22000"))
        refused = await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id))
        assert refused == MessageDeleted(3)  # nothing was appended


async def test_a_journal_that_is_full_refuses_the_deletion(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        node.journal.script.append(KithError(ErrorCode.UNAVAILABLE))
        told = await drained(
            node,
            pair.talk,
            DeleteMessage(pair.ann, sent.message_id),
            DeleteMessage(pair.bob, sent.message_id),
        )
        assert [code(answer) for answer in told] == [ErrorCode.UNAVAILABLE, ErrorCode.UNAVAILABLE]
        assert node.tables.conversations[pair.talk].deleted == {}


# -- what it leaves ---------------------------------------------------------------------------------------------------


async def test_a_repeated_send_of_what_was_deleted_answers_the_first_outcome(autojump_clock: object) -> None:
    """From memory and, long after, from the database, which has no text any more to compare it with."""
    async with small_node() as node:
        pair = Pair(node)
        command = node.send_command(pair.ann, "once", id=node.new_id())
        first = await node.ask(pair.talk, command)
        await node.ask(pair.talk, DeleteMessage(pair.ann, first.message_id))
        assert await node.ask(pair.talk, command) == replace(first, duplicate=True)
        for number in range(20):
            await say(node, pair.talk, pair.ann, f"{number}")
        assert await node.ask(pair.talk, command) == replace(first, duplicate=True)


async def test_a_reply_to_what_was_deleted_is_taken(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        first = await say(node, pair.talk, pair.ann)
        await node.ask(pair.talk, DeleteMessage(pair.ann, first.message_id))
        reply = await node.ask(pair.talk, node.send_command(pair.bob, "late", reply_to=first.message_id))
        assert isinstance(reply, MessageSent)


async def test_unread_counts_are_exact_whatever_was_known(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        count = CountUnread((pair.talk,))

        async def unread() -> int:
            answer = node.users.ask(pair.bob, count, 10.0)  # type: ignore[arg-type]
            return int((await answer)[pair.talk])

        sent = [await say(node, pair.talk, pair.ann, text) for text in "abc"]
        bob = await node.connect(pair.bob)
        assert await unread() == 3
        await node.ask(pair.talk, DeleteMessage(pair.ann, sent[1].message_id))
        assert await unread() == 2
        await say(node, pair.talk, pair.ann, "d")
        mine = await say(node, pair.talk, pair.bob, "own")
        await node.ask(pair.talk, DeleteMessage(pair.bob, mine.message_id))
        assert await unread() == 3
        assert bob.ended == []


def test_a_count_that_a_deletion_touched_is_asked_for_anew() -> None:
    one, two = ConversationId("one"), ConversationId("two")
    inbox = Inbox()
    inbox.note(one, -1, own=False)
    inbox.learn({one: (3, 10), two: (1, 1)})
    inbox.note(one, -7, own=False)
    assert (inbox.unknown((one, two)), inbox.counts((one, two))) == ([one], {two: 1})


@pytest.mark.parametrize("who", ["ann", "bob"])
async def test_a_tombstone_is_read_by_every_member(autojump_clock: object, who: str) -> None:
    async with small_node() as node:
        pair = Pair(node)
        sent = await say(node, pair.talk, pair.ann)
        await node.ask(pair.talk, DeleteMessage(pair.ann, sent.message_id))
        view = await node.ask(pair.talk, ReadMessage(getattr(pair, who), sent.message_id))
        assert (view.text, view.deleted_by, view.rev) == (None, pair.ann, 3)
