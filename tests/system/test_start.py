"""START.md in trials: what `kith serve` does on real machines, from its one line on stdout to the last process."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage.embedded.postmaster import noted_pid
from storage.postgres import run_once
from tests.conftest import copy_of_var
from tests.system.started import (
    CHECKOUT,
    KITH,
    Started,
    assert_nothing_left,
    environment,
    eventually,
    folder_for_var,
)

NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def var(stopped_var: Path) -> Iterator[Path]:
    """A KITH_VAR that has been used before; `new_var` is for what happens only once."""
    with folder_for_var() as folder:
        yield copy_of_var(stopped_var, folder.parent)


@pytest.fixture
def new_var() -> Iterator[Path]:
    with folder_for_var() as folder:
        yield folder


def run(var: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end by itself."""
    return subprocess.run(
        [*KITH, *command],
        cwd="/",
        env=environment(var, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- First seconds, and the end (points 7 and 9)


def test_one_line_on_stdout_json_on_stderr_and_an_end_in_order(new_var: Path) -> None:
    above = [CHECKOUT, *CHECKOUT.parents, *new_var.parents]
    modes = [folder.stat().st_mode for folder in above]
    node = Started(new_var)
    url = node.ready()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    home, postgres = node.home, node.postgres_pid
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=5):
        pass
    assert stat.S_IMODE(new_var.stat().st_mode) == 0o700
    assert {name: stat.S_IMODE((new_var / name).stat().st_mode) for name in ("secret", "postgres-password")} == {
        "secret": 0o600,
        "postgres-password": 0o600,
    }
    socket_folder = Path((home / "data" / "postmaster.pid").read_text().splitlines()[4])
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    assert len(str(socket_folder)) <= 90

    if os.geteuid() == 0:
        assert home.owner() == psutil.Process(postgres).username() == "kith"
    assert [folder.stat().st_mode for folder in above] == modes

    assert node.stop(signal.SIGTERM) == 0
    assert len(node.out) == 1
    logged = [json.loads(line) for line in node.err]
    assert {"migrated", "ready", "stopping"} <= {line["msg"] for line in logged}
    assert "shut down" in (new_var / "postgres.log").read_text().splitlines()[-1]
    assert not psutil.pid_exists(postgres)  # its parent waited for it: not even a zombie is left
    assert not socket_folder.exists()
    assert_nothing_left(home, new_var)

    # The second start keeps secret and data, migrates nothing, and ends on Ctrl-C just as well.
    secret = (new_var / "secret").read_text()
    again = Started(new_var)
    again.ready()
    assert again.stop(signal.SIGINT) == 0
    assert (new_var / "secret").read_text() == secret
    assert not [line for line in again.err if json.loads(line)["msg"] == "migrated"]
    assert_nothing_left(home, new_var)


def test_ctrl_c_reaches_the_whole_group_and_is_one_wish(var: Path) -> None:
    """A terminal signals the whole group: PostgreSQL must outlive the last flush, and an echo is no haste."""
    node = Started(var)
    node.ready()
    os.killpg(node.process.pid, signal.SIGINT)
    os.killpg(node.process.pid, signal.SIGTERM)
    assert node.end() == 0
    assert "haste" not in node.text()
    assert "shut down" in (var / "postgres.log").read_text().splitlines()[-1]


def test_a_signal_before_it_is_ready_leaves_nothing(new_var: Path) -> None:
    node = Started(new_var)
    eventually((new_var / "postgres-password").exists, "the start of PostgreSQL")
    assert node.stop(signal.SIGTERM) == 0
    assert_nothing_left(node.home, new_var)


def test_nohup_is_respected(var: Path) -> None:
    node = Started(var, ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *KITH, "serve"])
    node.ready()
    node.process.send_signal(signal.SIGHUP)
    assert run(var, "migrate").returncode == 0
    assert node.process.poll() is None
    assert "stopping" not in node.text()
    assert node.stop() == 0, node.text()


# -- Crashes (point 1)


def test_a_killed_node_is_followed_by_one_that_takes_its_postgres_over(var: Path) -> None:
    node = Started(var)
    node.ready()
    orphan = node.postgres_pid
    node.kill()
    assert psutil.pid_exists(orphan)
    successor = Started(var)
    successor.ready()
    assert successor.postgres_pid == orphan
    assert "taken over" in successor.text()
    assert successor.stop() == 0
    assert_nothing_left(node.home, var)


def test_a_killed_postgres_comes_back_under_the_running_node(var: Path) -> None:
    node = Started(var)
    node.ready()
    killed = node.postgres_pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: "started again" in node.text(), "the node to notice")
    eventually(lambda: noted_pid(node.home / "data") not in (None, killed), "a new PostgreSQL")
    assert node.process.poll() is None
    assert node.stop() == 0, node.text()
    assert_nothing_left(node.home, var)


# -- Port, twice (point 6)


def test_the_second_one_here_is_told_pid_and_url(var: Path) -> None:
    node = Started(var)
    url = node.ready()
    second = run(var, "serve")
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"Kith already runs here: pid {node.process.pid}, {url}" in second.stderr
    # What works beside a running node: its database is shared, and its lock is respected.
    assert run(var, "migrate").stdout == "the schema is up to date\n"
    doctor = run(var, "doctor", PORT=url.rsplit(":", 1)[1])
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "Nothing would break." in doctor.stdout
    assert run(var, "reset", "--yes").returncode == 1
    assert node.stop() == 0, node.text()


