"""The contract of Journal, on PostgreSQL and on the twin in memory."""

import pytest
import trio
from msgspec import UNSET

from actors.ports import Committed, ConversationUnit, Fenced, Poisoned, ProfileUnit, Receipt, Repeats, Taken, Unit
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime
from actors.shapes.users import UpdateProfile
from storage.journal.journal import StaleTokenError
from tests.clocks import START, ActorToken
from tests.storage.worlds import TOKEN, World, batch, begin_dialogue, birth, message, new_id


async def append_all(world: World, units: list[Unit]) -> list[Receipt]:
    """All at once, so that they share flushes."""
    receipts: list[Receipt | None] = [None] * len(units)

    async def one(place: int, unit: Unit) -> None:
        receipts[place] = await world.journal.append(TOKEN, unit)

    async with trio.open_nursery() as nursery:
        for place, unit in enumerate(units):
            nursery.start_soon(one, place, unit)
    return [receipt for receipt in receipts if receipt is not None]


async def test_what_was_committed_is_stored_and_on_the_receipt(world: World) -> None:
    talk = await begin_dialogue(world)
    assert await talk.say("one", "two") == Committed()
    assert await world.stored(talk.id) == [(1, 2, "one"), (2, 3, "two")]
    assert await world.heads() == [("c", talk.id, 0, 1), ("c", talk.id, 1, 3)]


