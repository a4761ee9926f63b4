"""Builds a node out of its parts, runs it, and ends it in order; the one module that may import everything."""

import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

import trio
from msgspec import Struct
from uuid_utils import uuid7

from actors.account import AccountDesk
from actors.clock import SystemClock
from actors.conversation import ConversationActor, Conversations, ConversationWorld, Users
from actors.kinds import ActorKind
from actors.limiter import Limiter
from actors.loading import Loader
from actors.metrics import SIZE_BOUNDS, Metrics
from actors.passwords import PasswordOptions, Passwords
from actors.reading import Readers
from actors.recital import Library
from actors.revocations import RevokedLogins
from actors.shapes.conversations import MemberRenamed
from actors.shapes.errors import KithError
from actors.shapes.ids import MessageId, UserId
from actors.shapes.times import Seconds, iso
from actors.shapes.users import EndLogins
from actors.system import ActorSystem
from actors.tokens import TokenAuthority
from actors.user import Heads, UserActor, UserWorld
from realtime.departure import say_goodbye
from realtime.exposition import expose_actors, expose_gateway, expose_journal
from realtime.gate import Gate
from realtime.gateway.gateway import Gateway, Timekeeping
from realtime.gateway.options import GatewayOptions
from realtime.last_stop import crashed_before, note_order
from realtime.limits import limiter_options
from realtime.outbox import Bounds
from realtime.reception import FrontDoor
from realtime.settings import Settings
from realtime.vitals import DatabaseVital, JournalVital, UnconfiguredVital
from storage.accounts import PostgresAccounts
from storage.conversations import PostgresConversations
from storage.durability import check_durability
from storage.epoch import database_now, epoch_of
from storage.flush_retention import forget_old_flushes
from storage.journal.journal import PostgresJournal
from storage.journal.soft import SoftWrites
from storage.journal.waiting import JournalBounds
from storage.node import begin_incarnation
from storage.postgres import Postgres, open_postgres
from storage.users import PostgresUsers
from webapi.app import create_app
from webapi.services import Services, WebOptions

log = logging.getLogger("kith.node")

STOP_SECONDS: Final = Seconds(9.0)  # of the ten that whoever asked us to stop waits before he kills
JOURNAL_LANES: Final = 2
CLOCK_EVERY: Final = Seconds(10.0)
REVOCATIONS_EVERY: Final = Seconds(2.0)


class Node(Struct, frozen=True):
    """The parts that have a life; everything else hangs on them."""

    core: "Core"
    population: "Population"
    gateway: Gateway
    serving: trio.Event
    stopping: trio.Event


async def serve(settings: Settings, listeners: list[socket.socket], ready: Callable[[], None]) -> None:
    """Run until cancelled; then stop accepting, let the clients go, finish what is in hand, flush, close."""
    async with trio.open_nursery() as watchers:
        asked = trio.Event()
        watchers.start_soon(_notice_cancellation, asked)
        # Shielded, because a cancellation would cut every actor off in the middle of its batch: the node hears that it
        # is to stop, and each step of the stop has a deadline of its own.
        with trio.CancelScope(shield=True):
            async with open_postgres(settings.database_url, settings.database_pool_max - JOURNAL_LANES) as postgres:
                await check_durability(postgres, unsafe=settings.unsafe_durability)
                await _live(await assemble(settings, postgres), listeners, ready, asked)
        watchers.cancel_scope.cancel()


