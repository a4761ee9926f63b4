"""The doctor names what would break and what comes of it, and is silent about what would not."""

import json
import resource
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.passwords import PasswordOptions
from realtime import settings as settings_module
from realtime.commands import bucket, database
from realtime.commands.database import bring_up_to_date
from realtime.commands.doctor import doctor, versions
from realtime.commands.doctor.database import judge_database
from realtime.commands.doctor.database_facts import DatabaseFacts, LifeFacts, ServerFacts, database_facts
from realtime.commands.doctor.in_force import judge_names, judge_settings, settings_rows
from realtime.commands.doctor.kernel import kernel_rows
from realtime.commands.doctor.machine import machine_rows, memory_bytes
from realtime.commands.doctor.neighbours import neighbour_rows
from realtime.commands.doctor.port import port_rows
from realtime.commands.doctor.report import Report
from realtime.commands.health import healthcheck
from realtime.commands.running import ask_health
from realtime.node_lock import NodeLock
from realtime.refusal import RefusalError
from realtime.setting_options import OPTIONS
from realtime.settings import load_settings, read_settings
from storage.database_errors import DatabaseAwayError
from storage.object_store import ObjectStore, StoreAwayError
from storage.postgres import Statements, run_once

SERVER = ServerFacts("18.4", 18, "UTF8", True, True, "on", 97, "logical", True, False, True, True)
LIFE = LifeFacts(10_000_000, 3, 0, 0, 1_000, 0)
SOUND = DatabaseFacts(SERVER, LIFE, (), (), 999, None)
PRODUCTION = {
    "KITH_ENV": "production",
    "JWT_SECRET": "5f0c8a2e91b7d3466ac2f81e0d97b4c35f0c8a2e",
    "PUBLIC_URL": "https://kith.example.org",
    "TRUSTED_PROXIES": "10.0.0.0/8",
}


def found(facts: DatabaseFacts, **given: str) -> Report:
    report = Report()
    judge_database(facts, load_settings(given), report)
    return report


def settings_report(**given: str) -> Report:
    report = Report()
    judge_settings(load_settings(given), report)
    return report


# The database


def test_a_sound_database_gets_no_word() -> None:
    report = found(replace(SOUND, schema_problem="The database has no schema yet: run `kith migrate`."))
    assert (report.problems, report.notes) == ([], [])


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (replace(SOUND, server=replace(SERVER, fsync=False)), "fsync is off. A power cut can take back what was"),
        (replace(SOUND, server=replace(SERVER, full_page_writes=False)), "full_page_writes is off"),
        (
            replace(SOUND, server=replace(SERVER, major=14, version="14.1")),
            "PostgreSQL 14.1 is too old; Kith needs 15.",
        ),
        (replace(SOUND, server=replace(SERVER, encoding="SQL_ASCII")), "encoded in SQL_ASCII and must be in UTF8"),
        (replace(SOUND, server=replace(SERVER, max_connections=24)), "DATABASE_POOL_MAX is 25 and the server has room"),
        (replace(SOUND, server=replace(SERVER, autovacuum=False)), "autovacuum is off. Tables grow"),
        (replace(SOUND, server=replace(SERVER, standby=True)), "leads to a standby. Nothing can be written there."),
        (replace(SOUND, life=replace(LIFE, frozen_age=1_500_000_000)), "PostgreSQL refuses to write"),
        (replace(SOUND, schema_problem="start a newer version of Kith."), "start a newer version"),
        (
            replace(SOUND, schema_problem="run `kith migrate`.", server=replace(SERVER, may_create=False)),
            "may not create tables, so the start would fail",
        ),
    ],
)
def test_what_would_break_is_named_with_what_comes_of_it(facts: DatabaseFacts, sentence: str) -> None:
    report = found(facts)
    (problem,) = report.problems
    assert sentence in problem
    assert report.notes == []


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (replace(SOUND, server=replace(SERVER, wal_level="replica")), "wal_level is replica."),
        (replace(SOUND, server=replace(SERVER, private=False)), "is not encrypted and leaves this machine"),
        (replace(SOUND, server=replace(SERVER, max_connections=40)), "A second node of this size"),
        (replace(SOUND, clock_offset_ms=-90_000), "clock is -90000 ms beside the database's"),
        (
            replace(SOUND, life=replace(LIFE, oldest_idle_transaction=31)),
            "has been idle for 31 s. It holds back vacuum",
        ),
        (replace(SOUND, life=replace(LIFE, oldest_transaction=31)), "transaction is 31 s old. It holds back vacuum"),
        (replace(SOUND, bloated=("messages (60 % dead)",)), "messages (60 % dead). Reads get slower"),
        (replace(SOUND, slots=("reader (2 GB)",)), "nobody reads: reader (2 GB)"),
    ],
)
def test_what_only_deserves_a_look_is_a_note(facts: DatabaseFacts, sentence: str) -> None:
    report = found(facts)
    (note,) = report.notes
    assert sentence in note
    assert report.problems == []


