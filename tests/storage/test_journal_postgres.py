"""What only the journal on PostgreSQL has: flushes, bounds, outages, locks held by others, and an ordered end."""

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from actors.ports import Committed, Fenced, ProfileUnit, Receipt, Taken, Unit
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import UpdateProfile
from storage.flush_retention import delete_old_flushes
from storage.journal.journal import PostgresJournal
from storage.journal.soft import SoftWrites
from storage.journal.waiting import JournalBounds
from storage.node import begin_incarnation
from storage.node_retention import delete_gone_nodes
from storage.postgres import Postgres, Statements, open_postgres
from storage.sweep import PostgresFlushLog
from tests.clocks import START, HandClock
from tests.storage.worlds import TOKEN, Dialogue, PostgresWorld, batch, begin_dialogue, message, new_id


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait up to a second for the outside world."""
    for _ in range(200):
        if condition():
            return
        await trio.sleep(0.005)
    raise AssertionError(f"waited a second for {what}")


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(database_url) as opened:
        yield opened


class Appended:
    """Units handed in by tasks of their own, and what became of each."""

    def __init__(self, nursery: trio.Nursery, world: PostgresWorld) -> None:
        self.results: dict[str, Receipt | KithError] = {}
        self._nursery, self._world = nursery, world

    def add(self, name: str, unit: Unit) -> None:
        self._nursery.start_soon(self._append, name, unit)

    async def _append(self, name: str, unit: Unit) -> None:
        try:
            self.results[name] = await self._world.journal.append(TOKEN, unit)
        except KithError as error:
            self.results[name] = error


def next_message(talk: Dialogue, text: str = "hello") -> Unit:
    return batch(talk.id, talk.rev, [message(talk.id, talk.a, talk.seq + 1, talk.rev + 1, text)])


async def test_what_arrives_together_is_one_transaction(pg_world: PostgresWorld) -> None:
    talks = [await begin_dialogue(pg_world, str(number)) for number in range(20)]
    journal = pg_world.journal
    before = journal.counters.flushes
    async with trio.open_nursery() as nursery:
        for talk in talks:
            nursery.start_soon(talk.say, "one", "two")
    assert journal.counters.flushes == before + 1
    assert journal.counters.rows == 20 * 3 + 20 * 3  # births with two members each, then heads with two messages each
    assert (journal.waiting_rows, journal.waiting_bytes, journal.queue_age) == (0, 0, 0.0)
    xids = "select count(distinct changed_xid) from messages"
    assert await pg_world.postgres.fetchval(int, xids) == 1
    same = "select count(*) from messages m join flushes f on f.xid = m.changed_xid join conversations c"
    same += " on c.id = m.conversation_id and c.changed_xid = f.xid"
    assert await pg_world.postgres.fetchval(int, same) == 40


async def test_a_row_held_elsewhere_waits_for_the_next_flush_and_delays_nobody(
    pg_world: PostgresWorld, postgres: Postgres
) -> None:
    held, free = await begin_dialogue(pg_world), await begin_dialogue(pg_world, "2")
    locked, let_go = trio.Event(), trio.Event()

    async def hold(nursery: trio.Nursery) -> None:
        async def work(statements: Statements) -> None:
            await statements.execute("select 1 from conversations where id = $1 for update", held.id)
            nursery.start_soon(set_event)
            await statements.execute("select pg_sleep(0.15)")

        async def set_event() -> None:
            locked.set()

        await postgres.transaction(work)
        let_go.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, nursery)
        await locked.wait()
        appended = Appended(nursery, pg_world)
        appended.add("held", next_message(held))
        appended.add("free", next_message(free))
        await until(lambda: "free" in appended.results, "the free conversation's receipt")
        assert not let_go.is_set()
        assert "held" not in appended.results
    assert appended.results == {"held": Committed(), "free": Committed()}
    assert pg_world.journal.counters.contended >= 1
    assert pg_world.journal.counters.fenced == 0


async def test_a_change_that_commits_under_the_flush_fences_it(pg_world: PostgresWorld, postgres: Postgres) -> None:
    """The flush's snapshot is older than the other's commit: the update must look at the newest version of the row."""
    talk = await begin_dialogue(pg_world)
    async with trio.open_nursery() as nursery:
        appended = Appended(nursery, pg_world)

        async def work(statements: Statements) -> None:
            await statements.execute("update conversations set rev = rev + 1 where id = $1", talk.id)
            nursery.start_soon(begin)
            await statements.execute("select pg_sleep(0.1)")

        async def begin() -> None:
            appended.add("stale", next_message(talk))

        await postgres.transaction(work)
    assert appended.results == {"stale": Fenced()}
    assert await pg_world.stored(talk.id) == []


async def test_a_name_that_is_being_taken_elsewhere_costs_only_its_own_unit(
    pg_world: PostgresWorld, postgres: Postgres
) -> None:
    """No statement can see the other's row yet, so the unique index decides, and refuses the whole flush at first."""
    a, talk = await pg_world.add_user("anna"), await begin_dialogue(pg_world, "2")
    async with trio.open_nursery() as nursery:
        appended = Appended(nursery, pg_world)

        async def work(statements: Statements) -> None:
            await statements.execute(
                "insert into users (id, email, email_key, username, username_key, password_hash)"
                " values ($1, 'z', 'z', 'Zoe', 'zoe', '')",
                new_id(),
            )
            nursery.start_soon(begin)
            await statements.execute("select pg_sleep(0.1)")

        async def begin() -> None:
            changes = UpdateProfile(username="zoe", bio="sings")
            appended.add("name", ProfileUnit(a, 0, 1, changes, WallTime(START)))
            appended.add("message", next_message(talk))

        await postgres.transaction(work)
    assert appended.results == {"name": Taken(None), "message": Committed()}
    assert (await pg_world.users.load([a]))[a].rev == 0
    assert pg_world.journal.counters.poisoned == 0


