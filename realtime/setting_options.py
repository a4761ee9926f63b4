"""Every setting of a node: its environment variable, its default, what it may be, and what it does."""

from dataclasses import dataclass

from realtime.setting_kinds import (
    Kind,
    addresses,
    bucket_name,
    database_url,
    host_and_port,
    hosts,
    issuer,
    networks,
    node_name,
    number,
    one_of,
    origins,
    path,
    plain,
    public_url,
    redis_url,
    secret,
    store_endpoint,
    whole,
    words,
    yes_or_no,
)


@dataclass(frozen=True)
class Option:
    """`default` is the text that .env.example shows; `field` of Settings is the lower-case name.

    `alias` is a name of the sources' that means the same; both may be set if they say the same.
    """

    name: str
    default: str
    kind: Kind
    meaning: str
    secret: bool = False
    alias: str = ""

    @property
    def field(self) -> str:
        return self.name.lower()


MEGABYTE = 1_048_576
SECONDS = number(0.05, 86_400)

OPTIONS = (
    # Where it listens and keeps things
    Option("HOST", "127.0.0.1,::1", hosts, "addresses to listen on; 0.0.0.0 (and ::) for everybody"),
    Option("PORT", "8000", whole(0, 65_535), "the one port of WebSocket and HTTP; 0 takes a free one"),
    Option(
        "PUBLIC_URL", "", public_url, "how clients reach this server; with https:// browsers are told to stay with it"
    ),
    Option("CORS_ORIGINS", "", origins, "web pages of other origins that may call; empty is none"),
    Option("KITH_WORKERS", "1", whole(1, 64), "processes of one `kith serve`, which share the port"),
    Option("DATABASE_URL", "", database_url, "PostgreSQL 15 or newer; empty starts the embedded one", secret=True),
    Option(
        "DATABASE_POOL_MAX", "25", whole(4, 1_000), "database connections of this `kith serve`, all workers together"
    ),
    Option("REDIS_URL", "", redis_url, "Redis 6.2 or Valkey, which wakes the other nodes; empty is none", secret=True),
    Option("REDIS_ADDR", "", host_and_port, "the same in two parts, if REDIS_URL is empty"),
    Option("REDIS_PASSWORD", "", plain, "to REDIS_ADDR", secret=True),
    Option(
        "S3_ENDPOINT",
        "",
        store_endpoint,
        "object store for media (also MINIO_ENDPOINT, and so on below); empty is none",
        alias="MINIO_ENDPOINT",
    ),
    Option("S3_ACCESS_KEY", "", plain, "who asks there", secret=True, alias="MINIO_ACCESS_KEY"),
    Option("S3_SECRET_KEY", "", plain, "what signs the requests", secret=True, alias="MINIO_SECRET_KEY"),
    Option("S3_BUCKET", "kith", bucket_name, "where media lie; `kith bucket` makes it", alias="MINIO_BUCKET"),
    Option(
        "S3_USE_SSL",
        "yes",
        yes_or_no,
        "no for http:// to an S3_ENDPOINT that does not say which",
        alias="MINIO_USE_SSL",
    ),
    Option("S3_REGION", "us-east-1", node_name, "what signatures name; stores of one's own take the default"),
    Option("KITH_VAR", "var", path, "data, secrets and the lock; relative to the checkout"),
    Option(
        "KITH_ENV", "development", one_of("development", "production"), "production refuses a missing or weak secret"
    ),
    Option("KITH_NODE", "", node_name, "name of this node; empty is the host's"),
    Option(
        "LOG_LEVEL", "info", one_of("debug", "info", "warning", "error"), "least severity of the JSON lines on stderr"
    ),
    Option("UNSAFE_DURABILITY", "no", yes_or_no, "serve on a database whose settings can lose what was acknowledged"),
    # Accounts
    Option("JWT_SECRET", "", secret, "seed of the signing key; empty: made once in KITH_VAR/secret", secret=True),
    Option(
        "JWT_SECRET_PREVIOUS", "", secret, "the seed before this one, while its tokens and codes stay good", secret=True
    ),
    Option("ACCESS_TOKEN_MINUTES", "15", number(0.05, 1_440), "life of an access token"),
    Option("REFRESH_TOKEN_DAYS", "30", number(0.01, 365), "life of a refresh token"),
    Option("PASSWORD_HASH_CONCURRENCY", "2", whole(1, 64), "argon2id runs at once, each with 19 MiB and one core"),
    # Sign-in with a provider (OpenID Connect)
    Option("OIDC_ISSUER", "", issuer, "the provider; empty is none"),
    Option("OIDC_CLIENT_ID", "", plain, "what the provider calls this server"),
    Option("OIDC_CLIENT_SECRET", "", plain, "empty for a public client", secret=True),
    Option("OIDC_REDIRECT_URIS", "", addresses, "where clients may have the provider send people back to"),
    Option("OIDC_SCOPES", "openid email profile", words, "what the provider is asked for"),
    # Who is asking
    Option("TRUSTED_PROXIES", "", networks, "whose PROXY header and X-Forwarded-For are believed"),
    Option("RATE_LIMIT_EXEMPT_NETS", "", networks, "addresses without limits (load machines)"),
    # The gateway
    Option("TRANSPORT", "auto", one_of("auto", "epoll", "portable"), "auto: epoll on Linux"),
    Option(
        "MAX_CONNECTIONS", "20000", whole(1, 1_000_000), "everything on the port; lowered to what descriptors allow"
    ),
    Option("MAX_CONNECTIONS_PER_IP", "0", whole(0, 1_000_000), "IPv6 counts per /64; 0 is off"),
    Option("MAX_CONNECTIONS_PER_USER", "20", whole(1, 10_000), "one more is closed with 4513"),
    Option("HANDSHAKES_PER_SECOND", "5000", whole(1, 1_000_000), "above it 503 with Retry-After"),
    Option("HELLO_TIMEOUT_SECONDS", "10", SECONDS, "an unauthenticated connection is closed after it (4401)"),
    Option("HEARTBEAT_SECONDS", "25", SECONDS, "silence after which the server sends a ping"),
    Option("PONG_TIMEOUT_SECONDS", "10", SECONDS, "silence after that ping which closes (4002)"),
    Option("OUTBOX_SOFT_BYTES", "262144", whole(1_024, 1_024 * MEGABYTE), "above it only durable frames queue"),
    Option(
        "OUTBOX_HARD_BYTES", "1048576", whole(2_048, 1_024 * MEGABYTE), "above it the slow connection is closed (4001)"
    ),
    Option("HTTP_WRITE_TIMEOUT_SECONDS", "30", SECONDS, "for each 64 KiB of an answer"),
    # Actors and the journal
    Option("MAILBOX_CAPACITY", "1000", whole(1, 1_000_000), "messages waiting for one actor; above it OVERLOADED"),
    Option("CONVERSATION_IDLE_SECONDS", "120", SECONDS, "a conversation nobody addresses leaves memory after it"),
    Option("USER_IDLE_SECONDS", "60", SECONDS, "likewise a user without sessions"),
    Option("JOURNAL_MAX_ROWS", "100000", whole(100, 10_000_000), "rows waiting to be committed; above it UNAVAILABLE"),
    Option("JOURNAL_MAX_BYTES", "67108864", whole(MEGABYTE, 16_384 * MEGABYTE), "likewise bytes"),
    Option("JOURNAL_BATCH_ROWS", "2000", whole(1, 100_000), "most rows of one commit"),
    # Token buckets: how many at once (BURST), and how fast they come back
    Option("RATE_REQUESTS_PER_MINUTE", "100", number(0.01, 1e9), "requests of a user"),
    Option("RATE_REQUESTS_BURST", "100", whole(1, 1_000_000_000), ""),
    Option("RATE_MESSAGES_PER_MINUTE", "600", number(0.01, 1e9), "messages of a user, over socket and HTTP together"),
    Option("RATE_MESSAGES_BURST", "1000", whole(1, 1_000_000_000), ""),
    Option("RATE_REGISTRATIONS_PER_HOUR", "10", number(0.01, 1e9), "registrations from one address"),
    Option("RATE_REGISTRATIONS_BURST", "10", whole(1, 1_000_000_000), ""),
    Option("RATE_LOGINS_PER_5_MINUTES", "30", number(0.01, 1e9), "logins from one address"),
    Option("RATE_LOGINS_BURST", "30", whole(1, 1_000_000_000), ""),
    Option("RATE_UNAUTHENTICATED_PER_MINUTE", "600", number(0.01, 1e9), "requests without a token from one address"),
    Option("RATE_UNAUTHENTICATED_BURST", "600", whole(1, 1_000_000_000), ""),
    Option("RATE_REPORTS_PER_HOUR", "30", number(0.01, 1e9), "reports and appeals of a user"),
    Option("RATE_REPORTS_BURST", "30", whole(1, 1_000_000_000), ""),
)