def test_a_taken_port_is_said_before_postgres_is_started(new_var: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run(new_var, "serve", PORT=str(port))
    assert refused.returncode == 1
    by = rf" \(by pid {os.getpid()}, \S+\)" if sys.platform == "linux" else ".*"
    assert re.fullmatch(rf"kith: port {port} is taken{by}; PORT={port + 1} make run\n", refused.stderr)
    assert not (new_var / "postgres").exists()
    assert "Traceback" not in refused.stderr


# -- Machines (points 1, 2, 7, 10)


def test_a_path_with_a_space_and_a_locale_that_is_not_there(stopped_var: Path) -> None:
    with folder_for_var("kith start ") as var:
        copy_of_var(stopped_var, var.parent)
        node = Started(var, LANG="xx_XX.UTF-8", LC_ALL="xx_XX.UTF-8", PGDATA="/nowhere", PGOPTIONS="-c fsync=off")
        node.ready()
        assert node.stop() == 0, node.text()


def test_an_unwritable_var_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run(tmp_path / "file" / "var", "serve")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert re.fullmatch(r"kith: KITH_VAR=\S+ cannot be used: Not a directory\. Set KITH_VAR .*\n", refused.stderr)


def test_a_folder_of_data_that_cannot_be_made_is_one_sentence(new_var: Path) -> None:
    new_var.mkdir()
    (new_var / "postgres").touch()
    refused = run(new_var, "serve")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "kith: " in refused.stderr


async def test_a_newer_schema_is_one_sentence(raw_database_url: str, var: Path) -> None:
    assert run(var, "migrate", DATABASE_URL=raw_database_url).returncode == 0
    insert = "insert into schema_migrations (number, name, checksum) values (9999, 'from_the_future', '')"
    await run_once(raw_database_url, lambda database: database.execute(insert))
    refused = run(var, "serve", DATABASE_URL=raw_database_url)
    assert refused.returncode == 1
    (sentence,) = [line for line in refused.stderr.splitlines() if line.startswith("kith: ")]
    assert "9999_from_the_future" in sentence
    assert "Traceback" not in refused.stderr


def test_production_without_a_secret_does_not_start(new_var: Path) -> None:
    refused = run(new_var, "serve", KITH_ENV="production", PORT="x")
    assert refused.returncode == 1
    assert [line.split()[1] for line in refused.stderr.splitlines()] == ["PORT", "JWT_SECRET"], "both at once"
    refused = run(new_var, "serve", KITH_ENV="production")
    assert refused.stderr.startswith("kith: JWT_SECRET is missing")
    assert not new_var.exists()


@as_root
def test_somebody_without_rights_gets_the_same() -> None:
    """As the user nobody: data in KITH_VAR itself, and afterwards root is told whose they are."""
    python = python_for(NOBODY)
    with folder_for_var(owner=NOBODY) as var:
        node = Started(var, [*python, "serve"], uid=NOBODY, HOME="/nonexistent")
        node.ready()
        assert (var / "postgres" / "data").owner() == "nobody"
        assert not (var / "postgres").is_symlink()
        assert psutil.Process(node.postgres_pid).username() == "nobody"
        assert node.stop() == 0, node.text()
        refused = run(var, "serve")
        assert refused.returncode == 1
        assert refused.stderr == (
            f"kith: {var} holds the data of nobody: start Kith as nobody, or set KITH_VAR to another folder.\n"
        )


@as_root
def test_a_uid_without_a_name_is_sent_to_database_url() -> None:
    python = python_for(54_321)
    with folder_for_var(owner=54_321) as var:
        node = Started(var, [*python, "serve"], uid=54_321, HOME="/nonexistent")
        assert node.end() == 1
        assert "uid 54321, which has no name in /etc/passwd: set DATABASE_URL" in node.text()


def python_for(uid: int) -> list[str]:
    """A command that runs Kith as another user; the .venv's own interpreter may lie in a closed home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    code = (
        f"import runpy, site, sys; site.addsitedir({packages!r});"
        " sys.argv[0] = 'kith'; runpy.run_module('realtime.cli', run_name='__main__')"
    )
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        # -S: that interpreter's own packages (Debian's blinker, say) may not stand in front of the pinned ones.
        command = [candidate, "-I", "-S", "-c", code]
        try:
            tried = subprocess.run(
                [*command, "--help"], user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True
            )
        except OSError:
            continue
        if tried.returncode == 0:
            return command
    pytest.skip(f"no Python here that uid {uid} may run with the packages of {packages}")


# -- Reset


def test_migrate_and_seed_then_reset_removes_only_what_is_kiths(var: Path) -> None:
    migrated = run(var, "migrate")
    assert "applied 0001_create_users" in migrated.stdout, migrated.stderr
    home = var / "postgres"
    assert_nothing_left(var)
    assert run(var, "seed").stdout.startswith("Made 24 people with ")
    assert "everybody knows" in run(var, "seed", KITH_ENV="production", JWT_SECRET="8f2b6c1d" * 8).stderr
    (var / "holiday.jpg").touch()
    assert run(var, "reset").returncode == 1
    assert home.exists()
    assert run(var, "reset", "--yes").returncode == 0
    assert not home.exists()
    assert sorted(entry.name for entry in var.iterdir()) == ["holiday.jpg", "kith.lock"]
    assert "nothing to reset" in run(var.with_name("none"), "reset").stdout