async def test_no_more_is_held_than_the_bound_and_nothing_of_it_is_lost(database_url: str) -> None:
    bounds = JournalBounds(waiting_rows=10)
    async with open_postgres(database_url) as postgres, trio.open_nursery() as nursery:
        journal = PostgresJournal([postgres.dedicated()], await begin_incarnation(postgres, "n"), HandClock(), bounds)
        world = PostgresWorld(postgres, journal)
        await nursery.start(journal.run)
        talks = [await begin_dialogue(world, str(number)) for number in range(8)]
        # PostgreSQL does not answer: every head is locked by somebody else.
        go_on = trio.Event()

        async def hold() -> None:
            async def work(statements: Statements) -> None:
                await statements.execute("select 1 from conversations for update")
                nursery.start_soon(give_in)
                await statements.execute("select pg_sleep(0.2)")

            async def give_in() -> None:
                go_on.set()

            await postgres.transaction(work)

        nursery.start_soon(hold)
        await go_on.wait()
        async with trio.open_nursery() as writers:
            appended = Appended(writers, world)
            for number, talk in enumerate(talks):
                appended.add(str(number), next_message(talk))
            await until(lambda: len(appended.results) == 3, "three refusals")
            refused = {name: error for name, error in appended.results.items() if isinstance(error, KithError)}
            assert len(refused) == 3  # five units of two rows each are the bound
            for error in refused.values():
                assert (error.code, error.outcome) == (ErrorCode.UNAVAILABLE, "none")
                assert error.retry_after
            assert journal.waiting_rows == 10
            assert journal.counters.refused == 3
        assert {name for name, got in appended.results.items() if got == Committed()} == set("01234567") - set(refused)
        for name in refused:
            assert await talks[int(name)].say("again") == Committed()
        await journal.aclose(Seconds(1.0))


async def test_an_ordered_end_flushes_what_waits_and_refuses_what_comes(database_url: str) -> None:
    async with open_postgres(database_url) as postgres, trio.open_nursery() as nursery:
        lines = [postgres.dedicated(), postgres.dedicated()]
        journal = PostgresJournal(lines, await begin_incarnation(postgres, "n"), HandClock())
        world = PostgresWorld(postgres, journal)
        await nursery.start(journal.run)
        talks = [await begin_dialogue(world, str(number)) for number in range(5)]
        async with trio.open_nursery() as writers:
            appended = Appended(writers, world)
            for number, talk in enumerate(talks):
                appended.add(str(number), next_message(talk))
            await until(lambda: journal.waiting_rows == 10 or bool(appended.results), "the units to come in")
            await journal.aclose(Seconds(1.0))
        assert set(appended.results.values()) == {Committed()}
        with pytest.raises(KithError) as refused:
            await talks[0].say("late")
        assert (refused.value.code, refused.value.outcome) == (ErrorCode.UNAVAILABLE, "none")


