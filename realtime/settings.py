"""The settings of a node: the environment, read once into one frozen struct, with every mistake named at once."""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from realtime.env_file import scan_env_file
from realtime.setting_kinds import BadValueError, Value
from realtime.setting_options import OPTIONS, Option

CHECKOUT = Path(__file__).resolve().parent.parent
# Shorter than this a seed can be tried out; the second is what .env.example shows.
SHORTEST_SECRET = 32
# Two are the journal's and one the sweep's; with a single one left a slow read would keep all others waiting.
LEAST_POOL_OF_WORKER = 5
EXAMPLE_SECRET = "change-me-to-the-output-of-openssl-rand-hex-32"


class SettingsError(Exception):
    """What the environment says cannot be used; `problems` has one sentence for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per variable, in the order of .env.example; made by `load_settings` only."""

    host: tuple[str, ...]
    port: int
    public_url: str
    cors_origins: tuple[str, ...]
    kith_workers: int
    database_url: str  # empty: the embedded one
    database_pool_max: int
    redis_url: str
    redis_addr: str
    redis_password: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_bucket: str
    s3_use_ssl: bool
    s3_region: str
    kith_var: str
    kith_env: str
    kith_node: str
    log_level: str
    unsafe_durability: bool
    jwt_secret: str  # empty until `settle_secret` has read KITH_VAR/secret
    jwt_secret_previous: str
    access_token_minutes: float
    refresh_token_days: float
    password_hash_concurrency: int
    oidc_issuer: str
    oidc_client_id: str
    oidc_client_secret: str
    oidc_redirect_uris: tuple[str, ...]
    oidc_scopes: str
    trusted_proxies: tuple[str, ...]
    rate_limit_exempt_nets: tuple[str, ...]
    transport: str
    max_connections: int
    max_connections_per_ip: int
    max_connections_per_user: int
    handshakes_per_second: int
    hello_timeout_seconds: float
    heartbeat_seconds: float
    pong_timeout_seconds: float
    outbox_soft_bytes: int
    outbox_hard_bytes: int
    http_write_timeout_seconds: float
    mailbox_capacity: int
    conversation_idle_seconds: float
    user_idle_seconds: float
    journal_max_rows: int
    journal_max_bytes: int
    journal_batch_rows: int
    rate_requests_per_minute: float
    rate_requests_burst: int
    rate_messages_per_minute: float
    rate_messages_burst: int
    rate_registrations_per_hour: float
    rate_registrations_burst: int
    rate_logins_per_5_minutes: float
    rate_logins_burst: int
    rate_unauthenticated_per_minute: float
    rate_unauthenticated_burst: int
    rate_reports_per_hour: float
    rate_reports_burst: int

    @property
    def var(self) -> Path:
        """KITH_VAR as a path; a relative one counts from the checkout, wherever `kith` is called from."""
        return CHECKOUT / self.kith_var

    @property
    def redis(self) -> str:
        """The address of Redis in one piece; empty: there is none."""
        if self.redis_url or not self.redis_addr:
            return self.redis_url
        return f"redis://:{quote(self.redis_password, safe='')}@{self.redis_addr}/0"

    @property
    def object_store(self) -> str:
        """The address of the object store with its scheme; empty: there is none."""
        if not self.s3_endpoint or "://" in self.s3_endpoint:
            return self.s3_endpoint
        return f"{'https' if self.s3_use_ssl else 'http'}://{self.s3_endpoint}"

    @property
    def production(self) -> bool:
        return self.kith_env == "production"

    def __repr__(self) -> str:
        """Without secrets, so that neither a log line nor a traceback can show one."""
        return f"Settings({', '.join(f'{name}={text}' for name, text in self.shown())})"

    def shown(self) -> list[tuple[str, str]]:
        """Every variable and its value as text, secrets masked."""
        pairs: list[tuple[str, str]] = []
        for option in OPTIONS:
            value: Value = getattr(self, option.field)
            pairs.append((option.name, masked(option, value)))
        return pairs


class Reading(NamedTuple):
    """What could be made of the environment; `unusable` are the fields that have their default instead of what was
    given."""

    settings: Settings
    problems: list[str]
    unusable: frozenset[str]


def load_settings(environ: Mapping[str, str], env_file: Path | None = None) -> Settings:
    """Check everything, then either give one struct or raise with all that is wrong. The environment wins."""
    reading = read_settings(environ, env_file)
    if reading.problems:
        raise SettingsError(reading.problems)
    return reading.settings