def test_what_the_operator_accepted_is_a_note() -> None:
    report = found(replace(SOUND, server=replace(SERVER, fsync=False)), UNSAFE_DURABILITY="yes")
    assert report.problems == []
    assert report.notes[0].startswith("fsync is off.")


async def test_a_real_database_answers_about_itself(database_url: str) -> None:
    facts = await database_facts(database_url)
    assert facts.schema_problem is None
    assert facts.server == replace(SERVER, version=facts.server.version, major=facts.server.major)
    assert facts.life.size > 1_000_000
    assert facts.life.connections >= 1
    assert abs(facts.clock_offset_ms) < 1_000
    assert (facts.bloated, facts.slots) == ((), ())


async def test_a_transaction_that_is_left_open_is_seen(database_url: str) -> None:
    seen: list[DatabaseFacts] = []

    async def idle(statements: Statements) -> None:
        async with statements.transaction():
            # Older than it is: the doctor counts from its beginning, and a test has no half a minute.
            await statements.execute("select pg_sleep(1.1)")
            seen.append(await_facts())

    def await_facts() -> DatabaseFacts:
        result: list[DatabaseFacts] = []
        thread = threading.Thread(target=lambda: result.append(trio.run(database_facts, database_url)))
        thread.start()
        thread.join()
        return result[0]

    await run_once(database_url, idle)
    assert seen[0].life.oldest_idle_transaction >= 1
    assert seen[0].life.oldest_transaction >= 1


# The settings


def test_every_setting_says_where_it_comes_from() -> None:
    environ, env_file = (
        {"PORT": "9000", "LOG_LEVEL": ""},
        {"PORT": "1", "MINIO_BUCKET": "stories", "JWT_SECRET": "hush"},
    )
    rows = dict(settings_rows(load_settings({**env_file, **environ}), environ, env_file))
    assert rows["PORT"] == "9000  (environment)"
    assert rows["S3_BUCKET"] == "stories  (.env as MINIO_BUCKET)"
    assert rows["JWT_SECRET"] == "(set)  (.env)"
    assert rows["LOG_LEVEL"] == "info"


def test_a_misspelt_name_is_named_with_the_one_that_was_meant() -> None:
    report = Report()
    names = {"HEARTBEAT_SECOND": "5", "MINIO_BUCKET": "x", "POSTGRES_PASSWORD": "x", "QQ": "x", "PORT": "1"}
    judge_names(names, report)
    assert report.notes == [
        ".env sets HEARTBEAT_SECOND, which Kith does not know. Was HEARTBEAT_SECONDS meant? It has no effect.",
        ".env sets QQ, which Kith does not know. It has no effect.",
    ]


