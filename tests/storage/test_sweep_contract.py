"""What every flush log promises: each flush of another node in exactly one answer, whenever its transaction commits."""

import itertools
import json
from collections.abc import Awaitable, Callable

import pytest

from actors.ports import Beside, Committed, ConversationUnit, FlushLog
from actors.shapes.flushes import Position, Swept, Window
from actors.shapes.ids import UserId
from actors.shapes.messages import DeletedMessage
from actors.shapes.times import WallTime
from storage.memory.sweep import MemoryFlushLog
from storage.memory.tables import FlushRow
from storage.node import NodeIdentity, begin_incarnation
from storage.sweep import BOUNDS, PostgresFlushLog, SweepBounds, position_of
from tests.clocks import START, HandClock
from tests.storage.worlds import TOKEN, MemoryWorld, PostgresWorld, World, batch, begin_dialogue, message

OTHER = "00000000-0000-7000-8000-000000000001"
Commit = Callable[[], Awaitable[None]]


async def watching(world: World, node: str = "watcher", bounds: SweepBounds = BOUNDS) -> FlushLog:
    """The log as another node than the one whose journal the world has."""
    if isinstance(world, MemoryWorld):
        return MemoryFlushLog(world.tables, HandClock(), node, bounds)
    assert isinstance(world, PostgresWorld)
    identity = await begin_incarnation(world.postgres, node)
    return PostgresFlushLog(world.postgres.dedicated(), world.postgres, identity, bounds)


async def slow_flush(world: World, conversation: str) -> Commit:
    """A flush whose transaction has begun and written, and commits when it is told to."""
    head = ("c", conversation, 5, 6)
    if isinstance(world, MemoryWorld):
        row = FlushRow("slow", [head], committed=False)
        world.tables.flushes.append(row)

        async def commit() -> None:
            row.committed = True

        return commit
    assert isinstance(world, PostgresWorld)
    line = world.postgres.dedicated()
    await line.connect()
    await line.fetch(str, "begin", ())
    sql = "insert into flushes (node, incarnation, n, heads) values ('slow', 1, 1, $1::text::jsonb)"
    await line.fetch(str, sql, (json.dumps([head]),))

    async def commit_row() -> None:
        await line.fetch(str, "commit", ())
        line.terminate()

    return commit_row


def ids(swept: Swept) -> list[tuple[str, int, int]]:
    assert swept.whole
    return [(head.id, head.old_rev, head.new_rev) for head in swept.heads]


async def test_each_flush_is_in_exactly_one_answer(world: World) -> None:
    log = await watching(world)
    before = await log.position()
    talk = await begin_dialogue(world)
    first = await log.since(before)
    assert ids(first) == [(talk.id, 0, 1)]
    await talk.say("one")
    await talk.say("two", "three")
    second = await log.since(first.position)
    assert ids(second) == [(talk.id, 1, 2), (talk.id, 2, 4)]
    assert ids(await log.since(second.position)) == []
    assert ids(await log.since(first.position)) == ids(second), "a round that failed is repeated as it was"


async def test_what_was_committed_before_the_first_look_is_not_told(world: World) -> None:
    talk = await begin_dialogue(world)
    log = await watching(world)
    position = await log.position()
    assert ids(await log.since(position)) == []
    await talk.say("one")
    assert ids(await log.since(position)) == [(talk.id, 1, 2)]


async def own(world: World, bounds: SweepBounds = BOUNDS) -> FlushLog:
    """The log of the node whose journal the world has, which has flushed before."""
    if isinstance(world, MemoryWorld):
        return MemoryFlushLog(world.tables, HandClock(), "node", bounds)
    assert isinstance(world, PostgresWorld)
    incarnation = await world.postgres.fetchval(int, "select incarnation from flushes limit 1")
    identity = NodeIdentity("node", incarnation or 0, itertools.count(1))
    return PostgresFlushLog(world.postgres.dedicated(), world.postgres, identity, bounds)


async def test_a_nodes_own_flushes_are_not_told_to_it(world: World) -> None:
    talk = await begin_dialogue(world)
    log = await own(world)
    position = await log.position()
    await talk.say("one")
    assert ids(await log.since(position)) == []


async def test_a_nodes_own_flushes_do_not_hide_what_others_commit(world: World) -> None:
    """They must not count against the bound of a look: what came behind them would be gone without a word."""
    talk = await begin_dialogue(world)
    log = await own(world, SweepBounds(flushes=3, heads=3))
    position = await log.position()
    for number in range(10):
        await talk.say(str(number))
    commit = await slow_flush(world, OTHER)
    await commit()
    assert ids(await log.since(position)) == [(OTHER, 5, 6)]


async def test_an_earlier_life_of_the_same_node_is_another_one(pg_world: PostgresWorld) -> None:
    log = await watching(pg_world, "node")  # the journal's name, and a later incarnation
    position = await log.position()
    talk = await begin_dialogue(pg_world)
    assert ids(await log.since(position)) == [(talk.id, 0, 1)]


