"""A conversation's actor: nothing is told before it is on disk, and everybody is told exactly one outcome."""

from typing import Any

import pytest
import trio

from actors.conversation import ATTEMPTS
from actors.ports import BirthUnit, ConversationUnit, Fenced, Poisoned
from actors.shapes.conversations import (
    Created,
    CreateDirect,
    MemberRenamed,
    OpenConversation,
    OpenedConversation,
    ReadHistory,
    ReadRange,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, MessageId, UserId
from actors.shapes.messages import MessagePage, MessageSent
from actors.shapes.times import WallTime
from actors.shapes.users import Ending
from tests.actors.small_node import SmallNode, settled, small_node

UNAVAILABLE = KithError(ErrorCode.UNAVAILABLE)


def code(outcome: Any) -> ErrorCode:
    assert isinstance(outcome, KithError), outcome
    return outcome.code


class Pair:
    """Two people and their conversation on a small node."""

    def __init__(self, node: SmallNode) -> None:
        self.ann, self.bob = node.add_user("ann"), node.add_user("bob")
        self.talk = node.add_direct(self.ann, self.bob)


# -- durable before visible -------------------------------------------------------------------------------------------


async def test_nobody_hears_anything_before_the_commit(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        ann, other, bob = [await node.connect(user) for user in (pair.ann, pair.ann, pair.bob)]
        node.journal.hold()
        (answer,) = node.tell(pair.talk, node.send_command(pair.ann, "hello", ear=ann))
        (by_http,) = node.tell(pair.talk, node.send_command(pair.bob, "hi"))
        await trio.sleep(30)
        assert (answer.told, by_http.told, ann.texts, other.texts, bob.texts) == ([], [], [], [], [])
        node.journal.release()
        await settled()
        assert ann.texts == ["ok 2", "hi"]
        assert other.texts == bob.texts == ["hello", "hi"]
        assert by_http.only == MessageSent(by_http.only.message_id, 2, 3, by_http.only.created_at, duplicate=False)
        assert answer.told == []  # the `ok` of a connection came with its event


async def test_revisions_and_numbers_rise_by_one_across_batches(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        for size in (1, 7, 300):
            node.tell(pair.talk, *[node.send_command(pair.ann, str(n)) for n in range(size)])
            await settled()
        stored = node.tables.conversations[pair.talk].messages
        assert [m.seq for m in stored] == list(range(1, 309))
        assert [m.rev for m in stored] == list(range(2, 310))
        assert [said["payload"]["rev"] for said in bob.heard] == list(range(2, 310))
        assert len(node.journal.appended) <= 4  # whatever waited went in one unit


async def test_a_read_is_answered_after_the_sends_it_came_with(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        node.journal.hold()
        read, sent = node.tell(pair.talk, ReadHistory(pair.bob, 10), node.send_command(pair.ann, "first"))
        await settled()
        assert read.told == []
        node.journal.release()
        await settled()
        assert isinstance(sent.only, MessageSent)
        assert [m.text for m in read.only.messages] == ["first"]


# -- idempotency ------------------------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_first_outcome_however_it_comes(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        once = node.send_command(pair.ann, "once", id=node.new_id())
        first, in_batch = node.tell(pair.talk, once, once)
        await settled()
        (remembered,) = node.tell(pair.talk, once)
        await settled()
        node.tell(pair.talk, *[node.send_command(pair.bob, f"{n}") for n in range(20)])
        await settled()
        (forgotten,) = node.tell(pair.talk, once)
        await settled()
        assert not first.only.duplicate
        for repeat in (in_batch, remembered, forgotten):
            assert repeat.only == MessageSent(
                first.only.message_id, first.only.seq, first.only.rev, first.only.created_at, duplicate=True
            )
        assert bob.texts == ["once", *map(str, range(20))]
        assert len(node.tables.conversations[pair.talk].messages) == 21


async def test_a_repeat_of_a_message_in_flight_waits_for_its_commit(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        node.journal.hold()
        once = node.send_command(pair.ann, "once")
        (first,) = node.tell(pair.talk, once)
        await settled()
        (repeat,) = node.tell(pair.talk, once)
        await trio.sleep(10)
        assert (first.told, repeat.told) == ([], [])
        node.journal.release()
        await settled()
        assert (first.only.duplicate, repeat.only.duplicate) == (False, True)
        assert first.only.rev == repeat.only.rev


async def test_another_text_under_a_used_id_is_a_conflict_however_long_ago(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        id = node.new_id()
        first, in_batch = node.tell(
            pair.talk, node.send_command(pair.ann, "one", id=id), node.send_command(pair.ann, "two", id=id)
        )
        await settled()
        (remembered,) = node.tell(pair.talk, node.send_command(pair.ann, "two", id=id))
        await settled()
        node.tell(pair.talk, *[node.send_command(pair.bob, "x") for _ in range(20)])
        await settled()
        (forgotten,) = node.tell(pair.talk, node.send_command(pair.ann, "two", id=id))
        (of_another,) = node.tell(pair.talk, node.send_command(pair.bob, "two", id=id))
        await settled()
        assert isinstance(first.only, MessageSent)
        for conflict in (in_batch, remembered, forgotten):
            assert code(conflict.only) is ErrorCode.IDEMPOTENCY_CONFLICT
            assert conflict.only.details == {"field": "client_id"}
        assert not of_another.only.duplicate  # an id is one sender's


async def test_more_repeats_than_memory_holds_are_all_answered(autojump_clock: object) -> None:
    """A batch with more forgotten repeats than RecentSends keeps was decided again forever: each round pushed out what
    the round before had learned, and a client that repeated its queue was told TRY_AGAIN each time."""
    async with small_node() as node:
        pair = Pair(node)
        queue = [node.send_command(pair.ann, f"{n}") for n in range(60)]
        node.tell(pair.talk, *queue)
        await trio.sleep(300)
        assert not node.conversations.is_awake(pair.talk)
        answers = node.tell(pair.talk, *queue, node.send_command(pair.ann, "new"))
        await settled()
        assert [a.only.duplicate for a in answers] == [True] * 60 + [False]
        assert [a.only.seq for a in answers] == list(range(1, 62))


async def test_an_author_who_may_no_longer_write_still_hears_of_what_he_wrote(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        once = node.send_command(pair.ann, "once")
        (first,) = node.tell(pair.talk, once)
        await trio.sleep(300)
        node.tables.blocks.add((pair.bob, pair.ann))
        repeat, fresh = node.tell(pair.talk, once, node.send_command(pair.ann, "another"))
        await settled()
        assert (repeat.only.message_id, repeat.only.duplicate) == (first.only.message_id, True)
        assert code(fresh.only) is ErrorCode.USER_BLOCKED


async def test_refusals_of_one_batch_cost_one_look_up(autojump_clock: object) -> None:
    """Each refused send was looked up alone, one after the other: a stranger's hundred sends kept the members waiting
    for a hundred queries."""
    async with small_node() as node:
        pair, eve = Pair(node), node.add_user("eve")
        answers = node.tell(pair.talk, *[node.send_command(eve, "let me in") for _ in range(100)])
        await settled()
        assert {code(a.only) for a in answers} == {ErrorCode.CONVERSATION_NOT_FOUND}
        assert len(node.reads.looked_up) == 1


# -- order ------------------------------------------------------------------------------------------------------------


async def test_after_is_in_order_once_the_one_before_is_committed(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        first = node.send_command(pair.ann, "1")
        second = node.send_command(pair.ann, "2", after=first.client_id)
        (early,) = node.tell(pair.talk, second)
        await settled()
        assert code(early.only) is ErrorCode.OUT_OF_ORDER
        assert early.only.details == {"after": first.client_id}
        assert early.only.retry_after is not None
        together = node.tell(pair.talk, first, second)
        await settled()
        assert [a.only.seq for a in together] == [1, 2]
        node.tell(pair.talk, *[node.send_command(pair.bob, "x") for _ in range(20)])
        await settled()
        (late,) = node.tell(pair.talk, node.send_command(pair.ann, "3", after=first.client_id))
        (of_bob,) = node.tell(pair.talk, node.send_command(pair.bob, "3", after=first.client_id))
        await settled()
        assert late.only.seq == 23  # forgotten by memory, known to the database
        assert code(of_bob.only) is ErrorCode.OUT_OF_ORDER  # another one's id orders nothing


# -- who may ----------------------------------------------------------------------------------------------------------


async def test_to_a_stranger_a_conversation_looks_like_none(autojump_clock: object) -> None:
    async with small_node() as node:
        pair, eve = Pair(node), node.add_user("eve")
        answers: list[list[tuple[Any, ...]]] = []
        for place in (pair.talk, ConversationId(node.new_id())):
            told = []
            for command in (
                node.send_command(eve, "let me in"),
                node.send_command(eve, "and me", after=node.new_id()),
                ReadHistory(eve, 10),
                ReadRange(eve, 0, 10),
                OpenConversation(eve, 10, True),
            ):
                error = await node.ask(place, command)
                told.append((error.code, error.message, error.details, error.retry_after, error.outcome))
            answers.append(told)
        assert answers[0][0][0] is ErrorCode.CONVERSATION_NOT_FOUND
        assert answers[0][2:] == answers[1][2:]
        assert answers[0][0] == answers[1][0]
        # The same number of questions to the database, so that the time tells nothing either.
        assert len(node.reads.looked_up) == 4


@pytest.mark.parametrize(("blocker", "ann_reads", "bob_reads"), [("ann", {"by": "me"}, {}), ("bob", {}, {"by": "me"})])
async def test_a_block_stops_both_and_tells_only_its_author_that_it_is_his(
    autojump_clock: object, blocker: str, ann_reads: dict[str, str], bob_reads: dict[str, str]
) -> None:
    async with small_node() as node:
        pair = Pair(node)
        node.tables.blocks.add((pair.ann, pair.bob) if blocker == "ann" else (pair.bob, pair.ann))
        for sender, details in ((pair.ann, ann_reads), (pair.bob, bob_reads)):
            error = await node.ask(pair.talk, node.send_command(sender, "hello"))
            assert (error.code, error.details) == (ErrorCode.USER_BLOCKED, details)
        assert isinstance(await node.ask(pair.talk, ReadHistory(pair.bob, 5)), MessagePage)


# -- the journal says no ----------------------------------------------------------------------------------------------


async def test_a_fenced_batch_is_decided_again_on_fresh_state(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        await node.ask(pair.talk, node.send_command(pair.ann, "1"))
        table = node.tables.conversations[pair.talk]
        table.rev, table.seq = 40, 30  # another node wrote
        sent = await node.ask(pair.talk, node.send_command(pair.ann, "2"))
        assert (sent.seq, sent.rev) == (31, 41)
        await settled()
        assert bob.texts == ["1", "2"]


async def test_a_batch_that_is_always_fenced_is_asked_to_try_again(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        node.journal.script.extend([Fenced()] * ATTEMPTS)
        answers = node.tell(pair.talk, node.send_command(pair.ann, "1"), node.send_command(pair.ann, "2"))
        await trio.sleep(5)
        assert {code(a.only) for a in answers} == {ErrorCode.TRY_AGAIN}
        assert {a.only.outcome for a in answers} == {"unknown"}
        assert len(node.journal.appended) == ATTEMPTS == 10
        assert bob.frames == []
        assert (await node.ask(pair.talk, node.send_command(pair.ann, "3"))).seq == 1


async def test_being_fenced_once_less_than_too_often_succeeds(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        node.journal.script.extend([Fenced()] * (ATTEMPTS - 1))
        assert (await node.ask(pair.talk, node.send_command(pair.ann, "1"))).seq == 1


async def test_one_poisonous_command_among_ten_is_refused_alone(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        texts = [f"{n}" if n != 4 else "4\0" for n in range(10)]
        answers = node.tell(pair.talk, *[node.send_command(pair.ann, text) for text in texts])
        await settled()
        assert [a.only.seq for n, a in enumerate(answers) if n != 4] == list(range(1, 10))
        assert code(answers[4].only) is ErrorCode.INVALID_PAYLOAD
        assert bob.texts == [text for text in texts if text != "4\0"]


async def test_what_was_to_follow_the_poison_is_out_of_order(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        poison = node.send_command(pair.ann, "\0")
        answers = node.tell(pair.talk, poison, node.send_command(pair.ann, "next", after=poison.client_id))
        await settled()
        assert [code(a.only) for a in answers] == [ErrorCode.INVALID_PAYLOAD, ErrorCode.OUT_OF_ORDER]


async def test_when_the_journal_takes_nothing_nothing_is_told_and_the_actor_lives_on(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        node.journal.script.append(UNAVAILABLE)
        error = await node.ask(pair.talk, node.send_command(pair.ann, "1"))
        assert (error.code, error.outcome, error.retry_after) == (ErrorCode.UNAVAILABLE, "none", 1.0)
        assert bob.frames == []
        assert (await node.ask(pair.talk, node.send_command(pair.ann, "2"))).seq == 1


async def test_a_full_journal_refuses_new_messages_and_nobody_else(autojump_clock: object) -> None:
    """A journal that took nothing refused the whole batch: members' reads, repeats of what was on disk, strangers (who
    learned by it that the conversation exists); and a member's new name was lost for good."""
    async with small_node() as node:
        pair, eve = Pair(node), node.add_user("eve")
        old = node.send_command(pair.ann, "old")
        await node.ask(pair.talk, old)
        node.journal.script.append(UNAVAILABLE)
        new = node.send_command(pair.ann, "new")
        fresh, again, repeat, stranger, read, _ = node.tell(
            pair.talk,
            new,
            new,
            old,
            node.send_command(eve, "hello?"),
            ReadHistory(pair.bob, 5),
            MemberRenamed(pair.ann, "Anna"),
        )
        await settled()
        assert code(fresh.only) is code(again.only) is ErrorCode.UNAVAILABLE
        assert repeat.only.duplicate
        assert code(stranger.only) is ErrorCode.CONVERSATION_NOT_FOUND
        assert [m.text for m in read.only.messages] == ["old"]
        bob = await node.connect(pair.bob)
        await node.ask(pair.talk, new)
        assert bob.heard[0]["payload"]["sender_name"] == "Anna"


async def test_a_database_that_does_not_answer_a_look_up_refuses_and_harms_nobody_later(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        await node.ask(pair.talk, ReadHistory(pair.ann, 1))
        node.reads.failure = UNAVAILABLE
        send, read = node.tell(
            pair.talk, node.send_command(pair.ann, "2", after=node.new_id()), ReadHistory(pair.ann, 1)
        )
        await settled()
        assert code(send.only) is ErrorCode.UNAVAILABLE
        assert isinstance(read.only, MessagePage)
        node.reads.failure = None
        assert (await node.ask(pair.talk, node.send_command(pair.ann, "3"))).seq == 1


async def test_a_crash_answers_the_guilty_and_serves_the_others(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        answers = node.tell(pair.talk, node.send_command(pair.ann, "1"), object(), node.send_command(pair.ann, "2"))
        await trio.sleep(5)
        assert [a.only.seq for a in (answers[0], answers[2])] == [1, 2]
        assert code(answers[1].only) is ErrorCode.INTERNAL_ERROR


# -- being born, being renamed ----------------------------------------------------------------------------------------


async def test_a_conversation_is_born_announced_and_usable(autojump_clock: object) -> None:
    async with small_node() as node:
        ann, bob = node.add_user("ann"), node.add_user("bob")
        ears = [await node.connect(user) for user in (ann, bob)]
        id = ConversationId(node.new_id())
        assert await node.ask(id, CreateDirect(ann, bob, "standard")) == Created(id, created=True)
        assert await node.ask(id, CreateDirect(ann, bob, "standard")) == Created(id, created=False)
        await settled()
        for ear in ears:
            (event,) = ear.heard
            assert event["type"] == "conversation.created"
            about = {key: event["payload"][key] for key in ("id", "conversation_id", "rev", "from_rev", "member_count")}
            assert about == {"id": id, "conversation_id": id, "rev": 1, "from_rev": 1, "member_count": 2}
            assert not {"my", "unread_count"} & event["payload"].keys()
        assert (await node.ask(id, node.send_command(bob, "hi"))).rev == 2


async def test_the_second_conversation_of_a_pair_is_the_first(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        ear = await node.connect(pair.bob)
        other = ConversationId(node.new_id())
        assert await node.ask(other, CreateDirect(pair.bob, pair.ann, "standard")) == Created(pair.talk, created=False)
        await settled()
        assert not node.conversations.is_awake(other)
        assert ear.heard == []
        assert code(await node.ask(other, ReadHistory(pair.ann, 1))) is ErrorCode.CONVERSATION_NOT_FOUND


@pytest.mark.parametrize(
    ("said", "expected", "outcome"),
    [
        (Poisoned("23503"), ErrorCode.INVALID_PAYLOAD, "none"),
        (Fenced(), ErrorCode.TRY_AGAIN, "none"),
        (UNAVAILABLE, ErrorCode.UNAVAILABLE, "none"),
    ],
)
async def test_a_birth_that_fails_says_why(
    autojump_clock: object, said: Any, expected: ErrorCode, outcome: str
) -> None:
    async with small_node() as node:
        ann, bob = node.add_user("ann"), node.add_user("bob")
        node.journal.script.append(said)
        id = ConversationId(node.new_id())
        error = await node.ask(id, CreateDirect(ann, bob, "standard"))
        assert (error.code, error.outcome) == (expected, outcome)
        assert code(await node.ask(id, node.send_command(ann, "hi"))) is ErrorCode.CONVERSATION_NOT_FOUND


async def test_a_conversation_that_was_born_does_not_deny_itself(autojump_clock: object) -> None:
    """The row was on disk, but its first reading failed: the asker was refused, nobody was told, and the actor answered
    CONVERSATION_NOT_FOUND to its own members for as long as they kept it awake."""
    async with small_node() as node:
        ann, bob = node.add_user("ann"), node.add_user("bob")
        ear = await node.connect(bob)
        id = ConversationId(node.new_id())
        node.journal.hold()
        (answer,) = node.tell(id, CreateDirect(ann, bob, "standard"))
        await settled()
        node.reads.failure = UNAVAILABLE
        node.journal.release()
        await settled()
        assert answer.only == Created(id, created=True)
        assert [said["type"] for said in ear.heard] == ["conversation.created"]
        node.reads.failure = None
        assert (await node.ask(id, node.send_command(ann, "hi"))).rev == 2


async def test_a_new_name_stands_in_what_is_said_afterwards(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        bob = await node.connect(pair.bob)
        await node.ask(pair.talk, node.send_command(pair.ann, "1"))
        node.tell(pair.talk, MemberRenamed(pair.ann, "Anna"), MemberRenamed(UserId(node.new_id()), "nobody"))
        await settled()
        await node.ask(pair.talk, node.send_command(pair.ann, "2"))
        await settled()
        assert [said["payload"]["sender_name"] for said in bob.heard] == ["ann", "Anna"]


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_what_members_read(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        for n in range(5):
            await node.ask(pair.talk, node.send_command(pair.ann, f"{n}"))
        page = await node.ask(pair.talk, ReadHistory(pair.bob, 2))
        assert ([m.text for m in page.messages], page.has_more) == (["4", "3"], True)
        page = await node.ask(pair.talk, ReadHistory(pair.bob, 2, after_seq=1, ascending=True))
        assert ([m.text for m in page.messages], page.has_more) == (["1", "2"], True)
        changes = await node.ask(pair.talk, ReadRange(pair.bob, 4, 100))
        assert ([c.rev for c in changes.changes], changes.upto_rev, changes.more) == ([5, 6], 6, False)
        await node.connect(pair.ann)
        opened: OpenedConversation = await node.ask(pair.talk, OpenConversation(pair.bob, 50, True))
        assert (opened.rev, len(opened.messages), opened.my.role) == (6, 5, "member")
        assert {p.user_id: p.status for p in opened.presence} == {pair.ann: "online", pair.bob: "offline"}
        assert {p.last_seen_at for p in opened.presence} == {None}
        node.tables.users[pair.bob].last_seen_at = WallTime(1_763_463_999_000)
        seen: OpenedConversation = await node.ask(pair.talk, OpenConversation(pair.ann, 0, True))
        assert {p.user_id: p.last_seen_at for p in seen.presence} == {
            pair.ann: None,
            pair.bob: "2025-11-18T11:06:39.000Z",
        }
        bare: OpenedConversation = await node.ask(pair.talk, OpenConversation(pair.bob))
        assert (bare.messages, bare.members, bare.presence) == ([], [], [])


async def test_across_a_block_nobody_is_seen_online(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        node.tables.blocks.add((pair.ann, pair.bob))
        await node.connect(pair.ann)
        opened: OpenedConversation = await node.ask(pair.talk, OpenConversation(pair.bob, 0, True))
        assert {p.status for p in opened.presence} == {"offline"}
        node.tables.users[pair.ann].last_seen_at = WallTime(1_763_463_999_000)
        opened = await node.ask(pair.talk, OpenConversation(pair.bob, 0, True))
        assert {p.last_seen_at for p in opened.presence} == {None}


async def test_a_slow_read_does_not_keep_the_writers_waiting(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_node() as node:
        pair = Pair(node)
        history, go = node.reads.history, trio.Event()

        async def slow(*args: Any) -> MessagePage:
            await go.wait()
            return await history(*args)

        monkeypatch.setattr(node.reads, "history", slow)
        (read,) = node.tell(pair.talk, ReadHistory(pair.bob, 5))
        await settled()
        assert (await node.ask(pair.talk, node.send_command(pair.ann, "1"))).seq == 1
        assert read.told == []
        go.set()
        await settled()
        assert len(read.only.messages) == 1


# -- delivery ---------------------------------------------------------------------------------------------------------


async def test_a_member_whose_mailbox_is_full_is_sent_away_and_the_others_hear(autojump_clock: object) -> None:
    async with small_node(capacity=8) as node:
        pair = Pair(node)
        ann, bob = await node.connect(pair.ann), await node.connect(pair.bob)
        async with node.busy(pair.bob) as newcomer:
            for half in (range(5), range(5, 9)):
                node.tell(pair.talk, *[node.send_command(pair.ann, f"{n}", ear=ann) for n in half])
                await settled()
            assert (ann.texts, bob.frames) == ([f"ok {n}" for n in range(2, 11)], [])
        assert newcomer.ended == [Ending.RESYNC]
        assert bob.ended == [Ending.RESYNC]


async def test_everything_it_writes_carries_its_own_token(autojump_clock: object) -> None:
    async with small_node() as node:
        pair = Pair(node)
        await node.ask(pair.talk, node.send_command(pair.ann, "1"))
        await node.ask(ConversationId(node.new_id()), CreateDirect(pair.ann, node.add_user("eve"), "standard"))
        assert [type(unit) for unit in node.journal.appended] == [ConversationUnit, BirthUnit]
        assert node.journal.tokens[0].actor == f"conversation/{pair.talk}"


async def test_an_address_without_a_conversation_keeps_no_actor(autojump_clock: object) -> None:
    """Whoever tries out addresses would otherwise hold one actor in memory for each."""
    async with small_node() as node:
        ann = node.add_user("ann")
        for _ in range(2):
            nowhere = ConversationId(node.new_id())
            answers = [
                *node.tell(nowhere, node.send_command(ann, "anybody?")),
                *node.tell(nowhere, ReadRange(ann, 0, 9)),
            ]
            await settled()
            assert [code(answer.only) for answer in answers] == [ErrorCode.CONVERSATION_NOT_FOUND] * 2
            assert not node.conversations.is_awake(nowhere)
            (again,) = node.tell(nowhere, ReadRange(ann, 0, 9))
            await settled()
            assert code(again.only) is ErrorCode.CONVERSATION_NOT_FOUND


async def test_a_reply_is_to_a_message_of_this_conversation(autojump_clock: object) -> None:
    async with small_node() as node:
        pair, eve = Pair(node), node.add_user("eve")
        elsewhere = node.add_direct(pair.ann, eve)
        (here,) = node.tell(pair.talk, node.send_command(pair.ann, "here"))
        (there,) = node.tell(elsewhere, node.send_command(pair.ann, "there"))
        await settled()
        nowhere = MessageId(node.new_id())
        answers = node.tell(
            pair.talk,
            node.send_command(pair.bob, "yes", reply_to=here.only.message_id),
            node.send_command(pair.bob, "to another", reply_to=there.only.message_id),
            node.send_command(pair.bob, "to nothing", reply_to=nowhere),
            node.send_command(eve, "a stranger", reply_to=here.only.message_id),
            node.send_command(eve, "a stranger", reply_to=nowhere),
        )
        await settled()
        assert [
            answer.only.seq if isinstance(answer.only, MessageSent) else code(answer.only) for answer in answers
        ] == [
            2,
            ErrorCode.MESSAGE_NOT_FOUND,
            ErrorCode.MESSAGE_NOT_FOUND,
            ErrorCode.CONVERSATION_NOT_FOUND,
            ErrorCode.CONVERSATION_NOT_FOUND,
        ]