def test_settings_that_go_together_get_no_word() -> None:
    for report in (settings_report(), settings_report(**PRODUCTION, HOST="127.0.0.1")):
        assert report.findings == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"TRUSTED_PROXIES": ""}, "Whatever ends TLS looks like one client"),
        ({"PUBLIC_URL": "http://kith.example.org"}, "cross the network readable"),
        ({"PUBLIC_URL": "", "HOST": "127.0.0.1"}, "not told to insist on TLS"),
        ({"HOST": "0.0.0.0"}, "Who reaches the port past them"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS is * with KITH_ENV=production."),
        ({"JWT_SECRET_PREVIOUS": "short"}, "JWT_SECRET_PREVIOUS is weak. Whoever guesses it signs in as anybody."),
        ({"DATABASE_URL": "postgresql://u:short@h/d"}, "The password in DATABASE_URL is short."),
        ({"MINIO_ACCESS_KEY": "minioadmin"}, "the one that every MinIO begins with"),
    ],
)
def test_contradictions_in_production_are_notes(given: dict[str, str], sentence: str) -> None:
    report = settings_report(**{**PRODUCTION, "HOST": "127.0.0.1", **given})
    (note,) = report.notes
    assert sentence in note
    assert report.problems == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "Anybody can say that he comes from anywhere"),
        ({"RATE_LIMIT_EXEMPT_NETS": "::/0"}, "Nobody is limited"),
    ],
)
def test_what_no_production_survives_is_a_problem(given: dict[str, str], sentence: str) -> None:
    (problem,) = settings_report(**{**PRODUCTION, "HOST": "127.0.0.1", **given}).problems
    assert sentence in problem


def test_a_package_that_is_not_the_pinned_one_is_named(tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("trio==0.0.1 \\\n    --hash=sha256:00\nnot-installed-at-all==1.0\nTyping.Extensions==0 \\\n")
    report = Report()
    versions.judge_versions(pins, report)
    notes = [note for note in report.notes if "pinned" in note]
    assert len(notes) == 1
    assert "2 packages are not the pinned ones: trio " in notes[0]
    assert "for 0.0.1" in notes[0]


# The machine


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 1_048_576))


def test_more_connections_than_descriptors_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    report = Report()
    machine_rows(load_settings({"KITH_VAR": str(tmp_path)}), report)
    (note,) = report.notes
    assert "4096 descriptors leave room for 3584. Who comes after that" in note
    report = Report()
    machine_rows(load_settings({"KITH_VAR": str(tmp_path), "MAX_CONNECTIONS": "3500"}), report)
    assert report.findings == []


def test_more_than_the_machine_has_is_a_note(roomy: None, tmp_path: Path) -> None:
    report = Report()
    many = {"KITH_WORKERS": "64", "DATABASE_POOL_MAX": "400", "MAX_CONNECTIONS": "1000000"}
    rows = dict(machine_rows(load_settings({"KITH_VAR": str(tmp_path), **many}), report))
    assert any("KITH_WORKERS is 64, and there are" in note for note in report.notes)
    assert "free" in rows["KITH_VAR"]
    assert rows["descriptors"].startswith("1024 now, 1048576 at most")


def test_a_container_is_measured_by_what_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    assert memory_bytes(tmp_path) is None
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   8000 kB\n")
    assert memory_bytes(tmp_path) == 8_192_000
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) == 8_192_000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1000000\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("400000\n")
    assert memory_bytes(tmp_path) == 600_000


