"""Which settings are in force, where each comes from, and which of them do not go together."""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from realtime.commands.doctor.report import Report, Rows
from realtime.env_file import unknown_names
from realtime.setting_options import OPTIONS
from realtime.settings import Settings, named, weakness

LOOPBACK = ("127.0.0.1", "::1")


def settings_rows(
    settings: Settings,
    environ: Mapping[str, str],
    env_file: Mapping[str, str],
    unusable: Collection[str] = (),
) -> Rows:
    """Secrets masked; `.env` and the environment are named where a value is not the default."""
    given = {**env_file, **environ}
    rows = []
    for (name, value), option in zip(settings.shown(), OPTIONS, strict=True):
        used, text = named(option, given)
        if not text:
            rows.append((name, value))
            continue
        where = "environment" if environ.get(used) else ".env"
        if option.field in unusable:
            rows.append((name, f"{value}  (the default: {where} says something else that cannot be used)"))
            continue
        rows.append((name, f"{value}  ({where}{f' as {used}' if used != name else ''})"))
    return rows


def judge_names(env_file: Mapping[str, str], report: Report) -> None:
    for sentence in unknown_names(env_file):
        report.note(sentence, "It has no effect.")


def judge_settings(settings: Settings, report: Report) -> None:
    _judge_reach(settings, report)
    _judge_secrets(settings, report)
    if "*" in settings.cors_origins:
        consequence = "Every web page may call this server with what its visitor's app gave it."
        if settings.production:
            report.note("CORS_ORIGINS is * with KITH_ENV=production.", consequence)
    if settings.unsafe_durability:
        report.note("UNSAFE_DURABILITY is yes.", "What was acknowledged can be lost with the power.")


def _judge_reach(settings: Settings, report: Report) -> None:
    public = urlsplit(settings.public_url)
    open_to_all = not set(settings.host) <= set(LOOPBACK)
    if public.scheme == "https" and not settings.trusted_proxies:
        report.note(
            "PUBLIC_URL is https:// and TRUSTED_PROXIES is empty, but Kith speaks plain HTTP itself.",
            "Whatever ends TLS looks like one client: its address is what limits count and logs show.",
        )
    if public.scheme == "http" and settings.production:
        report.note(
            "PUBLIC_URL is http:// with KITH_ENV=production.",
            "Passwords and tokens cross the network readable, and browsers are not told to insist on TLS (HSTS).",
        )
    if not settings.public_url and settings.production:
        report.note("PUBLIC_URL is empty.", "Browsers are not told to insist on TLS (HSTS).")
    if public.hostname in ("localhost", *LOOPBACK) and open_to_all and settings.production:
        report.note(f"PUBLIC_URL is {settings.public_url}.", "Nobody but this machine can follow it.")
    everybody = [net for net in settings.trusted_proxies if net.endswith("/0")]
    if everybody:
        report.problem(
            f"TRUSTED_PROXIES holds {everybody[0]}.",
            "Anybody can say that he comes from anywhere: limits and the log's addresses mean nothing.",
        )
    if settings.trusted_proxies and open_to_all and settings.production and not everybody:
        report.note(
            f"HOST is {','.join(settings.host)} though proxies stand in front.",
            "Who reaches the port past them is not limited by them; a firewall, or another HOST, keeps him out.",
        )
    exempt = [net for net in settings.rate_limit_exempt_nets if net.endswith("/0")]
    if exempt and settings.production:
        report.problem(f"RATE_LIMIT_EXEMPT_NETS holds {exempt[0]}.", "Nobody is limited, also not who tries passwords.")


def _judge_secrets(settings: Settings, report: Report) -> None:
    for name, secret in (
        ("JWT_SECRET", settings.jwt_secret),
        ("JWT_SECRET_PREVIOUS", settings.jwt_secret_previous),
        ("S3_SECRET_KEY", settings.s3_secret_key),
        ("OIDC_CLIENT_SECRET", settings.oidc_client_secret),
    ):
        reason = weakness(secret) if secret else ""
        if not reason or (name == "JWT_SECRET" and settings.production):
            continue  # the start itself refuses that
        consequence = "Whoever guesses it signs in as anybody." if name.startswith("JWT") else "It could be guessed."
        report.note(f"{name} {reason}.", consequence)
    if settings.s3_access_key == "minioadmin" and settings.production:
        report.note("S3_ACCESS_KEY is the one that every MinIO begins with.", "Everybody knows its secret, too.")
    password = urlsplit(settings.database_url).password
    if settings.production and password is not None and len(password) < 12:
        report.note("The password in DATABASE_URL is short.", "It could be guessed.")