async def test_at_the_deadline_of_the_end_everybody_is_told_what_is_true(database_url: str) -> None:
    async with open_postgres(database_url) as postgres, trio.open_nursery() as nursery:
        journal = PostgresJournal([postgres.dedicated()], await begin_incarnation(postgres, "n"), HandClock())
        world = PostgresWorld(postgres, journal)
        await nursery.start(journal.run)
        stuck, waiting = await begin_dialogue(world), await begin_dialogue(world, "2")
        go_on = trio.Event()

        async def hold() -> None:
            async def work(statements: Statements) -> None:
                # The insert of the flush row waits for this lock, so the statement is under way and does not end.
                await statements.execute("lock table flushes in exclusive mode")
                nursery.start_soon(give_in)
                await statements.execute("select pg_sleep(0.4)")

            async def give_in() -> None:
                go_on.set()

            await postgres.transaction(work)

        nursery.start_soon(hold)
        await go_on.wait()
        async with trio.open_nursery() as writers:
            appended = Appended(writers, world)
            appended.add("in flight", next_message(stuck))
            await until(lambda: bool(journal.in_flight), "the flush to begin")
            appended.add("waiting", next_message(waiting))
            await until(lambda: journal.waiting_rows == 4, "the second unit")
            await journal.aclose(Seconds(0.05))
        outcomes = {name: error.outcome for name, error in appended.results.items() if isinstance(error, KithError)}
        assert outcomes == {"in flight": "unknown", "waiting": "none"}
        assert journal.counters.unanswered == 1


async def test_updates_of_heads_stay_hot(pg_world: PostgresWorld) -> None:
    """An index on anything a send changes would end it, and costs 75 % more time per message.

    Autovacuum stays out of it: the snapshot of its ANALYZE keeps old versions from being pruned, and then a page of
    this small table fills up now and then.
    """
    await pg_world.postgres.execute("alter table conversations set (autovacuum_enabled = off)")
    talks = [await begin_dialogue(pg_world, str(number)) for number in range(20)]
    for _ in range(25):
        async with trio.open_nursery() as nursery:
            for talk in talks:
                nursery.start_soon(talk.say, "one")
    # A session's counts become visible when it ends.
    await pg_world.journal.aclose(Seconds(1.0))
    counts = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'conversations'"
    for _ in range(100):
        updates, hot = (await pg_world.postgres.fetchrow(_pair, counts)) or (0, 0)
        if updates >= 500:
            break
        await trio.sleep(0.01)
    assert updates >= 500
    assert hot / updates > 0.95


def _pair(a: int, b: int) -> tuple[int, int]:
    return a, b


async def test_flush_rows_are_deleted_after_an_hour(pg_world: PostgresWorld, postgres: Postgres) -> None:
    talk = await begin_dialogue(pg_world)
    for _ in range(5):
        await talk.say("one")
    await postgres.execute("update flushes set at = now() - interval '61 minutes' where n <= 4")
    assert await delete_old_flushes(postgres) == 4
    assert await postgres.fetch(int, "select n from flushes order by n") == [5, 6]
    assert await delete_old_flushes(postgres) == 0


async def test_every_start_of_a_node_is_a_new_writer(postgres: Postgres) -> None:
    first, second = await begin_incarnation(postgres, "a"), await begin_incarnation(postgres, "a")
    other = await begin_incarnation(postgres, "b")
    assert second.incarnation == first.incarnation + 1
    assert (first.node, other.node) == ("a", "b")
    assert [first.next_number(), first.next_number(), second.next_number()] == [1, 2, 1]


