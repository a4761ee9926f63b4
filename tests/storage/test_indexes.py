"""Every statement on the way of a message or of a read finds its rows by an index, however large the tables grow."""

from collections.abc import Sequence

from actors.ports import ProfileUnit
from actors.shapes.flushes import Position, Window
from actors.shapes.ids import ConversationId, IdentityId, MessageId
from actors.shapes.sign_in import (
    CodeSpent,
    FlowSpent,
    Guard,
    LinkIdentity,
    Opening,
    ProviderIdentity,
    RecoverySpent,
    UnlinkIdentity,
)
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import RotateLogin, TicketId, TicketStub, UpdateProfile
from storage.accounts import PostgresAccounts
from storage.conversations import PostgresConversations
from storage.idempotency_keys import PostgresKeys, delete_old_keys
from storage.node import begin_incarnation
from storage.postgres import Statements, open_postgres, run_once
from storage.sign_in import PostgresSignIn
from storage.sweep import PostgresFlushLog
from storage.tickets import PostgresTickets
from storage.users import PostgresUsers
from tests.clocks import START, HandClock
from tests.storage.conftest import postgres_world
from tests.storage.test_accounts import login_of, registration, user_id
from tests.storage.worlds import TOKEN, batch, begin_dialogue, birth, message, new_id

LARGE = ("messages", "conversations", "conversation_members", "users", "blocks")
OF_LOGINS = (
    *LARGE, "sessions", "spent_tokens", "identities", "totp", "recovery_codes", "spent_flows", "spent_tickets",
    "idempotency_keys", "flushes",
)  # fmt: skip


async def scans(url: str, tables: Sequence[str] = LARGE) -> dict[str, int]:
    async def ask(statements: Statements) -> dict[str, int]:
        sql = "select relname::text, seq_scan from pg_stat_user_tables where relname = any($1::text[])"
        return dict(await statements.fetch(lambda name, count: (name, count), sql, tables))

    return await run_once(url, ask)


async def prefer_indexes(url: str) -> None:
    """Small tables are read whole even when there is an index; this forbids it, unless there is no other way."""

    async def alter(statements: Statements) -> None:
        name = await statements.fetchval(str, "select current_database()::text")
        await statements.execute(f'alter database "{name}" set enable_seqscan = off')

    await run_once(url, alter)


async def test_a_flush_reads_no_table_whole(database_url: str) -> None:
    async with postgres_world(database_url) as world:
        talk = await begin_dialogue(world)
    before = await scans(database_url)
    async with postgres_world(database_url, "other") as world:
        sent = message(talk.id, talk.a, 1, 2)
        await world.journal.append(TOKEN, batch(talk.id, 1, [sent]))
        again = message(talk.id, talk.a, 2, 3, client_id=sent.client_id)
        await world.journal.append(TOKEN, batch(talk.id, 2, [again]))
        await world.journal.append(TOKEN, birth(talk.a, talk.b))
        await world.journal.append(TOKEN, birth(talk.a, talk.b, privacy_mode="strict_e2e"))
        await world.journal.append(TOKEN, ProfileUnit(talk.a, 0, 1, UpdateProfile(username="bert"), WallTime(START)))
        await world.journal.append(TOKEN, ProfileUnit(talk.a, 0, 1, UpdateProfile(username="zoe"), WallTime(START)))
        await world.journal.aclose(Seconds(1.0))
    assert await scans(database_url) == before


