"""The contract of what is written beside a unit, on PostgreSQL and on the twin in memory: tombstones and keys."""

import itertools

import pytest
import trio
from msgspec.structs import replace

from actors.ports import (
    Beside,
    BirthUnit,
    Committed,
    ConversationUnit,
    Fenced,
    KeysUsed,
    Poisoned,
    Receipt,
    Taken,
    Unit,
)
from actors.shapes.idempotency import KEPT_HOURS, Keyed, KeyRow
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import DeletedMessage, StoredMessage
from actors.shapes.times import WallTime, iso
from storage.journal.statement import flush_of
from storage.node import NodeIdentity
from tests.clocks import START
from tests.storage.test_journal_contract import append_all, rename
from tests.storage.worlds import TOKEN, Dialogue, World, batch, begin_dialogue, birth, message, new_id

DAY_MS = KEPT_HOURS * 3_600_000


def tombstone(of: StoredMessage, rev: int, by: UserId) -> DeletedMessage:
    return DeletedMessage(of.id, of.conversation_id, of.seq, rev, of.rev, by, WallTime(START + 1_000 + rev))


def keyed(owner: str, key: str = "k", at: int = 0, fingerprint: str = "f") -> Keyed:
    return Keyed(owner, key, fingerprint, WallTime(START + at))


def with_key(unit: ConversationUnit, key: Keyed, outcome: str = '{"a":1}') -> ConversationUnit:
    return replace(unit, beside=Beside(keys=(KeyRow(key, outcome),)))


async def write(world: World, unit: Unit) -> Receipt:
    return await world.journal.append(TOKEN, unit)


async def three(world: World) -> tuple[Dialogue, list[StoredMessage]]:
    """A dialogue of three messages, at revision 4; the second mentions somebody."""
    talk = await begin_dialogue(world)
    said = [message(talk.id, talk.a, n, n + 1, f"text {n}") for n in (1, 2, 3)]
    said[1] = replace(said[1], mentions=(talk.b,), reply_to=said[0].id)
    assert await write(world, batch(talk.id, 1, said)) == Committed()
    talk.seq, talk.rev = 3, 4
    return talk, said


def deleting(talk: Dialogue, rows: list[DeletedMessage], messages: tuple[StoredMessage, ...] = ()) -> ConversationUnit:
    new_rev = max([row.rev for row in rows] + [row.rev for row in messages])
    return ConversationUnit(talk.id, talk.rev, new_rev, talk.seq + len(messages), messages, Beside(deleted=rows))


# -- tombstones -------------------------------------------------------------------------------------------------------


async def test_a_tombstone_keeps_its_place_and_nothing_that_was_said(world: World) -> None:
    talk, said = await three(world)
    gone = tombstone(said[1], 5, talk.b)
    assert await write(world, deleting(talk, [gone])) == Committed()
    page = await world.conversations.history(talk.id, 1, None, None, 10)
    shown = page.messages[1]
    assert [m.seq for m in page.messages] == [3, 2, 1]
    assert (shown.id, shown.rev, shown.text, shown.mentions, shown.reply_to) == (said[1].id, 5, None, (), said[0].id)
    assert (shown.deleted_at, shown.deleted_by) == (iso(gone.deleted_at), talk.b)
    assert await world.conversations.message(talk.id, 1, said[1].id) == shown
    assert (await world.heads())[-1] == ("c", talk.id, 4, 5)
    facts = await world.conversations.facts(talk.id, [m.id for m in said])
    assert {id: (f.seq, f.rev, f.created_rev, f.sender_id, f.deleted) for id, f in facts.items()} == {
        said[0].id: (1, 2, 2, talk.a, False),
        said[1].id: (2, 5, 3, talk.a, True),
        said[2].id: (3, 4, 4, talk.a, False),
    }


async def test_the_range_gives_a_tombstone_at_its_revision(world: World) -> None:
    talk, said = await three(world)
    await write(world, deleting(talk, [tombstone(said[0], 5, talk.a), tombstone(said[2], 6, talk.a)]))
    changes = await world.conversations.changes(talk.id, 1, 1, 100)
    revs = [(change.rev, change.message.seq, change.message.text) for change in changes.changes if change.message]
    assert revs == [(3, 2, "text 2"), (5, 1, None), (6, 3, None)]
    assert (changes.upto_rev, changes.more) == (6, False)


