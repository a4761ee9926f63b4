"""What actors and edges both need: the database, the clock, the journal, tokens and limits."""

from typing import Final

from msgspec import Struct

from actors.clock import SystemClock
from actors.hashing_process import HashingProcess
from actors.limiter import Limiter
from actors.metrics import SIZE_BOUNDS, Metrics
from actors.moderation_ports import Moderation
from actors.revocations import RevokedLogins
from actors.sealing import Seals
from actors.shapes.times import Seconds
from actors.sweep_notices import SweepNotices
from actors.tickets import TicketAuthority
from actors.tokens import TokenAuthority
from realtime.last_stop import crashed_before
from realtime.limits import limiter_options
from realtime.settings import Settings
from realtime.workers.crew import Crew
from storage.accounts import PostgresAccounts
from storage.epoch import database_now
from storage.journal.journal import PostgresJournal
from storage.journal.soft import SoftWrites
from storage.journal.waiting import JournalBounds
from storage.moderation import postgres_moderation
from storage.node import NodeIdentity, begin_incarnation
from storage.postgres import Postgres
from storage.redis.address import address_of
from storage.redis.bus import RedisBus
from storage.sign_in import PostgresSignIn
from storage.sweep import deployment_of
from storage.waking import Waking

JOURNAL_LANES: Final = 2
OWN_LINES: Final = JOURNAL_LANES + 1  # connections that are no part of the pool: the sweep has one, too


class Core(Struct, frozen=True):
    """What actors and edges both need."""

    settings: Settings
    postgres: Postgres
    clock: SystemClock
    metrics: Metrics
    journal: PostgresJournal
    accounts: PostgresAccounts
    tokens: TokenAuthority
    sign_in: PostgresSignIn
    moderation: Moderation
    seals: Seals
    tickets: TicketAuthority
    revocations: RevokedLogins
    limiter: Limiter
    hashing: HashingProcess
    notes: SoftWrites
    identity: NodeIdentity
    notices: SweepNotices  # what the sweep is told
    bus: RedisBus | None  # none: other nodes are heard of once a second
    crew: Crew | None  # the other processes behind this port; none: it is alone


async def make_core(settings: Settings, postgres: Postgres, crew: Crew | None) -> Core:
    clock, metrics = SystemClock(), Metrics(process=True)
    asked_at = clock.monotonic()
    clock.correct(await database_now(postgres), asked_at)
    identity = await begin_incarnation(postgres, settings.kith_node)
    lags = metrics.spread("sweep_lag_seconds", "How old the oldest change was that a look found")
    notices = SweepNotices(clock, lags.observe)
    bus = await _make_bus(settings, clock, postgres, identity, notices)
    commits = metrics.spread("journal_commit_seconds", "From a flush's statement to its answer")
    sizes = metrics.spread("journal_batch_rows", "Rows of one transaction", SIZE_BOUNDS)
    waits = metrics.spread("journal_wait_seconds", "How long the oldest of a flush had waited for it")

    def observe(seconds: float, rows: int, waited: float) -> None:
        commits.observe(seconds)
        sizes.observe(rows)
        waits.observe(waited)
        if bus is not None:
            bus.ring()

    lines = [postgres.dedicated() for _ in range(JOURNAL_LANES)]
    bounds = JournalBounds(
        settings.journal_max_rows, settings.journal_max_bytes, flush_rows=settings.journal_batch_rows
    )
    revocations = RevokedLogins(clock)
    waking = _waking(bus, revocations)
    accounts = PostgresAccounts(postgres, identity, clock, waking)
    lifetime = Seconds(settings.access_token_minutes * 60)
    tokens = TokenAuthority(settings.jwt_secret, settings.jwt_secret_previous or None, lifetime)
    await revocations.load(accounts)
    # Of a worker the supervisor knows, and its mark is the only one in KITH_VAR.
    after_crash = crashed_before(settings.var) if crew is None else crew.after_crash
    if crew is not None:
        crew.expose = lambda: metrics.expose()[1]
    return Core(
        settings=settings,
        postgres=postgres,
        clock=clock,
        metrics=metrics,
        journal=PostgresJournal(lines, identity, clock, bounds, observe),
        accounts=accounts,
        tokens=tokens,
        sign_in=PostgresSignIn(postgres, identity, clock, waking),
        moderation=postgres_moderation(postgres, identity, waking),
        seals=Seals(settings.jwt_secret, settings.jwt_secret_previous or None),
        tickets=TicketAuthority(settings.jwt_secret, settings.jwt_secret_previous or None),
        revocations=revocations,
        limiter=Limiter(clock, limiter_options(settings), metrics, after_crash),
        hashing=HashingProcess(settings.password_hash_concurrency),
        notes=SoftWrites(postgres),
        identity=identity,
        notices=notices,
        bus=bus,
        crew=crew,
    )


def _waking(bus: RedisBus | None, revocations: RevokedLogins) -> Waking:
    if bus is None:
        return Waking(logins_ended=revocations.wake)
    tell_others = bus.tell_revoked
    bus.heard_revoked = revocations.wake

    def logins_ended() -> None:
        revocations.wake()
        tell_others()

    return Waking(bus.ring, logins_ended)


async def _make_bus(
    settings: Settings, clock: SystemClock, postgres: Postgres, identity: NodeIdentity, notices: SweepNotices
) -> RedisBus | None:
    if not settings.redis:
        return None
    channel = f"kith:{await deployment_of(postgres)}:flushed"
    name = f"{identity.node}/{identity.incarnation}"
    return RedisBus(address_of(settings.redis), channel, name, clock, notices.wake)
