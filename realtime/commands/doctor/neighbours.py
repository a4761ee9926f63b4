"""Whether those that Kith was told of answer: Redis, the object store, the sign-in provider. Asked only if set."""

import re
from typing import Any
from urllib.parse import urlsplit

import trio

from actors.clock import SystemClock
from actors.shapes.times import Seconds
from realtime.commands.doctor.redis_line import RedisAwayError, ask_redis
from realtime.commands.doctor.report import Report, Rows
from realtime.oidc.fetching import Fetcher, ProviderError
from realtime.oidc.provider import is_usable
from realtime.settings import Settings
from storage.object_store import ObjectStore
from storage.signature import StoreKeys

ANSWER_SECONDS = 3.0
OLDEST_REDIS = (6, 2)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})").match


def neighbour_rows(settings: Settings, report: Report) -> Rows:
    rows: Rows = []
    if settings.redis:
        rows += _redis(settings, report)
    elif settings.production and settings.kith_workers > 1:
        report.note(
            "REDIS_URL is empty with several workers.", "They need one, and start the embedded one if they can."
        )
    if settings.object_store:
        rows += _object_store(settings, report)
    if settings.oidc_issuer:
        rows += _provider(settings, report)
    return rows


def _redis(settings: Settings, report: Report) -> Rows:
    consequence = "Other workers and nodes are woken by their look at the database only, a second later."
    try:
        about = ask_redis(settings.redis, ANSWER_SECONDS)
    except RedisAwayError as error:
        report.problem(f"Redis does not answer: {error}.", consequence)
        return [("Redis", f"away: {error}")]
    name = "Valkey" if "valkey_version" in about else "Redis"
    found = about.get("valkey_version") or about.get("redis_version", "of an unknown version")
    version = _VERSION(found)
    if name == "Redis" and version is not None and (int(version[1]), int(version[2])) < OLDEST_REDIS:
        report.problem(f"Redis {found} is too old; Kith needs 6.2.", consequence)
    return [(name, found)]


def _object_store(settings: Settings, report: Report) -> Rows:
    keys = StoreKeys(settings.s3_access_key, settings.s3_secret_key, settings.s3_region)
    store = ObjectStore(settings.object_store, settings.s3_bucket, keys, SystemClock().now)

    async def ask() -> str:
        return await store.state(Seconds(ANSWER_SECONDS))

    state = trio.run(ask)
    if state != "ok":
        way_out = " `kith bucket` makes it." if state == "no bucket" else ""
        report.note(
            f"The object store {settings.object_store} says of {settings.s3_bucket}: {state}.{way_out}",
            "Nobody can send or see a picture; everything else works.",
        )
    return [("object store", f"{settings.object_store}, bucket {settings.s3_bucket}: {state}")]


def _provider(settings: Settings, report: Report) -> Rows:
    wrong = _discovery(settings.oidc_issuer)
    if wrong:
        report.problem(f"The provider {settings.oidc_issuer} {wrong}.", "Nobody can sign in through it.")
    return [("sign-in provider", f"{settings.oidc_issuer}: {wrong or 'ok'}")]


def _discovery(issuer: str) -> str:
    """What is wrong with the provider's description of itself, asked as a node asks; empty if nothing is."""

    async def ask() -> dict[str, Any]:
        found: dict[str, Any] = await Fetcher(Seconds(ANSWER_SECONDS)).get(
            f"{issuer.rstrip('/')}/.well-known/openid-configuration", dict
        )
        return found

    try:
        found = trio.run(ask)
    except ProviderError as error:
        return _failure(error.name)
    if str(found.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
        return "calls itself by another name than OIDC_ISSUER"
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        address = found.get(name)
        if not address:
            return f"does not say its {name}"
        if not isinstance(address, str) or not is_usable(address, urlsplit(issuer).scheme):
            return f"says a {name} that cannot be used: it must be an address with the scheme of OIDC_ISSUER"
    return ""


def _failure(name: str) -> str:
    kind, _, more = name.partition("_")
    if kind == "status":
        return f"answers {more} when asked for its description"
    if name == "not_understood":
        return "does not describe itself in JSON"
    return f"does not answer ({more or name})" if kind == "unreachable" else f"does not answer as it should ({name})"