async def test_a_late_joiner_learns_nothing_of_a_message_that_was_deleted_since(world: World) -> None:
    talk, said = await three(world)
    carl = await world.add_user("carl")
    await world.join(talk.id, carl, 5)
    talk.rev = 5
    assert await write(world, deleting(talk, [tombstone(said[0], 6, talk.a)])) == Committed()
    changes = await world.conversations.changes(talk.id, 5, 5, 100)
    assert (changes.changes, changes.upto_rev) == ([], 6)
    assert (await world.conversations.history(talk.id, 5, None, None, 10)).messages == []
    assert await world.conversations.message(talk.id, 5, said[0].id) is None


async def test_deleted_messages_are_not_waiting_and_the_last_one_shows_its_tombstone(world: World) -> None:
    talk, said = await three(world)
    assert await world.conversations.unread(talk.b, [talk.id]) == {talk.id: (3, 3)}
    view, _ = await world.conversations.view(talk.id, talk.b)
    await write(world, deleting(talk, [tombstone(said[2], 5, talk.a)]))
    assert await world.conversations.unread(talk.b, [talk.id]) == {talk.id: (2, 3)}
    after, _ = await world.conversations.view(talk.id, talk.b)
    assert after.last_message is not None
    assert (after.last_message.id, after.last_message.text, after.last_message.rev) == (said[2].id, None, 5)
    assert (after.rev, after.updated_at) == (5, view.updated_at)


async def test_sends_and_deletions_share_a_unit(world: World) -> None:
    talk, said = await three(world)
    new = message(talk.id, talk.b, 4, 6, "new")
    unit = deleting(talk, [tombstone(said[0], 5, talk.a), tombstone(said[1], 7, talk.a)], (new,))
    assert await write(world, unit) == Committed()
    state = (await world.conversations.load([talk.id]))[talk.id]
    assert (state.seq, state.rev) == (4, 7)
    page = await world.conversations.history(talk.id, 1, None, None, 10)
    assert [(m.seq, m.rev, m.text) for m in page.messages] == [
        (4, 6, "new"),
        (3, 4, "text 3"),
        (2, 7, None),
        (1, 5, None),
    ]


async def test_a_fenced_deletion_wipes_nothing(world: World) -> None:
    talk, said = await three(world)
    await talk.say("faster")
    stale = replace(deleting(talk, [tombstone(said[0], 5, talk.a)]), old_rev=4)
    assert await write(world, stale) == Fenced()
    assert [text for _, _, text in await world.stored(talk.id)] == ["text 1", "text 2", "text 3", "faster"]


@pytest.mark.parametrize("absent", [True, False])
async def test_what_cannot_be_wiped_takes_its_unit_back(world: World, absent: bool) -> None:
    """A message that is not there, or not any more: it was decided on something that never was."""
    talk, said = await three(world)
    await write(world, deleting(talk, [tombstone(said[0], 5, talk.a)]))
    talk.rev = 5
    which = message(talk.id, talk.a, 9, 2) if absent else said[0]
    unit = deleting(talk, [tombstone(which, 6, talk.a)], (message(talk.id, talk.a, 4, 7),))
    assert await write(world, unit) == Poisoned("23505")
    assert (await world.conversations.load([talk.id]))[talk.id].rev == 5
    assert len(await world.stored(talk.id)) == 3


async def test_poison_in_one_unit_leaves_the_deletions_of_others(world: World) -> None:
    talk, said = await three(world)
    other = await begin_dialogue(world, "2")
    bad = batch(other.id, 1, [message(other.id, other.a, 1, 2, "nul \0")])
    receipts = await append_all(world, [bad, deleting(talk, [tombstone(said[0], 5, talk.a)])])
    assert [type(receipt) for receipt in receipts] == [Poisoned, Committed]
    assert (await world.conversations.facts(talk.id, [said[0].id]))[said[0].id].deleted


