"""Whether those that Kith was told of answer: Redis, the object store, the sign-in provider. Asked only if set."""

import json
import urllib.error
import urllib.request

import trio

from actors.clock import SystemClock
from actors.shapes.times import Seconds
from realtime.commands.doctor.redis_line import RedisAwayError, ask_redis
from realtime.commands.doctor.report import Report, Rows
from realtime.settings import Settings
from storage.object_store import ObjectStore
from storage.signature import StoreKeys

ANSWER_SECONDS = 3.0
OLDEST_REDIS = (6, 2)


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
    if name == "Redis" and tuple(map(int, found.split(".")[:2])) < OLDEST_REDIS:
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
    """What is wrong with the provider's description of itself; empty if nothing is."""
    try:
        with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=ANSWER_SECONDS) as answer:
            found = json.loads(answer.read(1_000_000))
    except urllib.error.HTTPError as refused:
        return f"answers {refused.code} when asked for its description"
    except OSError:
        return "does not answer"
    except ValueError:
        return "does not describe itself in JSON"
    if not isinstance(found, dict) or str(found.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
        return "calls itself by another name than OIDC_ISSUER"
    missing = [name for name in ("authorization_endpoint", "token_endpoint", "jwks_uri") if not found.get(name)]
    return f"does not say its {missing[0]}" if missing else ""
