"""The settings: every wrong value is named, .env.example tells the truth, and nothing shows a secret."""

import contextlib
from pathlib import Path

import pytest

from actors.limiter import DEFAULT_LIMITS
from realtime.commands import serve
from realtime.limits import limiter_options
from realtime.secret import settle_secret
from realtime.setting_options import OPTIONS
from realtime.settings import (
    CHECKOUT,
    EXAMPLE_SECRET,
    Settings,
    SettingsError,
    host_name,
    load_settings,
    read_env_file,
    read_settings,
)

SECRET = "5f0c8a2e91b7d3466ac2f81e0d97b4c35f0c8a2e"

# For every variable something that must be refused.
WRONG = {
    "HOST": "example.org",
    "PORT": "65536",
    "PUBLIC_URL": "https://example.org/path",
    "CORS_ORIGINS": "example.org",
    "KITH_WORKERS": "0",
    "DATABASE_URL": "mysql://db/kith",
    "DATABASE_POOL_MAX": "2",
    "REDIS_URL": "http://localhost",
    "REDIS_ADDR": "localhost",
    "REDIS_PASSWORD": "a\tb",
    "S3_ENDPOINT": "https://s3.example.org/bucket",
    "S3_ACCESS_KEY": "a\tb",
    "S3_SECRET_KEY": "a\tb",
    "S3_BUCKET": "Kith",
    "S3_USE_SSL": "perhaps",
    "S3_REGION": "eu west",
    "KITH_VAR": "a\0b",
    "KITH_ENV": "prod",
    "KITH_NODE": "-node one",
    "LOG_LEVEL": "loud",
    "UNSAFE_DURABILITY": "perhaps",
    "JWT_SECRET": "a\tb",
    "JWT_SECRET_PREVIOUS": "a\tb",
    "OIDC_ISSUER": "ftp://example.org",
    "OIDC_CLIENT_ID": "a\tb",
    "OIDC_CLIENT_SECRET": "a\tb",
    "OIDC_REDIRECT_URIS": "javascript:alert(1)",
    "OIDC_SCOPES": "openid  email",
    "TRUSTED_PROXIES": "10.0.0.1/8",
    "RATE_LIMIT_EXEMPT_NETS": "10.0.0.0/33",
    "TRANSPORT": "uring",
}


def wrong_value(name: str) -> str:
    return WRONG.get(name, "-1")


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return caught.value.problems


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.host == ("127.0.0.1", "::1")
    assert settings.port == 8000
    assert settings.database_url == ""
    assert settings.access_token_minutes == 15
    assert settings.kith_node == host_name()
    assert settings.var == CHECKOUT / "var"


def test_the_table_and_the_struct_have_the_same_fields() -> None:
    assert [option.field for option in OPTIONS] == list(Settings.__struct_fields__)
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
def test_a_wrong_value_names_the_variable_the_value_and_what_is_allowed(name: str) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    (problem,) = problems({name: wrong_value(name)})
    assert problem.startswith(f"{name} is ")
    assert problem.endswith(f" and must be {option.kind.allowed}.")
    assert (repr(wrong_value(name)) in problem) != option.secret


def test_all_mistakes_are_named_at_once() -> None:
    environ = {option.name: wrong_value(option.name) for option in OPTIONS}
    assert [problem.split()[0] for problem in problems(environ)] == [option.name for option in OPTIONS]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "8_000"),
        ("PORT", "٨٠٠٠"),
        ("PORT", "8000.0"),
        ("HEARTBEAT_SECONDS", "1e1"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("HEARTBEAT_SECONDS", "0"),
        ("HOST", "127.0.0.1,127.0.0.1"),
        ("HOST", "127.0.0.1,"),
        ("DATABASE_URL", "postgresql://localhost:port/kith"),
        ("DATABASE_URL", "postgresql://localhost"),
        ("DATABASE_URL", "postgresql:///kith"),
    ],
)
def test_what_looks_right_and_is_not(name: str, text: str) -> None:
    assert problems({name: text})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("HOST", "localhost", ("127.0.0.1", "::1")),
        ("HOST", "0.0.0.0", ("0.0.0.0",)),
        ("PORT", " 5000 ", 5000),
        ("PORT", "", 8000),
        ("TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8", ("10.0.0.0/8", "fd00::/8")),
        ("UNSAFE_DURABILITY", "TRUE", True),
        ("ACCESS_TOKEN_MINUTES", "0.5", 0.5),
        ("PUBLIC_URL", "https://kith.example.org/", "https://kith.example.org"),
        ("CORS_ORIGINS", "https://App.example.org, *", ("https://app.example.org", "*")),
        ("CORS_ORIGINS", "https://a.example:443,http://a.example:80/", ("https://a.example", "http://a.example")),
        ("CORS_ORIGINS", "https://a.example:80,http://[::1]:443", ("https://a.example:80", "http://[::1]:443")),
        ("OIDC_REDIRECT_URIS", "org.example.app:/in", ("org.example.app:/in",)),
        ("DATABASE_URL", "postgres://u:p@h:5/d", "postgres://u:p@h:5/d"),
        ("DATABASE_URL", "postgresql://u@/d?host=/run/postgresql", "postgresql://u@/d?host=/run/postgresql"),
    ],
)
def test_what_is_understood(name: str, text: str, value: object) -> None:
    assert getattr(load_settings({name: text}), name.lower()) == value