async def test_a_repeat_of_what_was_deleted_is_named_without_its_text(world: World) -> None:
    talk, said = await three(world)
    await write(world, deleting(talk, [tombstone(said[0], 5, talk.a)]))
    found = await world.conversations.sent_before(talk.id, [(talk.a, said[0].client_id)])
    ((sent, text),) = found.values()
    assert (sent.message_id, sent.seq, sent.rev, text) == (said[0].id, 1, 2, None)


async def test_another_conversation_knows_nothing_of_a_message(world: World) -> None:
    _talk, said = await three(world)
    other = await begin_dialogue(world, "2")
    assert await world.conversations.facts(other.id, [said[0].id]) == {}
    assert await world.conversations.message(other.id, 1, said[0].id) is None


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_a_key_is_written_with_its_unit(world: World) -> None:
    talk = await begin_dialogue(world)
    unit = with_key(batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]), keyed(talk.a), '{"seq":1}')
    assert await write(world, unit) == Committed()
    found = await world.keys.find(talk.a, "k", WallTime(START + 5))
    assert found is not None
    assert (found.fingerprint, found.outcome) == ("f", '{"seq":1}')
    assert await world.keys.find(talk.b, "k", WallTime(START + 5)) is None
    assert await world.keys.find(talk.a, "K", WallTime(START + 5)) is None


async def test_a_key_in_use_takes_its_unit_back_and_nothing_else(world: World) -> None:
    talk, other = await begin_dialogue(world), await begin_dialogue(world, "2")
    await write(world, with_key(batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]), keyed(talk.a)))
    receipts = await append_all(
        world,
        [
            with_key(batch(talk.id, 2, [message(talk.id, talk.a, 2, 3)]), keyed(talk.a, fingerprint="another")),
            batch(other.id, 1, [message(other.id, other.a, 1, 2, "fine")]),
        ],
    )
    assert receipts == [KeysUsed(frozenset({(talk.a, "k")})), Committed()]
    assert len(await world.stored(talk.id)) == 1
    assert await write(world, batch(talk.id, 2, [message(talk.id, talk.a, 2, 3)])) == Committed()


async def test_of_two_units_with_one_key_at_once_one_is_written(world: World) -> None:
    talk, other = await begin_dialogue(world), await begin_dialogue(world, "2")
    units: list[Unit] = [
        with_key(batch(one.id, 1, [message(one.id, one.a, 1, 2)]), keyed(talk.a), f'"{n}"')
        for n, one in enumerate((talk, other))
    ]
    receipts = await append_all(world, units)
    winner = receipts.index(Committed())
    assert receipts[1 - winner] == KeysUsed(frozenset({(talk.a, "k")}))
    assert [len(await world.stored(one.id)) for one in (talk, other)] == ([1, 0] if winner == 0 else [0, 1])
    kept = await world.keys.find(talk.a, "k", WallTime(START))
    assert kept is not None
    assert kept.outcome == f'"{winner}"'


async def test_a_key_twice_in_one_unit_cannot_be_stored(world: World) -> None:
    talk = await begin_dialogue(world)
    rows = (KeyRow(keyed(talk.a), "1"), KeyRow(keyed(talk.a), "2"))
    unit = replace(batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]), beside=Beside(keys=rows))
    assert await write(world, unit) == Poisoned("23505")
    assert await world.keys.find(talk.a, "k", WallTime(START)) is None


@pytest.mark.parametrize(("later", "free"), [(DAY_MS - 1, False), (DAY_MS, True), (DAY_MS + 1, True)])
async def test_a_key_is_free_after_a_day(world: World, later: int, free: bool) -> None:
    talk = await begin_dialogue(world)
    await write(world, with_key(batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]), keyed(talk.a), '"first"'))
    assert (await world.keys.find(talk.a, "k", WallTime(START + later)) is None) is free
    again = with_key(batch(talk.id, 2, [message(talk.id, talk.a, 2, 3)]), keyed(talk.a, at=later), '"second"')
    assert await write(world, again) == (Committed() if free else KeysUsed(frozenset({(talk.a, "k")})))
    kept = await world.keys.find(talk.a, "k", WallTime(START + (later if free else 0)))
    assert kept is not None
    assert kept.outcome == ('"second"' if free else '"first"')