async def test_a_node_that_was_gone_for_a_day_is_forgotten_and_comes_back_as_another(postgres: Postgres) -> None:
    """Containers have random names: `nodes` grew by a row with every deployment."""
    long_ago = (await begin_incarnation(postgres, "gone")).incarnation - 25 * 3_600
    await begin_incarnation(postgres, "here")
    await postgres.execute("update nodes set seen = now() - interval '25 hours' where node = 'gone'")
    await postgres.execute("update nodes set seen = now() - interval '23 hours' where node = 'here'")
    assert await delete_gone_nodes(postgres) == 1
    assert await postgres.fetch(str, "select node from nodes") == ["here"]
    # Its process only slept: its rows and those of the next one under its name are never one row.
    assert (await begin_incarnation(postgres, "gone")).incarnation > long_ago > 0


async def test_a_node_that_lives_and_was_forgotten_enters_itself_again(postgres: Postgres) -> None:
    identity = await begin_incarnation(postgres, "cut-off")
    log = PostgresFlushLog(postgres.dedicated(), postgres, identity)
    assert await log.renew() == 0
    await postgres.execute("update nodes set seen = now() - interval '25 hours'")
    assert await delete_gone_nodes(postgres) == 1
    assert await log.renew() == 0
    assert await postgres.fetch(int, "select incarnation from nodes") == [identity.incarnation]


class TestSoftWrites:
    """Last-seen times are written behind; nobody was promised one."""

    async def add_login(self, postgres: Postgres, user: UserId) -> LoginId:
        login = LoginId(new_id())
        await postgres.execute(
            "insert into sessions (id, user_id, token_hash, expires_at, last_used_at)"
            " values ($1, $2, $3, now(), to_timestamp(1000))",
            login,
            user,
            login.encode(),
        )
        return login

    async def used(self, postgres: Postgres, login: LoginId) -> int | None:
        sql = "select (extract(epoch from last_used_at) * 1000)::bigint from sessions where id = $1"
        return await postgres.fetchval(int, sql, login)

    async def seen(self, postgres: Postgres, user: UserId) -> int | None:
        sql = "select (extract(epoch from last_seen_at) * 1000)::bigint from users where id = $1"
        return await postgres.fetchval(int, sql, user)

    async def test_the_latest_of_each_is_written(self, pg_world: PostgresWorld) -> None:
        postgres = pg_world.postgres
        user = await pg_world.add_user("anna")
        login = await self.add_login(postgres, user)
        soft = SoftWrites(postgres)
        soft.login_used(login, WallTime(START))
        soft.login_used(login, WallTime(START + 5))
        soft.login_used(LoginId(new_id()), WallTime(START))  # gone meanwhile
        soft.user_seen(user, WallTime(START + 7))
        assert await self.used(postgres, login) == 1_000_000
        await soft.flush()
        assert (await self.used(postgres, login), await self.seen(postgres, user)) == (START + 5, START + 7)
        assert soft.waiting == 0
        soft.user_seen(user, WallTime(START + 1))  # of a node whose news came late
        await soft.flush()
        assert await self.seen(postgres, user) == START + 7

    async def test_a_locked_row_is_written_next_time(self, pg_world: PostgresWorld, postgres: Postgres) -> None:
        user = await pg_world.add_user("anna")
        soft = SoftWrites(pg_world.postgres)
        locked = trio.Event()

        async with trio.open_nursery() as nursery:

            async def work(statements: Statements) -> None:
                await statements.execute("select 1 from users where id = $1 for update", user)
                nursery.start_soon(note)
                await statements.execute("select pg_sleep(0.1)")

            async def note() -> None:
                soft.user_seen(user, WallTime(START))
                await soft.flush()
                assert soft.waiting == 1
                locked.set()

            await postgres.transaction(work)
            await locked.wait()
        await soft.flush()
        assert soft.waiting == 0
        assert await self.seen(postgres, user) == START

    async def test_it_writes_by_itself(self, pg_world: PostgresWorld) -> None:
        user = await pg_world.add_user("anna")
        soft = SoftWrites(pg_world.postgres)
        soft.user_seen(user, WallTime(START))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(soft.run, Seconds(0.01))
            await until(lambda: soft.written == 1, "the write behind")
            nursery.cancel_scope.cancel()
        assert await self.seen(pg_world.postgres, user) == START
