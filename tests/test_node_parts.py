"""What a start takes before the first task runs: folder, lock, port, log lines, and the meaning of signals."""

import errno
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from realtime import cli, listeners, var_folder
from realtime.commands import stopping
from realtime.commands.running import running_node
from realtime.commands.stopping import StopRequestedError, stop_raises, watch
from realtime.listeners import base_url, listen_on, open_listeners, port_owner, reason
from realtime.logs import JsonFormatter
from realtime.node_lock import LockUnwritableError, NodeLock
from realtime.refusal import RefusalError
from realtime.settings import load_settings
from realtime.var_folder import check_disk, file_system, prepare_var

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def log_untouched() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


# -- KITH_VAR


def test_var_is_made_private_and_an_existing_one_keeps_its_mode(tmp_path: Path) -> None:
    prepare_var(tmp_path / "a" / "var")
    assert (tmp_path / "a" / "var").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    prepare_var(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o755
    assert not list((tmp_path / "open").iterdir())


def test_a_var_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A path below a regular file: nobody can write there, root neither.
    (tmp_path / "file").touch()
    with pytest.raises(RefusalError, match="KITH_VAR=.*/file/var cannot be used: Not a directory"):
        prepare_var(tmp_path / "file" / "var")


@as_root
def test_the_data_of_another_user_are_named(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    os.chown(tmp_path / "secret", 65_534, 65_534)
    with pytest.raises(RefusalError, match=f"{tmp_path} holds the data of nobody: start Kith as nobody"):
        prepare_var(tmp_path)


def test_network_file_systems_and_full_disks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(
        f"36 35 {os.major(device)}:{os.minor(device)} / {tmp_path} rw,noatime shared:1 - nfs4 host:/export rw\n"
    )
    assert file_system(tmp_path, table) == "nfs4"
    assert file_system(tmp_path, tmp_path / "none") == ""
    monkeypatch.setattr(var_folder, "file_system", lambda _: "nfs4")
    with pytest.raises(RefusalError, match="is on nfs4"):
        check_disk(tmp_path)
    monkeypatch.setattr(var_folder, "file_system", lambda _: "ext4")
    monkeypatch.setattr(var_folder, "LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(RefusalError, match="MB free and Kith wants"):
        check_disk(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_file_system_is_found_in_the_kernels_own_table() -> None:
    assert file_system(Path("/proc")) == "proc"


# -- The lock


def test_the_second_one_is_told_who_runs_here(tmp_path: Path) -> None:
    with NodeLock(tmp_path) as lock:
        with pytest.raises(RefusalError, match=f"Kith already runs here: pid {os.getpid()}, not ready yet"):
            NodeLock(tmp_path).__enter__()
        lock.note("http://127.0.0.1:8000")
        with pytest.raises(RefusalError, match=f"pid {os.getpid()}, http://127.0.0.1:8000 "):
            NodeLock(tmp_path).__enter__()
    with NodeLock(tmp_path):
        pass
    assert (tmp_path / "kith.lock").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_one_sentence_at_the_start_and_costs_a_server_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a bare OSError: a traceback at the start, and the end of a server whose workers all served."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with NodeLock(tmp_path) as lock:
        before = (tmp_path / "kith.lock").read_text()
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match="No space"):
                lock.note("http://127.0.0.1:8000")
        assert (tmp_path / "kith.lock").read_text() == before, "who runs here is still known"
    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(2):  # the lock itself was given back
        with pytest.raises(LockUnwritableError, match=r"kith\.lock cannot be written: No space left on device\.$"):
            NodeLock(tmp_path).__enter__()
    with pytest.raises(LockUnwritableError, match="cannot be written: Is a directory|cannot be written: No such file"):
        NodeLock(tmp_path / "none").__enter__()
    assert running_node(load_settings({"KITH_VAR": str(tmp_path / "none")})) is None


def test_the_lock_is_not_handed_to_children(tmp_path: Path) -> None:
    """An orphaned PostgreSQL that held it would keep Kith from ever starting again."""
    script = ["/bin/sh", "-c", "echo up; read _"]
    with NodeLock(tmp_path):
        child = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout is not None
        # Popen may return in the moment before the kernel closes what exec does not hand on.
        assert child.stdout.readline() == b"up\n"
    with NodeLock(tmp_path):
        pass
    child.communicate(b"\n")


# -- The port


def test_all_addresses_get_one_port_and_a_url() -> None:
    opened = open_listeners(["127.0.0.1", "::1"], 0)
    try:
        ports = {listener.getsockname()[1] for listener in opened}
        assert len(ports) == 1
        assert base_url(opened) == f"http://127.0.0.1:{ports.pop()}"
        assert not any(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for listener in opened)
    finally:
        for listener in opened:
            listener.close()


def test_a_taken_port_is_named_with_its_owner_and_a_way_out() -> None:
    with listen_on("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        owner = port_owner(port)
        assert owner is None or owner[0] == os.getpid()
        with pytest.raises(RefusalError) as caught:
            open_listeners(["127.0.0.1"], port)
    by = f" (by pid {owner[0]}, {owner[1]})" if owner else ""
    assert str(caught.value) == f"port {port} is taken{by}; PORT={port + 1} make run"
    assert (owner is not None) == (sys.platform == "linux")


def test_an_address_this_machine_lacks_is_left_out_unless_it_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ipv6(host: str, port: int) -> socket.socket:
        if ":" in host:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return listen_on(host, port)

    monkeypatch.setattr(listeners, "listen_on", without_ipv6)
    (only,) = open_listeners(["127.0.0.1", "::1"], 0)
    only.close()
    with pytest.raises(RefusalError, match="cannot listen on ::1"):
        open_listeners(["::1"], 0)


def test_urls_are_ones_a_browser_here_can_open() -> None:
    with listen_on("0.0.0.0", 0) as everywhere, listen_on("::1", 0) as six:
        assert base_url([everywhere]) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"
        assert base_url([six]) == f"http://[::1]:{six.getsockname()[1]}"


def test_other_reasons_a_port_cannot_be_had() -> None:
    assert reason(OSError(errno.EACCES, "x"), 80) == "port 80 needs more rights than this user has; PORT=8000 make run"
    assert "No buffer" in reason(OSError(errno.ENOBUFS, "No buffer space"), 80)
    assert port_owner(0) is None


# -- Log lines


def test_a_log_line_is_one_json_object_with_its_fields(log_untouched: None) -> None:
    record = logging.makeLogRecord({"name": "kith.x", "levelname": "WARNING", "msg": "two\nlines", "request_id": "r"})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert {name: said[name] for name in ("level", "logger", "msg", "request_id")} == {
        "level": "warning",
        "logger": "kith.x",
        "msg": "two\nlines",
        "request_id": "r",
    }
    assert said["time"].endswith("Z")
    assert set(said) == {"time", "level", "logger", "msg", "request_id"}
    try:
        raise RefusalError("reason")
    except RefusalError:
        record.exc_info = sys.exc_info()
    assert "RefusalError: reason" in json.loads(JsonFormatter().format(record))["trace"]


# -- Signals


class Bell:
    """Signals as they would arrive: one each time the test says so."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[int](10)

    def ring(self) -> None:
        self._send.send_nowait(signal.SIGTERM)

    def heard(self) -> AsyncIterator[int]:
        return aiter(self._receive)


async def test_an_echo_within_a_second_is_the_same_wish(autojump_clock: trio.testing.MockClock) -> None:
    bell, calls = Bell(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, bell.heard(), lambda: calls.append("drain"), lambda: calls.append("haste"))
        bell.ring()
        await trio.sleep(0.9)
        bell.ring()
        await trio.sleep(8)
        assert calls == ["drain"]
        nursery.cancel_scope.cancel()


async def test_a_later_second_signal_means_haste(autojump_clock: trio.testing.MockClock) -> None:
    bell, calls = Bell(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, bell.heard(), lambda: calls.append("drain"), lambda: calls.append("haste"))
        bell.ring()
        await trio.sleep(1.1)
        assert calls == ["drain"]
        bell.ring()
        await trio.sleep(0.1)
        assert calls == ["drain", "haste"]


async def test_a_drain_that_takes_too_long_is_broken_off(autojump_clock: trio.testing.MockClock) -> None:
    bell, calls = Bell(), list[str]()
    bell.ring()
    began = trio.current_time()
    await watch(bell.heard(), lambda: calls.append("drain"), lambda: calls.append("haste"))
    assert calls == ["drain", "haste"]
    assert trio.current_time() - began == pytest.approx(stopping.DRAIN_SECONDS)


def test_before_anything_runs_a_signal_leaves_through_every_finally() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            # The second one must not break off what the first one set going.
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("cleaned up")

    with pytest.raises(StopRequestedError, match="SIGTERM"), stop_raises():
        work()
    assert done == ["cleaned up"]
    for number in stopping.SIGNALS:
        signal.signal(number, before if number != signal.SIGINT else signal.default_int_handler)
    with stop_raises():
        pass
    assert signal.getsignal(signal.SIGTERM) == before


# -- The command line


def test_wrong_settings_are_all_said_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("TRANSPORT", "pigeon")
    assert cli.main(["timers"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split()[1] for line in said.err.splitlines()] == ["PORT", "TRANSPORT"]


def test_what_only_the_server_starts_is_in_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nonsense"], ["--help"]):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        said = "".join(capsys.readouterr())
        assert "doctor" in said
        assert "serve-worker" not in said
    given = cli.worker_parser().parse_args(["serve-worker", "--number", "2", "--line", "7", "--listeners", "5,6"])
    assert (given.command, given.number, given.after_crash, given.unsafe) == ("serve-worker", 2, False, False)


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([])
    assert "COMMAND" in capsys.readouterr().err


def test_of_wrapped_errors_the_leaves_are_found() -> None:
    a, b = ValueError(), RefusalError()
    assert cli.leaves(BaseExceptionGroup("", [a, BaseExceptionGroup("", [b])])) == [a, b]


def test_a_line_of_the_log_can_be_sent_anywhere(log_untouched: None) -> None:
    from realtime.logs import log_to

    stream = io.StringIO()
    log_to(stream, "warning")
    logging.getLogger("kith").info("not this")
    logging.getLogger("kith").warning("this", extra={"n": 1})
    assert json.loads(stream.getvalue())["n"] == 1


def test_addresses_that_are_asked_are_not_logged(log_untouched: None) -> None:
    from realtime.logs import log_to

    stream = io.StringIO()
    log_to(stream, "debug")
    logging.getLogger("httpx").info("HTTP Request: GET https://login.example.org/?code=secret")
    logging.getLogger("httpcore.http11").debug("send_request_headers")
    assert stream.getvalue() == ""