async def test_an_older_head_is_fenced_and_writes_nothing(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one")
    stale = batch(talk.id, 1, [message(talk.id, talk.b, 1, 2, "stale")])
    assert await world.journal.append(TOKEN, stale) == Fenced()
    assert await world.stored(talk.id) == [(1, 2, "one")]


async def test_a_conversation_that_does_not_exist_is_fenced(world: World) -> None:
    talk = await begin_dialogue(world)
    nowhere = ConversationId(new_id())
    unit = batch(nowhere, 1, [message(nowhere, talk.a, 1, 2)])
    assert await world.journal.append(TOKEN, unit) == Fenced()


async def test_two_units_of_one_address_are_decided_one_after_the_other(world: World) -> None:
    """Two activations of one conversation may meet in one flush; its update would take either one's rows."""
    talk = await begin_dialogue(world)
    first = batch(talk.id, 1, [message(talk.id, talk.a, 1, 2, "first")])
    second = batch(talk.id, 1, [message(talk.id, talk.b, 1, 2, "second")])
    receipts = await append_all(world, [first, second])
    assert sorted(map(repr, receipts)) == ["Committed()", "Fenced()"]
    winner = "first" if receipts[0] == Committed() else "second"
    assert await world.stored(talk.id) == [(1, 2, winner)]


async def test_a_unit_without_messages_moves_the_head_alone(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one")
    assert await world.journal.append(TOKEN, ConversationUnit(talk.id, 2, 3, 1, [])) == Committed()
    state = (await world.conversations.load([talk.id]))[talk.id]
    assert (state.seq, state.rev) == (1, 3)
    view, _ = await world.conversations.view(talk.id, talk.a)
    assert view.last_message is not None
    assert view.last_message.text == "one"


async def test_a_repeat_is_named_and_the_rest_of_the_flush_is_written(world: World) -> None:
    talk, other = await begin_dialogue(world), await begin_dialogue(world, "2")
    sent = message(talk.id, talk.a, 1, 2, "once")
    await world.journal.append(TOKEN, batch(talk.id, 1, [sent]))
    again = message(talk.id, talk.a, 2, 3, "twice", client_id=sent.client_id)
    receipts = await append_all(
        world,
        [
            batch(talk.id, 2, [again, message(talk.id, talk.a, 3, 4, "three")]),
            batch(other.id, 1, [message(other.id, other.a, 1, 2, "fine")]),
        ],
    )
    assert receipts[1] == Committed()
    assert isinstance(receipts[0], Repeats)
    [(key, (answer, text))] = receipts[0].found.items()
    assert key == (talk.a, sent.client_id)
    assert (answer.message_id, answer.seq, answer.rev, answer.duplicate, text) == (sent.id, 1, 2, True, "once")
    assert await world.stored(talk.id) == [(1, 2, "once")]
    state = (await world.conversations.load([talk.id]))[talk.id]
    assert (state.seq, state.rev) == (1, 2)


async def test_the_same_client_id_of_somebody_else_is_no_repeat(world: World) -> None:
    talk = await begin_dialogue(world)
    sent = message(talk.id, talk.a, 1, 2)
    await world.journal.append(TOKEN, batch(talk.id, 1, [sent]))
    same = message(talk.id, talk.b, 2, 3, client_id=sent.client_id)
    assert await world.journal.append(TOKEN, batch(talk.id, 2, [same])) == Committed()


async def test_a_client_id_twice_in_one_unit_cannot_be_stored(world: World) -> None:
    talk = await begin_dialogue(world)
    first = message(talk.id, talk.a, 1, 2)
    second = message(talk.id, talk.a, 2, 3, client_id=first.client_id)
    assert await world.journal.append(TOKEN, batch(talk.id, 1, [first, second])) == Poisoned("23505")
    assert await world.stored(talk.id) == []


@pytest.mark.parametrize("poison", ["nul \0 in text", "half a \ud83d pair"])
async def test_poison_harms_its_own_unit_only(world: World, poison: str) -> None:
    talks = [await begin_dialogue(world, str(number)) for number in range(7)]
    units: list[Unit] = [
        batch(talk.id, 1, [message(talk.id, talk.a, 1, 2, poison if number == 3 else "fine")])
        for number, talk in enumerate(talks)
    ]
    receipts = await append_all(world, units)
    assert [type(receipt) for receipt in receipts] == [Committed] * 3 + [Poisoned] + [Committed] * 3
    assert isinstance(receipts[3], Poisoned)
    assert receipts[3].sqlstate[:2] == "22"
    assert await world.stored(talks[3].id) == []
    # Its conversation goes on.
    assert await talks[3].say("fine") == Committed()


async def test_a_pair_has_one_conversation_per_mode(world: World) -> None:
    talk = await begin_dialogue(world)
    assert await world.journal.append(TOKEN, birth(talk.b, talk.a)) == Taken(talk.id)
    strict = birth(talk.b, talk.a, privacy_mode="strict_e2e")
    assert await world.journal.append(TOKEN, strict) == Committed()
    assert await world.conversations.direct_between(talk.a, talk.b, "standard") == talk.id
    assert await world.conversations.direct_between(talk.a, talk.b, "strict_e2e") == strict.row.id


async def test_of_births_of_one_pair_at_once_one_wins_and_the_others_learn_its_id(world: World) -> None:
    a, b = await world.add_user("anna"), await world.add_user("bert")
    births = [birth(a, b) if number % 2 else birth(b, a) for number in range(5)]
    receipts = await append_all(world, list(births))
    [winner] = [unit.row.id for unit, receipt in zip(births, receipts, strict=True) if receipt == Committed()]
    assert [receipt for receipt in receipts if receipt != Committed()] == [Taken(winner)] * 4
    assert await world.conversations.conversations_of(a) == [winner]


async def test_a_birth_under_an_id_in_use_is_fenced(world: World) -> None:
    talk = await begin_dialogue(world)
    c = await world.add_user("carl")
    assert await world.journal.append(TOKEN, birth(talk.a, c, id=talk.id)) == Fenced()
    state = (await world.conversations.load([talk.id]))[talk.id]
    assert set(state.members) == {talk.a, talk.b}


async def test_a_group_is_born_with_its_owner_and_members(world: World) -> None:
    a, b, c = [await world.add_user(name) for name in ("anna", "bert", "carl")]
    unit = birth(a, b, c, type="group")
    assert await world.journal.append(TOKEN, unit) == Committed()
    state = (await world.conversations.load([unit.row.id]))[unit.row.id]
    assert {id: member.role for id, member in state.members.items()} == {a: "owner", b: "member", c: "member"}
    assert (state.type, state.seq, state.rev) == ("group", 0, 1)
    assert {member.joined_rev for member in state.members.values()} == {1}


def rename(id: str, old_rev: int, **changes: object) -> ProfileUnit:
    return ProfileUnit(UserId(id), old_rev, old_rev + 1, UpdateProfile(**changes), WallTime(START))  # type: ignore[arg-type]


async def test_a_profile_changes_what_was_given_and_nothing_else(world: World) -> None:
    a = await world.add_user("anna", "Anna")
    assert await world.journal.append(TOKEN, rename(a, 0, bio="sings", interests=("music", "sea"))) == Committed()
    assert await world.journal.append(TOKEN, rename(a, 1, display_name=None, avatar_url="/a.png")) == Committed()
    profile = (await world.users.profiles([a]))[a]
    assert profile.email is not UNSET
    assert (profile.username, profile.display_name, profile.avatar_url) == ("anna", None, "/a.png")
    assert (profile.bio, profile.interests) == ("sings", ("music", "sea"))
    assert (await world.users.load([a]))[a].rev == 2
    assert await world.heads() == [("u", a, 0, 1), ("u", a, 1, 2)]


async def test_an_older_user_rev_is_fenced(world: World) -> None:
    a = await world.add_user("anna")
    await world.journal.append(TOKEN, rename(a, 0, bio="one"))
    assert await world.journal.append(TOKEN, rename(a, 0, bio="two")) == Fenced()
    assert await world.journal.append(TOKEN, rename(new_id(), 0, bio="nobody")) == Fenced()


async def test_a_name_in_use_is_taken_whatever_its_case(world: World) -> None:
    a, b = await world.add_user("anna"), await world.add_user("bert")
    assert await world.journal.append(TOKEN, rename(b, 0, username="ANNA")) == Taken(None)
    assert (await world.users.load([b]))[b].username == "bert"
    assert await world.journal.append(TOKEN, rename(a, 0, username="Anna")) == Committed()  # one's own, other case


async def test_of_two_who_take_a_name_at_once_one_gets_it(world: World) -> None:
    a, b = await world.add_user("anna"), await world.add_user("bert")
    talk = await begin_dialogue(world, "3")
    receipts = await append_all(
        world,
        [
            rename(a, 0, username="zoe"),
            batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]),
            rename(b, 0, username="Zoe"),
        ],
    )
    assert receipts[1] == Committed()
    assert sorted(map(repr, (receipts[0], receipts[2]))) == ["Committed()", "Taken(by=None)"]


async def test_only_an_actor_that_lives_may_write(world: World) -> None:
    talk = await begin_dialogue(world)
    ended = ActorToken()
    ended.valid = False
    with pytest.raises(StaleTokenError):
        await world.journal.append(ended, batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]))
    assert await world.stored(talk.id) == []


async def test_a_cancelled_actor_still_learns_what_became_of_its_rows(world: World) -> None:
    talk = await begin_dialogue(world)
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await talk.say("one") == Committed()
    assert await world.stored(talk.id) == [(1, 2, "one")]