def test_limits_of_the_kernel_that_come_before_ours(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    report = Report()
    assert kernel_rows(load_settings({}), report, tmp_path) == []
    assert report.findings == []
    write("net/core/somaxconn", "128\n")
    write("net/ipv4/tcp_max_syn_backlog", "256\n")
    write("net/ipv4/ip_local_port_range", "7000\t9000\n")
    write("net/netfilter/nf_conntrack_max", "30000\n")
    rows = kernel_rows(load_settings({"TRUSTED_PROXIES": "127.0.0.0/8"}), report, tmp_path)
    assert ("net.ipv4.ip_local_port_range", "7000 9000") in rows
    assert [note.split()[0] for note in report.notes] == [
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "net.netfilter.nf_conntrack_max",
        "PORT",
        "net.ipv4.ip_local_port_range",
    ]
    assert report.problems == []


# The neighbours, on real sockets


@contextmanager
def web(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    """A web server with these answers to GET and HEAD; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body.replace("{url}", url).encode())

        do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def redis(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (asked := self.connection.recv(4_096)) != b"":
                self.wfile.write(answer(asked))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def neighbours(**given: str) -> tuple[dict[str, str], Report]:
    report = Report()
    return dict(neighbour_rows(load_settings(given), report)), report


def test_nobody_is_asked_who_was_not_named() -> None:
    rows, report = neighbours()
    assert rows == {}
    assert report.findings == []


OIDC = {"OIDC_CLIENT_ID": "kith", "OIDC_REDIRECT_URIS": "https://app.example.org/in"}
WHOLE = """{"issuer": "{url}", "authorization_endpoint": "{url}/in", "token_endpoint": "{url}/token",
 "jwks_uri": "{url}/jwks"}"""
UNUSABLE = "says a jwks_uri that cannot be used: it must be an address with the scheme of OIDC_ISSUER"


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (200, WHOLE, ""),
        (200, WHOLE.replace("{url}", "https://evil.example.org"), "calls itself by another name than OIDC_ISSUER"),
        (200, WHOLE.replace('"token_endpoint": "{url}/token",', ""), "does not say its token_endpoint"),
        (200, WHOLE.replace("{url}/jwks", "ftp://x/jwks"), UNUSABLE),
        (302, "", "answers 302 when asked for its description"),
        (200, "<html>", "does not describe itself in JSON"),
        (503, "", "answers 503 when asked for its description"),
    ],
)
def test_a_provider_is_asked_for_its_description(status: int, body: str, wrong: str) -> None:
    with web({"/.well-known/openid-configuration": (status, body)}) as url:
        rows, report = neighbours(OIDC_ISSUER=url, **OIDC)
    assert rows == {"sign-in provider": f"{url}: {wrong or 'ok'}"}
    assert report.problems == ([f"The provider {url} {wrong}. Nobody can sign in through it."] if wrong else [])


def test_an_object_store_is_asked_for_its_bucket() -> None:
    keys = {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "hush"}
    with web({"/kith": (200, "")}) as url:
        rows, report = neighbours(S3_ENDPOINT=url, **keys)
        assert (rows["object store"], report.findings) == (f"{url}, bucket kith: ok", [])
        rows, report = neighbours(S3_ENDPOINT=url, S3_BUCKET="other", **keys)
    assert "no bucket. `kith bucket` makes it. Nobody can send or see a picture" in report.notes[0]
    assert report.problems == []


def test_redis_is_asked_who_it_is() -> None:
    asked: list[bytes] = []

    def answer(command: bytes) -> bytes:
        asked.append(command)
        text = b"# Server\r\nredis_version:7.2.4\r\nvalkey_version:9.1.0\r\n"
        return b"+OK\r\n" if b"AUTH" in command else b"$%d\r\n%b\r\n" % (len(text), text)

    with redis(answer) as address:
        rows, report = neighbours(REDIS_ADDR=address, REDIS_PASSWORD="hush hush")
    assert (rows, report.findings) == ({"Valkey": "9.1.0"}, [])
    assert asked[0] == b"*2\r\n$4\r\nAUTH\r\n$9\r\nhush hush\r\n"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"-WRONGPASS invalid hush\r\n", "Redis does not answer: it answers WRONGPASS."),
        (b"HTTP/1.1 400 Bad Request\r\n", "something else answers"),
        (b"-\r\n", "something else answers"),
        (b"$" + b"9" * 20 + b"\r\n", "something else answers"),
        (b"$19\r\nredis_version:5.0.1\r\n", "Redis 5.0.1 is too old; Kith needs 6.2."),
    ],
)
def test_a_redis_that_will_not_do_is_a_problem(said: bytes, sentence: str) -> None:
    with redis(lambda _: said) as address:
        _, report = neighbours(REDIS_URL=f"redis://{address}/0")
    (problem,) = report.problems
    assert sentence in problem
    assert "hush" not in problem


def test_the_shells_proxy_is_not_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node asks its provider by no proxy; a doctor that did called a provider well that the node cannot reach."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with web({"/.well-known/openid-configuration": (200, WHOLE)}) as url:
        assert neighbours(OIDC_ISSUER=url, **OIDC)[1].problems == []


@pytest.mark.parametrize("said", [b"$9\r\n# Server\n\r\n", b"$25\r\nredis_version:unstable-7\r\n\r\n"])
def test_a_redis_without_a_number_is_shown_and_not_judged(said: bytes) -> None:
    with redis(lambda _: said) as address:
        rows, report = neighbours(REDIS_URL=f"redis://{address}/0")
    assert (list(rows), report.findings) == (["Redis"], [])


def test_what_speaks_no_http_is_not_healthy() -> None:
    with redis(lambda _: b"-ERR unknown command\r\n") as address:
        assert ask_health(f"http://{address}") == (False, "something else answers there", {})


def test_memory_is_counted_as_hashes_take_it() -> None:
    [text] = [option.meaning for option in OPTIONS if option.name == "PASSWORD_HASH_CONCURRENCY"]
    assert f"each with {PasswordOptions().memory // 1_048_576} MiB" in text


def test_neighbours_that_are_not_there_are_said_within_seconds() -> None:
    rows, report = neighbours(REDIS_URL="redis://:hush@127.0.0.1:1/0", OIDC_ISSUER="http://127.0.0.1:1", **OIDC)
    assert len(report.problems) == 2
    assert "hush" not in str(rows) + str(report.problems)


# The node that runs


def test_the_running_node_is_asked_how_it_is(tmp_path: Path) -> None:
    settings = load_settings({"KITH_VAR": str(tmp_path)})
    parts = '{"status": "degraded", "checks": {"storage": {"state": "away"}, "journal": {"state": "ok"}}}'
    with web({"/healthz": (200, parts)}) as url, NodeLock(tmp_path) as lock:
        report = Report()
        (tmp_path / "kith.lock").write_text("")  # taken, and nothing noted yet
        assert dict(port_rows(settings, report))["running here"] == "pid 0, not ready yet"
        lock.note("")
        assert dict(port_rows(settings, report))["running here"].endswith("not ready yet")
        lock.note(url)
        rows = dict(port_rows(settings, report))
        assert rows["health"] == "degraded"
        assert report.notes == [f"The node at {url} is degraded: storage away. It serves without that part."]
    with web({"/healthz": (503, '{"status": "down", "checks": {}}')}) as url, NodeLock(tmp_path) as lock:
        lock.note(url)
        port_rows(settings, report)
        assert report.problems == [f"The node at {url} cannot serve: down. Its clients wait, or are turned away."]


def test_a_healthcheck_finds_the_server_by_its_lock_when_nobody_said_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asked at port 8000, and called down a server that ran well at another."""
    given = {"KITH_VAR": str(tmp_path)}
    monkeypatch.setattr(settings_module, "CHECKOUT", tmp_path)  # which has no .env
    monkeypatch.delenv("PORT", raising=False)
    with web({"/healthz": (200, '{"status": "ok", "checks": {}}')}) as url, NodeLock(tmp_path) as lock:
        lock.note(url)
        assert healthcheck(load_settings(given)) == 0
        assert healthcheck(load_settings({**given, "PORT": "0"})) == 0
        monkeypatch.setenv("PORT", "1")
        assert healthcheck(load_settings({**given, "PORT": "1"})) == 1, "what was said is asked"
    assert capsys.readouterr().out.splitlines()[:2] == ["ok", "ok"]


# All of it


def test_all_of_it(raw_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"DATABASE_URL": raw_database_url, "KITH_VAR": str(tmp_path), "PORT": "0"}
    assert doctor(read_settings(given)) == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing would break")
    assert "Nothing would break." in said.splitlines()
    for line in ("registrations", "fails closed; 50% full after a crash", "fsync", "descriptors", "JWT_SECRET"):
        assert line in said
    assert raw_database_url not in said


def test_a_machine_can_read_it(raw_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"DATABASE_URL": raw_database_url, "KITH_VAR": str(tmp_path), "PORT": "0", "TRUSTED_PROXIES": "0.0.0.0/0"}
    assert doctor(read_settings(given), as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert found["chapters"]["Database"]["fsync"] == "on"
    (problem,) = [finding for finding in found["findings"] if finding["breaks"]]
    assert problem["sentence"] == "TRUSTED_PROXIES holds 0.0.0.0/0."


def test_a_database_that_is_not_there_is_a_problem_and_the_rest_is_still_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/none", "KITH_VAR": f"{tmp_path}/var", "PORT": "0"}
    assert doctor(read_settings(given)) == 1
    said = capsys.readouterr().out
    assert "Would break: " in said
    assert said.split()[1:3] == ["thing", "would"]
    assert "Limits" in said


def test_every_mistake_is_named_beside_all_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first setting that could not be read ended the doctor: everybody mended one mistake at a time."""
    file = tmp_path / ".env"
    file.write_text("PORT\nLOG_LEVEL=loud\nKITH_WORKERS=many\nDATABASE_URL=mysql://db/kith\n")
    given = {"KITH_VAR": f"{tmp_path}/var", "PORT": "0", "TRUSTED_PROXIES": "0.0.0.0/0"}
    assert doctor(read_settings(given, file), as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    names = [finding["sentence"].split()[0] for finding in found["findings"] if finding["breaks"]]
    assert names == [".env", "KITH_WORKERS", "DATABASE_URL", "LOG_LEVEL", "TRUSTED_PROXIES"]
    assert found["chapters"]["Machine"]
    # Which database was meant is not known, so none is looked at, and none is made.
    assert "Database" not in found["chapters"]
    assert not (tmp_path / "var" / "postgres").exists()


STORE = {"S3_ENDPOINT": "http://127.0.0.1:1", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "hush"}


@pytest.mark.parametrize("reason", ["away", "answers 502"])
async def test_a_bucket_at_a_wrong_address_is_one_sentence_after_a_minute(
    reason: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited three minutes, and then named neither the address nor the setting."""

    async def make_bucket(*_: object) -> bool:
        await trio.sleep(5.0)
        raise StoreAwayError(reason)

    monkeypatch.setattr(ObjectStore, "make_bucket", make_bucket)
    with pytest.raises(RefusalError) as refused:
        await bucket._make(load_settings(STORE))
    assert trio.current_time() == pytest.approx(60.0)
    assert str(refused.value) == (
        f"the bucket kith at http://127.0.0.1:1 (S3_ENDPOINT) cannot be made: {reason}; is S3_ENDPOINT right?"
    )


@pytest.mark.parametrize("reason", ["keys refused", "answers 404"])
async def test_a_bucket_is_not_waited_for_where_waiting_cannot_help(
    reason: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make_bucket(*_: object) -> bool:
        raise StoreAwayError(reason)

    monkeypatch.setattr(ObjectStore, "make_bucket", make_bucket)
    with pytest.raises(RefusalError):
        await bucket._make(load_settings(STORE))
    assert trio.current_time() < 2.0


async def test_a_database_that_comes_up_late_is_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    async def migrate(url: str) -> list[str]:
        tries.append(trio.current_time())
        if len(tries) < 4:
            raise DatabaseAwayError("connection refused")
        return ["0001_create_users"]

    monkeypatch.setattr(database, "migrate", migrate)
    assert await bring_up_to_date("postgresql://late/kith") == ["0001_create_users"]
    assert tries[-1] - tries[0] == pytest.approx(3.0)


async def test_a_database_that_never_comes_up_is_reported(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def migrate(url: str) -> list[str]:
        raise DatabaseAwayError("connection refused")

    monkeypatch.setattr(database, "migrate", migrate)
    with pytest.raises(DatabaseAwayError):
        await bring_up_to_date("postgresql://never/kith")