KEYS = {"S3_ACCESS_KEY": "who", "S3_SECRET_KEY": "hush"}


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, ""),
        ({"S3_ENDPOINT": "store:9000"}, "https://store:9000"),
        ({"S3_ENDPOINT": "store:9000", "S3_USE_SSL": "no"}, "http://store:9000"),
        ({"MINIO_ENDPOINT": "localhost:9000", "MINIO_USE_SSL": "false"}, "http://localhost:9000"),
        ({"S3_ENDPOINT": "http://store:9000/", "S3_USE_SSL": "yes"}, "http://store:9000"),
    ],
)
def test_the_object_store_has_one_address_however_it_was_given(given: dict[str, str], address: str) -> None:
    assert load_settings({**KEYS, **given}).object_store == address


def test_a_name_of_the_sources_means_the_same() -> None:
    settings = load_settings({"MINIO_BUCKET": "stories", "S3_BUCKET": "stories"})
    assert settings.s3_bucket == "stories"
    (problem,) = problems({"MINIO_BUCKET": "stories", "S3_BUCKET": "kith"})
    assert problem == "S3_BUCKET and MINIO_BUCKET are both set and differ; they mean the same."
    (problem,) = problems({"MINIO_SECRET_KEY": "one", "S3_SECRET_KEY": "two"})
    assert "one" not in problem
    (problem,) = problems({"MINIO_BUCKET": "Stories"})
    assert problem.startswith("MINIO_BUCKET is 'Stories' and must be ")
    names = [option.name for option in OPTIONS] + [option.alias for option in OPTIONS if option.alias]
    assert len(names) == len(set(names))


def test_an_object_store_needs_keys() -> None:
    (problem,) = problems({"S3_ENDPOINT": "store:9000"})
    assert problem == "S3_ENDPOINT is set and needs S3_ACCESS_KEY and S3_SECRET_KEY."


def test_values_that_contradict_each_other() -> None:
    (problem,) = problems({"OUTBOX_SOFT_BYTES": "4096", "OUTBOX_HARD_BYTES": "2048"})
    assert "OUTBOX_SOFT_BYTES is 4096 and must be at most OUTBOX_HARD_BYTES" in problem
    (problem,) = problems({"JOURNAL_BATCH_ROWS": "2000", "JOURNAL_MAX_ROWS": "100"})
    assert "JOURNAL_BATCH_ROWS" in problem


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "is missing"),
        ("short", "is weak"),
        ("ab" * 40, "is weak"),
        (EXAMPLE_SECRET, "is an example"),
        ("please-change-this-secret-before-deploying", "is an example"),
    ],
)
def test_production_refuses_a_missing_weak_or_example_secret(secret: str, reason: str) -> None:
    (problem,) = problems({"KITH_ENV": "production", "JWT_SECRET": secret})
    assert problem.startswith(f"JWT_SECRET {reason}, and KITH_ENV=production needs")
    assert not secret or secret not in problem
    assert load_settings({"JWT_SECRET": secret}).jwt_secret == secret


def test_production_takes_a_good_secret_and_no_unsafe_database() -> None:
    good = {"KITH_ENV": "production", "JWT_SECRET": SECRET}
    assert load_settings(good).production
    (problem,) = problems({**good, "UNSAFE_DURABILITY": "yes"})
    assert problem.startswith("UNSAFE_DURABILITY")


