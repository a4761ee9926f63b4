"""The contract of ConversationStore and UserStore, on PostgreSQL and on the twins in memory."""

import pytest
from msgspec import UNSET

from actors.shapes.conversations import Change, ChangeRange
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessagePage
from actors.shapes.times import WallTime
from storage.changes import cut
from tests.storage.worlds import TOKEN, World, batch, begin_dialogue, birth, message, new_id


def texts(page: MessagePage) -> list[object]:
    return [shown.text for shown in page.messages]


def kinds(found: ChangeRange) -> list[tuple[int, str]]:
    return [(change.rev, next(k for k in KINDS if getattr(change, k) is not UNSET)) for change in found.changes]


KINDS = ("conversation", "member", "message")


async def test_load_gives_what_an_actor_starts_from(world: World) -> None:
    talk, other = await begin_dialogue(world), await begin_dialogue(world, "2")
    await talk.say("one", "two")
    await world.block(talk.b, talk.a)
    loaded = await world.conversations.load([talk.id, other.id, ConversationId(new_id())])
    assert set(loaded) == {talk.id, other.id}
    state = loaded[talk.id]
    assert (state.type, state.privacy_mode, state.seq, state.rev) == ("direct", "standard", 2, 3)
    assert {member.name for member in state.members.values()} == {"Anna", "bert"}
    assert state.blocks == {(talk.b, talk.a)}
    assert loaded[other.id].blocks == frozenset()