def knows_only_the_highest(position: Position) -> Position:
    """The toy `max(id)`: whatever was open then is taken for seen."""
    return Position(position.upto, (), position.at)


async def slow_commit(world: World, kept: Callable[[Position], Position]) -> list[str]:
    """1 begins, 2 begins later and commits, somebody looks, 1 commits, he looks again: whom did he see?"""
    log = await watching(world)
    talk = await begin_dialogue(world)
    position = await log.position()
    commit = await slow_flush(world, OTHER)
    await talk.say("later, and faster")
    first = await log.since(kept(position))
    await commit()
    second = await log.since(kept(first.position))
    await talk.say("and on")
    third = await log.since(kept(second.position))
    return [head.id[-4:] if head.id != talk.id else "talk" for look in (first, second, third) for head in look.heads]


async def test_the_sweep_waits_for_a_slow_commit(world: World) -> None:
    assert await slow_commit(world, lambda position: position) == ["talk", "0001", "talk"]


async def test_the_toy_that_knows_only_the_highest_number_misses_it(world: World) -> None:
    assert await slow_commit(world, knows_only_the_highest) == ["talk", "talk"]


async def test_the_toy_that_goes_by_the_clock_misses_it(pg_world: PostgresWorld) -> None:
    clock = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
    since = "select h ->> 1 from flushes, jsonb_array_elements(heads) h where extract(epoch from at) * 1000000 > $1"
    talk = await begin_dialogue(pg_world)
    commit = await slow_flush(pg_world, OTHER)
    looked = await pg_world.postgres.fetchval(int, clock)
    await commit()
    await talk.say("one")
    assert await pg_world.postgres.fetch(str, since, looked) == [talk.id]


async def test_a_transaction_that_stays_open_holds_up_nobody_and_is_not_read_again_and_again(
    pg_world: PostgresWorld,
) -> None:
    """Somebody's import that writes for half an hour: `xmin` of every snapshot stays where it began."""
    log = await watching(pg_world)
    talk = await begin_dialogue(pg_world)
    position = await log.position()
    commit = await slow_flush(pg_world, OTHER)
    for number in range(20):
        await talk.say(str(number))
        swept = await log.since(position)
        assert len(swept.heads) == 1
        position = swept.position
        assert len(position.open) == 1
    await commit()
    assert len((await log.since(position)).heads) == 1


async def test_too_much_is_said_to_be_too_much(world: World) -> None:
    log = await watching(world, bounds=SweepBounds(flushes=3, heads=100))
    talk = await begin_dialogue(world)
    position = await log.position()
    for number in range(3):
        await talk.say(str(number))
    assert len(ids(await log.since(position))) == 3
    await talk.say("one more")
    swept = await log.since(position)
    assert (swept.whole, swept.heads) == (False, [])
    assert ids(await log.since(swept.position)) == []


async def test_too_many_heads_are_too_much_too(world: World) -> None:
    log = await watching(world, bounds=SweepBounds(flushes=100, heads=2))
    talk = await begin_dialogue(world)
    position = await log.position()
    await talk.say("1")
    await talk.say("2")
    assert (await log.since(position)).whole
    await talk.say("3")
    assert not (await log.since(position)).whole


async def test_who_looked_too_long_ago_is_told_so(world: World) -> None:
    log = await watching(world)
    position = await log.position()
    long_ago = Position(position.upto, position.open, WallTime(position.at - BOUNDS.remembered_ms - 1_000))
    assert not (await log.since(long_ago)).whole


async def test_a_database_that_was_set_back_is_noticed(pg_world: PostgresWorld) -> None:
    log = await watching(pg_world)
    position = await log.position()
    assert not (await log.since(Position(1 << 40, (), position.at))).whole


def test_a_position_is_cut_behind_the_highest_flush() -> None:
    """Above it everything may still be taken back by a crash of PostgreSQL, whose numbers are then given out again."""
    at = WallTime(7)
    assert position_of("100:110:100,104", 105, at) == Position(106, (100, 104), at)
    assert position_of("100:110:100,104,107", 102, at) == Position(103, (100,), at)
    assert position_of("100:110:104", 120, at) == Position(110, (104,), at)
    assert position_of("100:100:", 40, at) == Position(41, (), at)
    assert position_of("100:100:", 0, at) == Position(1, (), at)


# -- what changed -----------------------------------------------------------------------------------------------------


def everybody(_: UserId) -> bool:
    return True


async def test_messages_of_many_conversations_come_with_their_audience(world: World) -> None:
    log = await watching(world)
    talks = [await begin_dialogue(world, str(number)) for number in range(3)]
    for talk in talks:
        await talk.say("one", "two")
    windows = [Window(talk.id, 1, 3) for talk in talks]
    found = {changed.id: changed for changed in await log.changed(windows, everybody)}
    for talk in talks:
        changed = found[talk.id]
        assert {member.user_id for member in changed.audience} == {talk.a, talk.b}
        assert [(m.created_rev, m.view.text, m.view.sender_name) for m in changed.messages] == [
            (2, "one", "Anna"),
            (3, "two", "Anna"),
        ]
        assert (changed.members, changed.own) == ([], None), "messages explain all: nothing else is read"