def read_settings(environ: Mapping[str, str], env_file: Path | None = None) -> Reading:
    """The same for a doctor, who goes on with what can be used."""
    lines, problems = scan_env_file(env_file) if env_file else ({}, [])
    given = {**lines, **environ}
    values: dict[str, Value] = {}
    wrong: set[str] = set()
    for option in OPTIONS:
        name, text = named(option, given)
        if name == option.name and given.get(option.alias, "").strip() not in ("", text):
            problems.append(f"{name} and {option.alias} are both set and differ; they mean the same.")
        text = text or option.default
        try:
            values[option.field] = option.kind.parse(text)
        except BadValueError:
            shown = "(hidden)" if option.secret else repr(text)
            problems.append(f"{name} is {shown} and must be {option.kind.allowed}.")
            values[option.field] = option.kind.parse(option.default)
            wrong.add(option.field)
    values["kith_node"] = values["kith_node"] or host_name()
    settings = msgspec.convert(values, Settings)
    # What contradicts a default that stands in for a mistake is no mistake of its own.
    problems += [sentence for sentence in contradictions(settings) if not names_in(sentence) & wrong]
    return Reading(settings, problems, frozenset(wrong))


def names_in(sentence: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z][A-Z0-9_]+", sentence)}


def named(option: Option, given: Mapping[str, str]) -> tuple[str, str]:
    """Under which of its names an option is set, and to what; its own name and nothing if it is not."""
    text = given.get(option.name, "").strip()
    if not text and option.alias and given.get(option.alias, "").strip():
        return option.alias, given[option.alias].strip()
    return option.name, text


def contradictions(settings: Settings) -> list[str]:
    """Values that are fine alone and not together."""
    problems = []
    for least, most in (("outbox_soft_bytes", "outbox_hard_bytes"), ("journal_batch_rows", "journal_max_rows")):
        low, high = getattr(settings, least), getattr(settings, most)
        if low > high:
            problems.append(f"{least.upper()} is {low} and must be at most {most.upper()}, which is {high}.")
    workers, pool = settings.kith_workers, settings.kith_workers * LEAST_POOL_OF_WORKER
    if workers > 1 and settings.database_pool_max < pool:
        problems.append(
            f"DATABASE_POOL_MAX is {settings.database_pool_max} and must be at least {pool} for KITH_WORKERS={workers}"
            f": {LEAST_POOL_OF_WORKER} for each, of which the journal has two and the sweep one."
        )
    if settings.oidc_issuer and not (settings.oidc_client_id and settings.oidc_redirect_uris):
        problems.append("OIDC_ISSUER is set and needs OIDC_CLIENT_ID and OIDC_REDIRECT_URIS.")
    if settings.s3_endpoint and not (settings.s3_access_key and settings.s3_secret_key):
        problems.append("S3_ENDPOINT is set and needs S3_ACCESS_KEY and S3_SECRET_KEY.")
    if settings.production:
        reason = weakness(settings.jwt_secret)
        if reason:
            problems.append(
                f"JWT_SECRET {reason}, and KITH_ENV=production needs one of at least {SHORTEST_SECRET} random"
                " characters, the same on every node (openssl rand -hex 32)."
            )
        if settings.unsafe_durability:
            problems.append("UNSAFE_DURABILITY is yes and must be no with KITH_ENV=production.")
    return problems


def weakness(secret: str) -> str:
    """Why a secret could be guessed; empty if nothing speaks against it."""
    if not secret:
        return "is missing"
    if secret == EXAMPLE_SECRET or "change" in secret.lower():
        return "is an example"
    if len(secret) < SHORTEST_SECRET or len(set(secret)) < 8:
        return "is weak"
    return ""


def read_env_file(file: Path) -> dict[str, str]:
    """What it sets; raises if a line of it is wrong."""
    found, problems = scan_env_file(file)
    if problems:
        raise SettingsError(problems)
    return found


def process_settings(flags: Mapping[str, str] | None = None) -> Settings:
    """What this process was given: the flags of its command line, its environment and the checkout's .env."""
    return load_settings({**os.environ, **(flags or {})}, CHECKOUT / ".env")


def process_reading(flags: Mapping[str, str] | None = None) -> Reading:
    return read_settings({**os.environ, **(flags or {})}, CHECKOUT / ".env")


def given_settings() -> dict[str, str]:
    """The same as texts, for the environment of processes that are to be given the same; "" is the default."""
    given = {**read_env_file(CHECKOUT / ".env"), **os.environ}
    return {option.name: named(option, given)[1] for option in OPTIONS}


def masked(option: Option, value: Value) -> str:
    if option.secret:
        return "(set)" if value else "(not set)"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def host_name() -> str:
    """The host's name cut to what a node may be called."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in socket.gethostname())
    return kept.strip("-")[:63] or "node"
