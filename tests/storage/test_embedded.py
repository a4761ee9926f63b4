"""The embedded PostgreSQL against what machines do to it: crashes, reused pids, missing locales, other users."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.embedded import account, binaries, places
from storage.embedded.account import Account, postgres_account, postgres_environment
from storage.embedded.cluster import Cluster, remove_home, running_uri
from storage.embedded.data_folder import last_words, settle_data, settle_password
from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.processes import is_postmaster_of
from storage.embedded.psql import psql
from tests.conftest import copy_of_var

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def var(stopped_var: Path) -> Iterator[Path]:
    """A KITH_VAR with a made cluster, with a space in its path, that PostgreSQL's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="kith tests "))
    folder.chmod(0o755)
    yield copy_of_var(stopped_var, folder)
    remove_home(folder / "var")
    shutil.rmtree(folder)


def test_what_was_written_survives_every_kind_of_end(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: a locale that is not installed and the shell's PG variables change nothing."""
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    said: list[str] = []
    server = Cluster(var, report=said.append)
    server.start()
    try:
        first = server.pid
        assert server.psql("SHOW fsync") == "on"
        assert server.psql("SHOW full_page_writes") == "on"
        assert server.psql("SHOW wal_level") == "logical"
        assert (
            server.psql("SELECT 'ÄÖ' = upper('äö'), datlocale FROM pg_database WHERE datname = 'kith'") == "t|C.UTF-8"
        )
        assert running_uri(var) == server.uri
        server.psql("CREATE TABLE kept (n integer); INSERT INTO kept VALUES (7)")

        server.kill9()
        assert not server.is_alive()
        assert running_uri(var) is None
        server.revive()
        assert server.is_alive()
        assert server.pid != first
        assert server.psql("SELECT n FROM kept") == "7"

        # A node that was killed leaves PostgreSQL running; the next one takes it over.
        successor = Cluster(var, report=said.append)
        successor.start()
        assert successor.pid == server.pid
        assert "taken over" in said[-1]

        # With other parameters it would not do as it is told, so it is stopped and started anew.
        different = Cluster(var, parameters={"work_mem": "5MB"}, report=said.append)
        different.start()
        assert different.pid != server.pid
        assert different.psql("SHOW work_mem") == "5MB"
        assert different.psql("SELECT n FROM kept") == "7"
        different.stop()
        assert not is_postmaster_of(different.pid or 0, different.home / "data")
    finally:
        server.stop()
    assert "database system is shut down" in (var / "postgres.log").read_text().splitlines()[-1]


def test_a_stale_pid_that_belongs_to_somebody_else_now(var: Path) -> None:
    """After a reboot the noted pid may be any process; PostgreSQL alone then refuses to start."""
    server = Cluster(var)
    server.start()
    noted = (server.home / "data" / "postmaster.pid").read_text()
    server.kill9()
    bystander = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        stale = server.home / "data" / "postmaster.pid"
        stale.write_text("\n".join([str(bystander.pid), *noted.splitlines()[1:]]) + "\n")
        again = Cluster(var)
        again.start()
        assert again.psql("SELECT 1") == "1"
        again.stop()
        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_a_start_that_fails_says_why(var: Path) -> None:
    server = Cluster(var, parameters={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        server.start()
    server.stop()


def test_an_init_that_was_cut_off_is_begun_again(var: Path) -> None:
    home = var / "postgres"
    (home / "data").rename(home / "data.new")
    (home / "data.new" / "PG_VERSION").unlink()
    server = Cluster(var)
    server.start()
    assert server.psql("SELECT count(*) FROM pg_database WHERE datname = 'kith'") == "1"
    server.stop()
    assert not (home / "data.new").exists()


def test_data_of_another_version_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    me = Account("me", os.geteuid(), os.getegid())
    with pytest.raises(EmbeddedPostgresError, match="not a data folder"):
        settle_data(tmp_path, tmp_path, me, "secret")
    (data / "PG_VERSION").write_text("19\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 19 and this Kith brings 18"):
        settle_data(tmp_path, tmp_path, me, "secret")


def test_the_password_is_private_and_stays(tmp_path: Path) -> None:
    first = settle_password(tmp_path)
    assert settle_password(tmp_path) == first
    assert (tmp_path / "postgres-password").stat().st_mode & 0o777 == 0o600
    assert len(first) >= 24


def test_the_password_is_asked_for_and_no_network_is_listened_on(cluster: Cluster) -> None:
    wrong = cluster.uri.replace("kith:", "kith:no", 1)
    with pytest.raises(EmbeddedPostgresError, match="password authentication failed"):
        psql(binaries.wheel_folder() / binaries.FOLDER / "bin", wrong, "SELECT 1")
    assert cluster.psql("SHOW listen_addresses") == ""


def test_the_log_holds_nothing_that_people_wrote(cluster: Cluster) -> None:
    with pytest.raises(EmbeddedPostgresError):
        cluster.psql("CREATE TABLE once (t text UNIQUE); INSERT INTO once VALUES ('my diary'), ('my diary')")
    log = (cluster.var / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "my diary" not in log


def test_the_socket_lies_in_a_short_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    me = Account("me", os.geteuid(), os.getegid())
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = places.settle_socket_folder(tmp_path, me)
    request.addfinalizer(folder.rmdir)
    assert len(str(folder)) <= 90
    assert folder.stat().st_mode & 0o777 == 0o700
    assert places.settle_socket_folder(tmp_path, me) == folder
    # Whoever lays a link or opens the folder to all under our name gets nothing.
    folder.chmod(0o755)
    other = places.settle_socket_folder(tmp_path, me)
    request.addfinalizer(other.rmdir)
    assert other != folder


def test_a_short_runtime_folder_is_preferred(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    runtime = Path(tempfile.mkdtemp(prefix="xdg-"))
    request.addfinalizer(lambda: shutil.rmtree(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    folder = places.settle_socket_folder(runtime, Account("me", os.geteuid(), os.getegid()))
    assert folder.parent == runtime


def test_nothing_of_the_shell_reaches_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LANG", "xx_XX")
    kept = postgres_environment({})
    assert kept["LC_ALL"] == "C"
    assert not [name for name in kept if name.startswith("PG") or name == "LANG"]


def test_a_uid_without_a_name_is_sent_to_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(EmbeddedPostgresError, match="uid 54321, which has no name.*DATABASE_URL"):
        postgres_account()


@as_root
def test_root_without_useradd_is_sent_to_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SYSTEM_USER", "kith-that-is-not-there")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(EmbeddedPostgresError, match="there is no useradd.*DATABASE_URL"):
        postgres_account()


@as_root
def test_root_in_a_container_with_one_uid_is_sent_to_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    # What setuid(2) answers there for a uid that is not mapped.
    monkeypatch.setattr(account, "system_user", lambda: Account("kith", 4_294_967_294, 4_294_967_294))
    monkeypatch.setattr(Account, "run", lambda *_: (_ for _ in ()).throw(OSError(22, "Invalid argument")))
    with pytest.raises(EmbeddedPostgresError, match="one uid.*DATABASE_URL"):
        postgres_account()


@as_root
def test_as_root_data_leave_a_closed_var_and_no_mode_is_changed(request: pytest.FixtureRequest) -> None:
    closed = Path(tempfile.mkdtemp(prefix="kith-closed-"))
    var = closed / "var"
    var.mkdir(mode=0o700)
    request.addfinalizer(lambda: shutil.rmtree(closed))
    modes = [path.stat().st_mode for path in (var, *var.parents)]
    server = Cluster(var)
    server.start()
    request.addfinalizer(server.destroy)
    assert (var / "postgres").is_symlink()
    assert server.home.parent == places.SYSTEM_HOME
    assert server.home.owner() == "kith"
    assert server.home.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode for path in (var, *var.parents)] == modes
    # Who removes the folder begins anew, and is told if it was the other half that went.
    server.stop()
    shutil.rmtree(server.home)
    with pytest.raises(EmbeddedPostgresError, match=f"{server.home} has gone"):
        Cluster(var).start()


@as_root
def test_data_of_another_user_are_named(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    home.mkdir()
    os.chown(home, 65_534, 65_534)
    with pytest.raises(EmbeddedPostgresError, match=f"{home} belongs to nobody"):
        places.settle_home(tmp_path, Account("root", 0, 0))


@as_root
def test_programs_are_copied_for_a_user_who_cannot_reach_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kith = postgres_account()
    shared = Path(tempfile.mkdtemp(prefix="kith-shared-"))
    shared.chmod(0o755)
    reachable = Account.can_run
    wheel = binaries.wheel_folder()
    monkeypatch.setattr(Account, "can_run", lambda self, path: not path.is_relative_to(wheel) and reachable(self, path))
    copied = binaries.binaries_for(kith, shared)
    assert copied.is_relative_to(shared)
    assert binaries.binaries_for(kith, shared) == copied
    assert [entry.name for entry in shared.iterdir()] == [copied.relative_to(shared).parts[0]]
    code, said = kith.run([copied / "initdb", "--version"])
    assert (code, said.split()[0]) == (0, "initdb")
    shutil.rmtree(shared)


def test_without_the_wheel_database_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "WHEEL", "a_wheel_that_is_not_there")
    with pytest.raises(EmbeddedPostgresError, match="a-wheel-that-is-not-there.*DATABASE_URL"):
        binaries.wheel_folder()


def test_of_a_long_log_the_telling_line_is_shown() -> None:
    assert last_words("LOG: a\nFATAL: b\nHINT: c\n") == "FATAL: b"
    assert last_words("one\ntwo\n") == "two"
    assert last_words("") == "it said nothing"


def test_a_big_log_is_put_aside(var: Path) -> None:
    server = Cluster(var)
    with (var / "postgres.log").open("ab") as log:
        log.truncate(10_000_001)
    server.start()
    server.stop()
    assert (var / "postgres.old.log").stat().st_size == 10_000_001
    assert (var / "postgres.log").stat().st_size < 10_000


def test_a_cluster_that_never_started_refuses_to_be_used(tmp_path: Path) -> None:
    server = Cluster(tmp_path)
    server.stop()
    assert not server.is_alive()
    with pytest.raises(EmbeddedPostgresError, match="not been started"):
        _ = server.uri
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        server.kill9()