async def test_no_read_goes_through_a_table(database_url: str) -> None:
    async with postgres_world(database_url) as world:
        talk = await begin_dialogue(world)
        await talk.say("one", "two")
    await prefer_indexes(database_url)
    before = await scans(database_url)
    async with open_postgres(database_url, connections=1) as postgres:
        conversations, users = PostgresConversations(postgres), PostgresUsers(postgres)
        id = ConversationId(talk.id)
        await conversations.load([id])
        await conversations.history(id, 1, 2, None, 10)
        await conversations.history(id, 1, None, 0, 10)
        await conversations.changes(id, 1, 0, 10)
        await conversations.view(id, talk.a)
        await conversations.members(id, 10)
        await conversations.direct_between(talk.a, talk.b, "standard")
        await conversations.page_of(talk.a, None, 10)
        await conversations.conversations_of(talk.a)
        await conversations.sent_before(id, [(talk.a, message(id, talk.a, 1, 1).client_id)])
        await conversations.where_is(MessageId(new_id()))
        await conversations.unread(talk.a, [id])
        await users.load([talk.a])
        await users.heads([talk.a])
        await users.profiles([talk.a])
        await users.block_between(talk.a, talk.b)
        await postgres.fetch(lambda _: None, "select pg_stat_force_next_flush()")
        await postgres.fetchval(int, "select 1")
    assert await scans(database_url) == before


async def test_neither_a_login_nor_the_sweep_goes_through_a_table(database_url: str) -> None:
    async with postgres_world(database_url) as world:
        talk = await begin_dialogue(world)
        await talk.say("one", "two")
    await prefer_indexes(database_url)
    before = await scans(database_url, OF_LOGINS)
    clock = HandClock()
    async with open_postgres(database_url, connections=1) as postgres:
        identity = await begin_incarnation(postgres, "asking")
        accounts, sign_in = PostgresAccounts(postgres, identity, clock), PostgresSignIn(postgres, identity, clock)
        anna, command = user_id(), registration(clock, "zoe@example.org", "zoe")
        login = command.login
        await accounts.register(TOKEN, anna, command)
        await accounts.credentials(command.email)
        await accounts.open_login(TOKEN, anna, login_of(clock), command.password_hash)
        await accounts.rotate_login(TOKEN, anna, RotateLogin(login.id, login.token_hash, b"next", login.expires_at))
        await accounts.login_of_token(b"next")
        await accounts.login_of_token(login.token_hash)
        await accounts.logins(anna)
        await accounts.revoked_since(clock.now())
        await accounts.close_logins(TOKEN, anna, [login.id], None)
        await accounts.close_logins(TOKEN, anna, None, None)
        provided, now = ProviderIdentity("https://id.example.org", "zoe", None), clock.now()
        flow = FlowSpent(new_id(), WallTime(now + 1))
        link, _ = await sign_in.link(TOKEN, anna, LinkIdentity(IdentityId(new_id()), provided, flow, now))
        await sign_in.owner(provided.issuer, provided.subject)
        await sign_in.identities(anna)
        await sign_in.unlink(TOKEN, anna, UnlinkIdentity(link.id, link.issuer))
        await sign_in.begin_totp(TOKEN, anna, b"sealed", command.password_hash)
        await sign_in.confirm_totp(TOKEN, anna, CodeSpent(Guard(), Guard(1)), [b"code"])
        await sign_in.totp(anna)
        again = login_of(clock)
        await sign_in.open_login(TOKEN, anna, Opening(again, RecoverySpent(b"code")))
        await PostgresTickets(postgres, clock).spend(TOKEN, TicketStub(TicketId(b"ticket"), clock.now()))
        await PostgresKeys(postgres).find(anna, "key", clock.now())
        await delete_old_keys(postgres, clock.now())
        log = PostgresFlushLog(postgres.dedicated(), postgres, identity)
        await log.since(Position(0, (), WallTime(0)))
        for after in (0, 1):
            await log.changed([Window(ConversationId(talk.id), after, 3)], lambda _: True)
        await log.conversations_of([talk.a])
        await postgres.fetch(lambda _: None, "select pg_stat_force_next_flush()")
        await postgres.fetchval(int, "select 1")
    assert await scans(database_url, OF_LOGINS) == before


async def test_the_check_itself_sees_a_scan(database_url: str) -> None:
    before = await scans(database_url)
    async with open_postgres(database_url, connections=1) as postgres:
        await postgres.fetchval(int, "select count(*) from messages where body = 'x'")
        await postgres.fetch(lambda _: None, "select pg_stat_force_next_flush()")
        await postgres.fetchval(int, "select 1")
    after = await scans(database_url)
    assert after["messages"] == before["messages"] + 1