async def test_a_window_leaves_out_what_lies_below_and_above(world: World) -> None:
    log, talk = await watching(world), await begin_dialogue(world)
    await talk.say("one", "two", "three", "four")
    (changed,) = await log.changed([Window(talk.id, 2, 4)], everybody)
    assert [m.view.text for m in changed.messages] == ["two", "three"]


async def test_a_message_that_has_changed_since_is_found_by_either_revision(world: World) -> None:
    """By that of its birth, too: or what was new in a window would be a bare revision once somebody touched it."""
    log, talk = await watching(world), await begin_dialogue(world)
    stored = message(talk.id, talk.a, 1, 2, "one")
    await world.journal.append(TOKEN, batch(talk.id, 1, [stored]))
    gone = DeletedMessage(stored.id, talk.id, 1, 3, 2, talk.a, WallTime(START))
    unit = ConversationUnit(talk.id, 2, 3, 1, [], Beside(deleted=[gone]))
    assert await world.journal.append(TOKEN, unit) == Committed()
    for window in (Window(talk.id, 1, 2), Window(talk.id, 2, 3), Window(talk.id, 1, 3)):
        (changed,) = await log.changed([window], everybody)
        [found] = changed.messages
        assert (found.view.id, found.created_rev, found.view.rev, found.view.text) == (stored.id, 2, 3, None)
        assert found.view.deleted_at is not None


async def test_conversations_of_which_nobody_is_here_are_not_read(world: World) -> None:
    log = await watching(world)
    ours, theirs = await begin_dialogue(world, "1"), await begin_dialogue(world, "2")
    await ours.say("one")
    await theirs.say("one")
    windows = [Window(ours.id, 1, 2), Window(theirs.id, 1, 2)]
    found = await log.changed(windows, lambda user: user == ours.b)
    assert [(changed.id, [m.user_id for m in changed.audience]) for changed in found] == [(ours.id, [ours.b])]
    assert await log.changed(windows, lambda _: False) == []


async def test_a_birth_is_a_change_of_the_conversation(world: World) -> None:
    log, talk = await watching(world), await begin_dialogue(world)
    await talk.say("hello")
    (changed,) = await log.changed([Window(talk.id, 0, 2)], everybody)
    assert changed.own is not None
    assert (changed.own.id, changed.own_rev, changed.own.member_count) == (talk.id, 1, 2)
    assert {member.user_id for member in changed.members} == {talk.a, talk.b}
    assert [m.view.text for m in changed.messages] == ["hello"]


async def test_who_left_hears_nothing_that_came_after(world: World) -> None:
    log, talk = await watching(world), await begin_dialogue(world)
    await talk.say("one")
    await world.leave(talk.id, talk.b, 3)
    await world.journal.append(TOKEN, batch(talk.id, 3, [message(talk.id, talk.a, 2, 4, "two")]))
    (changed,) = await log.changed([Window(talk.id, 1, 4)], everybody)
    assert {member.user_id: member.left_rev for member in changed.audience} == {talk.a: None, talk.b: 3}
    (later,) = await log.changed([Window(talk.id, 3, 4)], everybody)
    assert {member.user_id for member in later.audience} == {talk.a}


async def test_the_conversations_of_users(world: World) -> None:
    log = await watching(world)
    first, second = await begin_dialogue(world, "1"), await begin_dialogue(world, "2")
    assert set(await log.conversations_of([first.a, second.b])) == {first.id, second.id}
    assert await log.conversations_of([]) == []


async def test_nodes_count_each_other(world: World) -> None:
    first, second = await watching(world, "first"), await watching(world, "second")
    if isinstance(world, PostgresWorld):
        await world.postgres.execute("delete from nodes where node not in ('first', 'second')")
    await first.renew()
    await second.renew()
    assert (await first.renew(), await second.renew()) == (1, 1)


async def test_a_node_that_took_our_name_is_another_one(pg_world: PostgresWorld) -> None:
    await pg_world.postgres.execute("delete from nodes")
    log = await watching(pg_world, "same")
    assert await log.renew() == 0
    await begin_incarnation(pg_world.postgres, "same")
    assert await log.renew() == 1


async def test_a_lost_line_is_made_anew(pg_world: PostgresWorld) -> None:
    talk, log = await begin_dialogue(pg_world), await watching(pg_world)
    position = await log.position()
    await pg_world.postgres.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'kith journal'"
        " and query like '%pg_current_snapshot%' and pid <> pg_backend_pid()"
    )
    with pytest.raises(Exception, match="."):
        await log.since(position)
    await talk.say("one")
    assert ids(await log.since(position)) == [(talk.id, 1, 2)]
