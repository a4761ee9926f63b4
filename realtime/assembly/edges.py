"""What the two edges are handed: the gate of the sockets, the services of the web app, the options of the gateway."""

from collections.abc import Awaitable, Callable
from time import perf_counter

from actors.fingerprints import Fingerprints
from actors.passwords import PasswordOptions, Passwords
from actors.ports import Clock, Health
from actors.shapes.times import Seconds
from realtime.assembly.core import Core
from realtime.assembly.ids import new_id
from realtime.assembly.population import Population
from realtime.gate import Gate
from realtime.gateway.options import GatewayOptions
from realtime.oidc.provider import OpenIdProvider, ProviderOptions
from realtime.outbox import Bounds
from realtime.scrapes import Exposition, Scrapes
from realtime.settings import Settings
from realtime.vitals import DatabaseVital, JournalVital, RedisVital, StorageVital, UnconfiguredVital
from realtime.workers.crew import CrewVital
from storage.epoch import database_now
from storage.idempotency_keys import PostgresKeys
from storage.object_store import ObjectStore
from storage.signature import StoreKeys
from webapi.examiner import Examiner
from webapi.services import Services, WebOptions


def make_gate(core: Core, population: Population, epoch: str) -> Gate:
    return Gate(
        clock=core.clock,
        users=population.users,
        conversations=population.conversations,
        tokens=core.tokens,
        revocations=core.revocations,
        limiter=core.limiter,
        tickets=core.tickets,
        commands=core.metrics.counters("commands_total", "Commands of sockets", ("type",)),
        errors=core.metrics.counters("command_errors_total", "Commands answered with an error", ("code",)),
        translations=core.metrics.counters("frames_translated_total", "Frames put into another dialect", ("dialect",)),
        epoch=epoch,
        heartbeat=Seconds(core.settings.heartbeat_seconds),
    )


def make_services(core: Core, population: Population, serving: Callable[[], bool]) -> Services:
    settings, clock = core.settings, core.clock
    hashing = PasswordOptions(at_once=settings.password_hash_concurrency)
    return Services(
        users=population.users,
        conversations=population.conversations,
        accounts=core.accounts,
        user_store=population.user_store,
        profiles=population.profiles,
        conversation_store=population.conversation_store,
        clock=clock,
        limiter=core.limiter,
        tokens=core.tokens,
        tickets=core.tickets,
        revocations=core.revocations,
        sign_in=core.sign_in,
        moderation=core.moderation,
        seals=core.seals,
        keys=PostgresKeys(core.postgres),
        fingerprints=Fingerprints(settings.jwt_secret, settings.jwt_secret_previous or None),
        provider=make_provider(core),
        passwords=Passwords(hashing, core.metrics, perf_counter, core.hashing),
        metrics=core.metrics,
        exposition=Scrapes(numbers_of(core), perf_counter),
        health=Examiner(vitals(core), clock),
        new_id=new_id,
        client_address=lambda peer, _forwarded: peer,  # the gateway has resolved it already
        serving=serving,
        options=WebOptions(
            refresh_lifetime=Seconds(settings.refresh_token_days * 86_400),
            cors_origins=settings.cors_origins,
            public_is_https=settings.public_url.startswith("https://"),
        ),
    )


def numbers_of(core: Core) -> Callable[[], Awaitable[Exposition]]:
    """All that this node counts; of several workers, what any of them does."""

    async def own() -> Exposition:
        return core.metrics.expose()

    return own if core.crew is None else core.crew.exposition


def vitals(core: Core) -> tuple[Health, ...]:
    return (
        DatabaseVital(lambda: database_now(core.postgres), core.clock),
        JournalVital(core.journal),
        *([] if core.crew is None else [CrewVital(core.crew)]),
        UnconfiguredVital("redis") if core.bus is None else RedisVital(core.bus),
        storage_vital(core.settings, core.clock),
    )


def storage_vital(settings: Settings, clock: Clock) -> Health:
    if not settings.object_store:
        return UnconfiguredVital("storage")
    keys = StoreKeys(settings.s3_access_key, settings.s3_secret_key, settings.s3_region)
    return StorageVital(ObjectStore(settings.object_store, settings.s3_bucket, keys, clock.now).state, clock)


def make_provider(core: Core) -> OpenIdProvider | None:
    settings = core.settings
    if not settings.oidc_issuer:
        return None
    options = ProviderOptions(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        redirect_uris=settings.oidc_redirect_uris,
        scopes=settings.oidc_scopes,
    )
    return OpenIdProvider(options, core.clock)


def gateway_options(settings: Settings) -> GatewayOptions:
    return GatewayOptions(
        transport=settings.transport,
        trusted_proxies=settings.trusted_proxies,
        public_is_https=settings.public_url.startswith("https://"),
        max_connections=settings.max_connections,
        max_http_connections=max(1, 4_000 // settings.kith_workers),
        shared_listener=settings.kith_workers > 1,
        max_connections_per_address=settings.max_connections_per_ip,
        handshakes_per_second=settings.handshakes_per_second,
        handshake_burst=settings.handshakes_per_second,
        hello_seconds=settings.hello_timeout_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        pong_timeout_seconds=settings.pong_timeout_seconds,
        http_write_seconds=settings.http_write_timeout_seconds,
        outbox=Bounds(settings.outbox_soft_bytes, settings.outbox_hard_bytes),
    )