async def test_a_unit_that_is_fenced_leaves_its_key_free(world: World) -> None:
    talk = await begin_dialogue(world)
    await talk.say("one")
    stale = with_key(batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]), keyed(talk.a))
    assert await write(world, stale) == Fenced()
    assert await world.keys.find(talk.a, "k", WallTime(START)) is None


async def test_births_and_profiles_carry_keys_too(world: World) -> None:
    a, b, c = [await world.add_user(name) for name in ("anna", "bert", "carl")]
    born = BirthUnit(birth(a, b).row, Beside(keys=(KeyRow(keyed(a), '"born"'),)))
    changed = replace(rename(a, 0, bio="sings"), beside=Beside(keys=(KeyRow(keyed(a, "p"), '"profile"'),)))
    assert await append_all(world, [born, changed]) == [Committed(), Committed()]
    used = KeysUsed(frozenset({(a, "k")}))
    assert await write(world, BirthUnit(birth(a, c).row, Beside(keys=(KeyRow(keyed(a), "2"),)))) == used
    again = BirthUnit(birth(a, b).row, Beside(keys=(KeyRow(keyed(a, "other"), "2"),)))
    assert await write(world, again) == Taken(born.row.id)
    assert await world.keys.find(a, "other", WallTime(START)) is None
    found = [await world.keys.find(a, key, WallTime(START)) for key in ("k", "p")]
    assert [kept.outcome for kept in found if kept] == ['"born"', '"profile"']


async def test_everything_at_once_in_one_flush(world: World) -> None:
    """Every part and every rider in one statement."""
    talk, said = await three(world)
    d = await world.add_user("dora")
    first = with_key(deleting(talk, [tombstone(said[0], 5, talk.a)], (message(talk.id, talk.b, 4, 6),)), keyed(talk.a))
    assert first.beside is not None
    both = replace(first, beside=replace(first.beside, deleted=[tombstone(said[0], 5, talk.a)]))
    born = BirthUnit(birth(d, talk.a).row, Beside(keys=(KeyRow(keyed(d), "1"),)))
    assert await append_all(world, [both, born, rename(d, 0, bio="x")]) == [Committed()] * 3
    assert (await world.conversations.facts(talk.id, [said[0].id]))[said[0].id].rev == 5


async def test_many_with_the_same_keys_in_any_order_end_all_of_them(world: World) -> None:
    """Two lanes, flushes with the same keys: the order of keys keeps them from waiting for each other in a circle."""
    talks = [await begin_dialogue(world, str(n)) for n in range(12)]
    owner = talks[0].a
    receipts: list[Receipt] = []

    async def one(place: int, talk: Dialogue) -> None:
        key = keyed(owner, f"key {place % 4}")
        receipts.append(await write(world, with_key(batch(talk.id, 1, [message(talk.id, talk.a, 1, 2)]), key)))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for place, talk in enumerate(talks):
                nursery.start_soon(one, place, talk)
    assert receipts.count(Committed()) == 4
    assert all(isinstance(receipt, KeysUsed | Committed) for receipt in receipts)


# -- the statement ----------------------------------------------------------------------------------------------------


def pieces(*units: Unit) -> list[str]:
    """Which riders the flush of these units has."""
    sql = flush_of(NodeIdentity("node", 1, itertools.count(1)), units).sql
    return [name for name in ("moved", "d_wiped", "k_held", "a_noted") if f"{name} as" in sql]


def test_a_flush_has_the_pieces_that_its_units_need_and_no_more() -> None:
    talk, user = ConversationId(new_id()), UserId(new_id())
    said = message(talk, user, 1, 2)
    plain = batch(talk, 1, [said])
    gone = replace(plain, beside=Beside(deleted=(tombstone(said, 3, user),)))
    assert pieces(plain) == pieces(replace(plain, beside=Beside())) == []
    assert pieces(plain, gone) == ["moved", "d_wiped"]
    assert pieces(with_key(plain, keyed(user)), gone) == ["moved", "d_wiped", "k_held"]