async def test_history_pages_backwards_and_forwards(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say(*"abcdefg")
    read = world.conversations.history
    newest = await read(talk.id, 1, None, None, 3)
    assert (texts(newest), newest.has_more) == (["g", "f", "e"], True)
    older = await read(talk.id, 1, newest.messages[-1].seq, None, 3)
    assert (texts(older), older.has_more) == (["d", "c", "b"], True)
    oldest = await read(talk.id, 1, older.messages[-1].seq, None, 3)
    assert (texts(oldest), oldest.has_more) == (["a"], False)
    forward = await read(talk.id, 1, None, 1, 3)
    assert (texts(forward), forward.has_more) == (["d", "c", "b"], True)
    between = await read(talk.id, 1, 6, 2, 10)
    assert (texts(between), between.has_more) == (["e", "d", "c"], False)
    exact = await read(talk.id, 1, None, None, 7)
    assert exact.has_more is False


async def test_a_message_shows_all_that_was_stored(world: World) -> None:
    talk = await begin_dialogue(world)
    first = message(talk.id, talk.a, 1, 2, 'quotes "\\{}, ünïcödé 🎈, line\nbreak, \u0001')
    reply = message(talk.id, talk.b, 2, 3, "yes")
    answer = type(reply)(
        **{name: getattr(reply, name) for name in reply.__struct_fields__}
        | {"reply_to": first.id, "mentions": (talk.a, talk.b)}
    )
    await world.journal.append(TOKEN, batch(talk.id, 1, [first, answer]))
    shown = (await world.conversations.history(talk.id, 1, None, None, 2)).messages
    assert (shown[1].text, shown[1].sender_name, shown[1].mentions, shown[1].reply_to) == (first.text, "Anna", (), None)
    assert (shown[0].reply_to, shown[0].mentions, shown[0].client_id) == (first.id, (talk.a, talk.b), reply.client_id)
    assert shown[0].created_at == "2026-11-18T11:06:40.002Z"
    assert (shown[0].edited_at, shown[0].deleted_at, shown[0].deleted_by) == (None, None, UNSET)
    assert await world.conversations.where_is(first.id) == talk.id
    assert await world.conversations.where_is(MessageId(new_id())) is None


async def test_changes_come_by_revision_and_say_how_far_they_reach(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one", "two", "three")
    everything = await world.conversations.changes(talk.id, 1, 0, 500)
    assert kinds(everything) == [
        (1, "conversation"),
        (1, "member"),
        (1, "member"),
        (2, "message"),
        (3, "message"),
        (4, "message"),
    ]
    assert (everything.upto_rev, everything.more) == (4, False)
    part = await world.conversations.changes(talk.id, 1, 1, 2)
    assert (kinds(part), part.upto_rev, part.more) == ([(2, "message"), (3, "message")], 3, True)
    rest = await world.conversations.changes(talk.id, 1, part.upto_rev, 2)
    assert (kinds(rest), rest.upto_rev, rest.more) == ([(4, "message")], 4, False)
    nothing = await world.conversations.changes(talk.id, 1, 4, 2)
    assert (nothing.changes, nothing.upto_rev, nothing.more) == ([], 4, False)


async def test_a_range_never_ends_within_a_revision(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one")
    start = await world.conversations.changes(talk.id, 1, 0, 1)
    assert [rev for rev, _ in kinds(start)] == [1, 1, 1]
    assert (start.upto_rev, start.more) == (1, True)


def test_cut_goes_on_until_the_revision_is_whole() -> None:
    changes = [Change(rev) for rev in (1, 1, 2, 2, 2, 3)]
    for limit, revs, upto, more in (
        (1, 2, 1, True),
        (2, 2, 1, True),
        (3, 5, 2, True),
        (5, 5, 2, True),
        (6, 6, 9, False),
    ):
        found = cut(changes, 9, limit)
        assert (len(found.changes), found.upto_rev, found.more) == (revs, upto, more), limit
    assert cut(changes[:5], 9, 4) == ChangeRange(changes[:5], 9, more=False)


async def test_a_member_reads_only_what_happened_while_he_was_there(world: World) -> None:
    a, b, c = [await world.add_user(name) for name in ("anna", "bert", "carl")]
    unit = birth(a, b, c, type="group")
    group = unit.row.id
    await world.journal.append(TOKEN, unit)

    async def say(seq: int, rev: int, text: str) -> None:
        await world.journal.append(TOKEN, batch(group, rev - 1, [message(group, a, seq, rev, text)]))

    await say(1, 2, "before")
    await world.leave(group, c, 3)
    await say(2, 4, "without him")
    state = (await world.conversations.load([group]))[group]
    assert set(state.members) == {a, b}
    assert await world.conversations.conversations_of(c) == []
    assert (await world.users.heads([c]))[c] == (0, {})
    with pytest.raises(KithError) as refused:
        await world.conversations.view(group, c)
    assert refused.value.code == ErrorCode.CONVERSATION_NOT_FOUND
    assert (await world.conversations.page_of(c, None, 10))[0] == []

    await world.join(group, c, 5)
    joined = (await world.conversations.load([group]))[group].members[c].joined_rev
    assert joined == 5
    view, _ = await world.conversations.view(group, c)
    assert view.last_message is None  # it was written while he was away
    await say(3, 6, "after")
    assert texts(await world.conversations.history(group, joined, None, None, 10)) == ["after"]
    assert kinds(await world.conversations.changes(group, joined, 0, 10)) == [
        (5, "conversation"),
        (5, "member"),
        (6, "message"),
    ]
    assert await world.conversations.unread(c, [group]) == {group: (1, 3)}
    assert await world.conversations.unread(b, [group]) == {group: (3, 3)}
    everything = await world.conversations.changes(group, 1, 2, 10)
    assert kinds(everything) == [(3, "member"), (4, "message"), (5, "member"), (6, "message")]
    left = everything.changes[0].member
    assert left is not UNSET
    assert left.left_at is not None


async def test_view_is_the_readers_own(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one", "two")
    view, my = await world.conversations.view(talk.id, talk.b)
    assert (view.id, view.rev, view.member_count, view.my, view.unread_count) == (talk.id, 3, 2, UNSET, UNSET)
    assert view.last_message is not None
    assert (view.last_message.text, view.last_message.sender_name) == ("two", "Anna")
    assert (my.role, my.last_read_seq, my.archived) == ("member", 0, False)
    with pytest.raises(KithError) as refused:
        await world.conversations.view(talk.id, await world.add_user("stranger"))
    assert refused.value.code == ErrorCode.CONVERSATION_NOT_FOUND


async def test_members_are_the_present_ones(world: World) -> None:
    users = [await world.add_user(name) for name in ("anna", "bert", "carl", "dora")]
    unit = birth(*users, type="group")
    await world.journal.append(TOKEN, unit)
    await world.leave(unit.row.id, users[1], 2)
    members = await world.conversations.members(unit.row.id, 10)
    assert [member.user_id for member in members] == sorted([users[0], users[2], users[3]])
    assert len(await world.conversations.members(unit.row.id, 2)) == 2
    assert await world.conversations.members(ConversationId(new_id()), 2) == []


async def test_when_people_were_last_here_is_told_except_across_a_block(world: World) -> None:
    anna, bert, carl, dora = [await world.add_user(name) for name in ("anna", "bert", "carl", "dora")]
    for number, user in enumerate((bert, carl)):
        await world.seen(user, WallTime(1_763_463_999_000 + number))
    read = world.conversations.last_seen
    assert await read(anna, [bert, carl, dora]) == {bert: 1_763_463_999_000, carl: 1_763_463_999_001}
    await world.block(anna, bert)
    await world.block(carl, anna)
    assert await read(anna, [bert, carl, dora]) == {}
    assert set(await read(dora, [bert, carl])) == {bert, carl}


async def test_the_list_is_by_activity_and_its_pages_neither_repeat_nor_skip(world: World) -> None:
    a = await world.add_user("anna")
    ids = []
    for number in range(7):
        unit = birth(a, await world.add_user(f"friend{number}"))
        await world.journal.append(TOKEN, unit)
        ids.append(unit.row.id)
    for seq, number in enumerate((3, 1), 1):
        # START + seq of the message: later than every birth
        await world.journal.append(TOKEN, batch(ids[number], 1, [message(ids[number], a, seq, seq + 1)]))
    seen: list[ConversationId] = []
    before = None
    while True:
        page, before = await world.conversations.page_of(a, before, 3)
        seen += [view.id for view in page]
        assert all(view.my is not UNSET for view in page)
        if before is None:
            break
        assert len(page) == 3
    assert seen[:2] == [ids[1], ids[3]]
    assert sorted(seen) == sorted(ids)
    assert seen[2:] == sorted(seen[2:], reverse=True)  # the same moment: by id


async def test_unread_counts_others_messages_and_tells_the_head(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one", "two")
    await talk.say("mine", sender=talk.b)
    nowhere = ConversationId(new_id())
    assert await world.conversations.unread(talk.b, [talk.id, nowhere]) == {talk.id: (2, 3)}
    assert await world.conversations.unread(talk.a, [talk.id]) == {talk.id: (1, 3)}
    stranger = await world.add_user("stranger")
    assert await world.conversations.unread(stranger, [talk.id]) == {}


async def test_earlier_sends_are_found_by_their_client_ids(world: World) -> None:
    talk, other = await begin_dialogue(world), await begin_dialogue(world, "2")
    sent = message(talk.id, talk.a, 1, 2, "once")
    await world.journal.append(TOKEN, batch(talk.id, 1, [sent]))
    key = (talk.a, sent.client_id)
    found = await world.conversations.sent_before(
        talk.id, [key, (talk.b, sent.client_id), (talk.a, ClientId(new_id()))]
    )
    assert list(found) == [key]
    answer, text = found[key]
    assert (answer.message_id, answer.seq, answer.rev, answer.duplicate, text) == (sent.id, 1, 2, True, "once")
    assert await world.conversations.sent_before(other.id, [key]) == {}


async def test_users_load_with_heads_profile_and_blocks(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one")
    nobody = UserId(new_id())
    loaded = await world.users.load([talk.a, talk.b, nobody])
    assert {id: state.name for id, state in loaded.items()} == {talk.a: "Anna", talk.b: "bert"}
    assert loaded[talk.a].limits == "normal"
    alone = await world.add_user("alone")
    heads = await world.users.heads([talk.a, alone, nobody])
    assert heads == {talk.a: (0, {talk.id: 2}), alone: (0, {})}
    profiles = await world.users.profiles([talk.a, nobody, talk.b])
    assert set(profiles) == {talk.a, talk.b}
    profile = profiles[talk.a]
    assert (profile.username, profile.email, profile.interests) == ("anna", "anna@example.org", ())
    assert await world.users.profiles([nobody]) == await world.users.profiles([]) == {}
    assert await world.users.block_between(talk.a, talk.b) == frozenset()
    await world.block(talk.a, talk.b)
    assert await world.users.block_between(talk.b, talk.a) == {(talk.a, talk.b)}
    await world.block(talk.b, talk.a)
    assert await world.users.block_between(talk.a, talk.b) == {(talk.a, talk.b), (talk.b, talk.a)}