async def _notice_cancellation(asked: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        asked.set()


async def _live(node: Node, listeners: Sequence[socket.socket], ready: Callable[[], None], asked: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(node.core.journal.run)
        nursery.start_soon(node.population.heads.run)
        nursery.start_soon(node.population.readers.run)
        await nursery.start(node.population.system.run)
        nursery.start_soon(node.core.limiter.run)
        nursery.start_soon(_keep_time, node)
        nursery.start_soon(node.core.notes.run)
        nursery.start_soon(_watch_revocations, node)
        nursery.start_soon(forget_old_flushes, node.core.postgres)
        await nursery.start(node.gateway.serve, listeners)
        _settle_memory()
        node.serving.set()
        ready()
        await asked.wait()
        await _stop(node)
        nursery.cancel_scope.cancel()


async def _stop(node: Node) -> None:
    """In the order in which work flows: what has begun is finished, committed and sent before its way is closed."""
    begun = perf_counter()
    node.stopping.set()
    node.gateway.stop_accepting()
    with trio.move_on_after(STOP_SECONDS * 0.25):
        await say_goodbye(node.gateway, Seconds(STOP_SECONDS * 0.2))
    await node.population.system.stop(within=Seconds(STOP_SECONDS * 0.25))
    await node.core.journal.aclose(Seconds(STOP_SECONDS * 0.2))
    with trio.move_on_after(STOP_SECONDS * 0.05), contextlib.suppress(KithError):
        await node.core.notes.flush()
    await node.gateway.aclose(STOP_SECONDS * 0.1)
    note_order(node.core.settings.var)
    log.info("stopped", extra={"seconds": round(perf_counter() - begun, 2)})


def _settle_memory() -> None:
    """What a node is made of lives as long as it does: the collector need not look at it, nor look so often at all.

    With Python's own thresholds the collector took 7 % of a core at 10,000 messages a second and found nothing: what a
    message leaves behind is freed by its reference count.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _keep_time(node: Node) -> None:
    """Wall time is PostgreSQL's; while it is away the last offset holds."""
    while True:
        asked_at = node.core.clock.monotonic()
        try:
            node.core.clock.correct(await database_now(node.core.postgres), asked_at)
        except Exception as error:
            log.warning("the database did not tell the time", extra={"error": type(error).__name__})
        await trio.sleep(CLOCK_EVERY)


class Core(Struct, frozen=True):
    """What actors and edges both need."""

    settings: Settings
    postgres: Postgres
    clock: SystemClock
    metrics: Metrics
    journal: PostgresJournal
    accounts: PostgresAccounts
    tokens: TokenAuthority
    revocations: RevokedLogins
    limiter: Limiter
    notes: SoftWrites


async def _watch_revocations(node: Node) -> None:
    """A login revoked on another node ends here within seconds, and so does one whose revocation got no answer."""
    while True:
        await trio.sleep(REVOCATIONS_EVERY)
        with contextlib.suppress(KithError):  # the database is away: the next look goes back as far
            for user, login in await node.core.revocations.catch_up(node.core.accounts):
                node.population.users.must_tell(user, EndLogins((login,)))


async def assemble(settings: Settings, postgres: Postgres) -> Node:
    """Make all parts and introduce them to each other; nothing runs yet."""
    core = await _core(settings, postgres)
    population = _populate(core)
    gate = _gate(core, population, await epoch_of(postgres))
    serving, stopping = trio.Event(), trio.Event()
    services = _services(core, population, lambda: serving.is_set() and not stopping.is_set())
    latency = core.metrics.spread("delivery_seconds", "From the last byte of a command read to its event sent")
    gateway = Gateway(
        FrontDoor(gate, lambda: f"req_{new_id()}"),
        gateway_options(settings),
        Timekeeping(core.clock.monotonic, lambda: iso(core.clock.now()), latency.observe),
        create_app(services),
    )
    expose_journal(core.metrics, core.journal)
    expose_gateway(core.metrics, gateway.counters)
    expose_actors(core.metrics, population.system)
    return Node(core, population, gateway, serving, stopping)


async def _core(settings: Settings, postgres: Postgres) -> Core:
    clock, metrics = SystemClock(), Metrics(process=True)
    asked_at = clock.monotonic()
    clock.correct(await database_now(postgres), asked_at)
    identity = await begin_incarnation(postgres, settings.kith_node)
    commits = metrics.spread("journal_commit_seconds", "From a flush's statement to its answer")
    sizes = metrics.spread("journal_batch_rows", "Rows of one transaction", SIZE_BOUNDS)
    waits = metrics.spread("journal_wait_seconds", "How long the oldest of a flush had waited for it")

    def observe(seconds: float, rows: int, waited: float) -> None:
        commits.observe(seconds)
        sizes.observe(rows)
        waits.observe(waited)

    lines = [postgres.dedicated() for _ in range(JOURNAL_LANES)]
    bounds = JournalBounds(
        settings.journal_max_rows, settings.journal_max_bytes, flush_rows=settings.journal_batch_rows
    )
    accounts = PostgresAccounts(postgres, identity, clock)
    lifetime = Seconds(settings.access_token_minutes * 60)
    tokens = TokenAuthority(settings.jwt_secret, settings.jwt_secret_previous or None, lifetime)
    revocations = RevokedLogins(clock, tokens.lifetime)
    await revocations.load(accounts)
    return Core(
        settings=settings,
        postgres=postgres,
        clock=clock,
        metrics=metrics,
        journal=PostgresJournal(lines, identity, clock, bounds, observe),
        accounts=accounts,
        tokens=tokens,
        revocations=revocations,
        limiter=Limiter(clock, limiter_options(settings), metrics, crashed_before(settings.var)),
        notes=SoftWrites(postgres),
    )


def _gate(core: Core, population: "Population", epoch: str) -> Gate:
    return Gate(
        clock=core.clock,
        users=population.users,
        conversations=population.conversations,
        tokens=core.tokens,
        revocations=core.revocations,
        limiter=core.limiter,
        commands=core.metrics.counters("commands_total", "Commands of sockets", ("type",)),
        errors=core.metrics.counters("command_errors_total", "Commands answered with an error", ("code",)),
        epoch=epoch,
        heartbeat=Seconds(core.settings.heartbeat_seconds),
    )


def _services(core: Core, population: "Population", serving: Callable[[], bool]) -> Services:
    settings, clock = core.settings, core.clock
    hashing = PasswordOptions(at_once=settings.password_hash_concurrency)
    return Services(
        users=population.users,
        conversations=population.conversations,
        accounts=core.accounts,
        user_store=population.user_store,
        conversation_store=population.conversation_store,
        clock=clock,
        limiter=core.limiter,
        tokens=core.tokens,
        revocations=core.revocations,
        passwords=Passwords(hashing, core.metrics, perf_counter),
        metrics=core.metrics,
        health=(
            DatabaseVital(lambda: database_now(core.postgres), clock),
            JournalVital(core.journal),
            UnconfiguredVital("redis"),
            UnconfiguredVital("storage"),
        ),
        new_id=new_id,
        client_address=lambda peer, _forwarded: peer,  # the gateway has resolved it already
        serving=serving,
        options=WebOptions(refresh_lifetime=Seconds(settings.refresh_token_days * 86_400)),
    )


class Population(Struct, frozen=True):
    """The actors of a node and what they share."""

    system: ActorSystem
    users: Users
    conversations: Conversations
    user_store: PostgresUsers
    conversation_store: PostgresConversations
    readers: Readers
    heads: Loader[UserId, Heads]


def _populate(core: Core) -> Population:
    """Users first: conversations address them, and stop before them."""
    settings, clock, journal = core.settings, core.clock, core.journal
    system, readers = ActorSystem(clock), Readers()
    user_store, conversation_store = PostgresUsers(core.postgres), PostgresConversations(core.postgres)
    heads: Loader[UserId, Heads] = Loader(user_store.heads)

    async def renamed(user: UserId, name: str) -> None:
        for conversation in await conversation_store.conversations_of(user):
            conversations.tell_awake(conversation, MemberRenamed(user, name))

    world = UserWorld(
        unread=conversation_store.unread,
        heads=heads,
        revocations=core.revocations,
        desk=lambda activation: AccountDesk(activation.id, activation, core.accounts, journal, clock),
        renamed=renamed,
        connections_most=settings.max_connections_per_user,
        clock=clock,
        notes=core.notes,
    )
    users: Users = system.register(
        ActorKind(
            name="user",
            load=user_store.load,
            build=lambda activation, state: UserActor(world, activation, state),
            idle=Seconds(settings.user_idle_seconds),
            capacity=settings.mailbox_capacity,
        )
    )
    library = Library(conversation_store, readers, users.is_pinned)
    street = ConversationWorld(clock, journal, conversation_store, users, library, new_message_id)
    conversations: Conversations = system.register(
        ActorKind(
            name="conversation",
            load=conversation_store.load,
            build=lambda activation, state: ConversationActor(street, activation, state),
            idle=Seconds(settings.conversation_idle_seconds),
            capacity=settings.mailbox_capacity,
        )
    )
    return Population(system, users, conversations, user_store, conversation_store, readers, heads)


def gateway_options(settings: Settings) -> GatewayOptions:
    return GatewayOptions(
        transport=settings.transport,
        trusted_proxies=settings.trusted_proxies,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_ip,
        handshakes_per_second=settings.handshakes_per_second,
        handshake_burst=settings.handshakes_per_second,
        hello_seconds=settings.hello_timeout_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        pong_timeout_seconds=settings.pong_timeout_seconds,
        http_write_seconds=settings.http_write_timeout_seconds,
        outbox=Bounds(settings.outbox_soft_bytes, settings.outbox_hard_bytes),
    )


def new_id() -> str:
    return str(uuid7())


def new_message_id() -> MessageId:
    return MessageId(str(uuid7()))