def test_nothing_shows_a_secret() -> None:
    settings = load_settings({"JWT_SECRET": SECRET, "DATABASE_URL": "postgresql://u:hush@h/d"})
    for text in (repr(settings), str(settings), f"{settings}", str(settings.shown())):
        assert SECRET not in text
        assert "hush" not in text
    assert ("JWT_SECRET", "(set)") in settings.shown()
    assert [name for name, _ in settings.shown()] == [option.name for option in OPTIONS]


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nexport PORT = 9000\nKITH_NODE='n 1'\nLOG_LEVEL=\"debug\"\nSOMEBODY_ELSES=x=y\n")
    assert read_env_file(file) == {"PORT": "9000", "KITH_NODE": "n 1", "LOG_LEVEL": "debug", "SOMEBODY_ELSES": "x=y"}
    settings = load_settings({"KITH_NODE": "n1", "PORT": ""}, file)
    assert (settings.port, settings.log_level, settings.kith_node) == (8000, "debug", "n1")
    assert load_settings({}, tmp_path / "none").port == 8000


def test_a_broken_env_file_is_named_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT\n=8000\nPORT=1\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, file)
    assert caught.value.problems == [".env line 1 must be NAME=value.", ".env line 2 must be NAME=value."]
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings({}, file)


def test_lines_and_values_are_named_together(tmp_path: Path) -> None:
    """A line that was none hid every wrong value until it was mended."""
    file = tmp_path / ".env"
    file.write_text("PORT\nLOG_LEVEL=loud\nJOURNAL_MAX_ROWS=many\nS3_ENDPOINT=store:9000\n")
    reading = read_settings({"JOURNAL_BATCH_ROWS": "100000"}, file)
    names = [problem.split()[0] for problem in reading.problems]
    assert names == [".env", "LOG_LEVEL", "JOURNAL_MAX_ROWS", "S3_ENDPOINT"]
    assert reading.unusable == {"log_level", "journal_max_rows"}
    assert reading.settings.log_level == "info"


def test_a_start_says_which_names_of_the_file_nobody_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PROT=9000 served on 8000, and only the doctor, whom nobody had called, said why."""
    (tmp_path / ".env").write_text("PROT=9000\nPOSTGRES_PASSWORD=x\nPORT=9000\n")
    monkeypatch.setenv("PROTT", "not of the file")
    monkeypatch.setattr(serve, "CHECKOUT", tmp_path)
    monkeypatch.setattr(serve, "stop_raises", contextlib.nullcontext)
    monkeypatch.setattr(serve, "ignore_signals", lambda: None)
    monkeypatch.setattr(serve, "assemble", lambda settings, stack: 0)
    assert serve.serve(load_settings({})) == 0
    assert caplog.messages == [".env sets PROT, which Kith does not know. Was PORT meant?"]
    assert caplog.records[0].levelname == "WARNING"


def test_env_example_and_the_table_agree() -> None:
    """Both ways: whatever the file shows exists, whatever exists is shown, with its default and what is allowed."""
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    shown = dict(line[1:].split("=", 1) for line in lines if line.startswith("#") and not line.startswith("# "))
    assert shown == {option.name: option.default for option in OPTIONS}
    for option in OPTIONS:
        if option.meaning:
            above = lines[: lines.index(f"#{option.name}={option.default}")][-5:]
            assert f"# Must be {option.kind.allowed}." in above
    assert f"# JWT_SECRET={EXAMPLE_SECRET}" in lines
    assert load_settings(shown) == load_settings({})


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    settings = load_settings({"KITH_VAR": str(tmp_path)})
    first = settle_secret(settings)
    assert len(first.jwt_secret) == 64
    assert settle_secret(settings) == first
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert settle_secret(load_settings({"JWT_SECRET": SECRET})).jwt_secret == SECRET
    (tmp_path / "secret").write_text("x")
    with pytest.raises(SettingsError, match="does not hold a secret"):
        settle_secret(settings)


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        settle_secret(load_settings({"KITH_VAR": str(tmp_path)}))


def test_the_buckets_get_the_settings_rates_and_the_designs_failing_side() -> None:
    assert limiter_options(load_settings({})).limits == DEFAULT_LIMITS
    options = limiter_options(load_settings({"RATE_LOGINS_PER_5_MINUTES": "600", "RATE_LOGINS_BURST": "7"}))
    logins = options.limits[next(limit for limit in options.limits if limit.value == "logins")]
    assert (logins.rate.capacity, logins.rate.per_second, logins.when_full) == (7, 2.0, "closed")
