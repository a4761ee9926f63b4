"""`kith serve` as somebody's shell starts it: its lines, its end, and what it leaves behind."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from storage.embedded.cluster import remove_home
from storage.embedded.postmaster import noted_pid

CHECKOUT = Path(__file__).resolve().parents[2]
KITH = (sys.executable, "-I", "-m", "realtime.cli")
READY_SECONDS = 20.0
# Nothing of the shell the tests run in may decide how a trial goes.
NOT_OURS = ("DATABASE_URL", "KITH_VAR", "KITH_ENV", "JWT_SECRET", "PORT", "HOST", "LC_ALL", "MAKEFLAGS", "MAKELEVEL")


def environment(var: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    return {**kept, "KITH_VAR": str(var), "HOST": "127.0.0.1", "PORT": "0", **more}


class Started:
    """One process, with its output kept line by line as it comes."""

    def __init__(
        self,
        var: Path,
        command: Sequence[str] = (*KITH, "serve"),
        *,
        uid: int | None = None,
        **more: str,
    ) -> None:
        self.var = var
        self.out: list[str] = []
        self.err: list[str] = []
        self._first: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment(var, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A group of its own, so that a trial can do to it what a terminal does to what runs in it.
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            if "Kith is ready: http://" in line and lines is self.out:
                self._first.put(line.split()[-1])
        if lines is self.out:
            self._first.put("")

    def ready(self, seconds: float = READY_SECONDS) -> str:
        """Its URL, as soon as it has said it."""
        try:
            url = self._first.get(timeout=seconds)
        except queue.Empty:
            url = ""
        if not url:
            said = "\n".join(self.out + self.err)
            raise AssertionError(f"no URL within {seconds} s from it; it said:\n{said}")
        return url

    @property
    def home(self) -> Path:
        return (self.var / "postgres").resolve()

    @property
    def postgres_pid(self) -> int:
        pid = noted_pid(self.home / "data")
        assert pid is not None, f"no postmaster.pid in {self.home}"
        return pid

    def end(self, seconds: float = 15.0) -> int:
        """Wait for its end; its exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {seconds} s:\n{self.text()}") from None
        for reader in self._readers:
            reader.join(5.0)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def text(self) -> str:
        return "\n".join(self.err)


@contextmanager
def folder_for_var(name: str = "kith-start-", owner: int | None = None) -> Iterator[Path]:
    """A KITH_VAR to be, in a folder that any user can enter; whatever grew in it is removed."""
    folder = Path(tempfile.mkdtemp(prefix=name))
    folder.chmod(0o755)
    if owner is not None:
        os.chown(folder, owner, owner)
    var = folder / "var"
    try:
        yield var
    finally:
        with contextlib.suppress(OSError):
            remove_home(var)
        shutil.rmtree(folder, ignore_errors=True)


def eventually(what: Callable[[], bool], named: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {named}")
        time.sleep(0.02)


def left_behind(*marks: Path) -> list[list[str]]:
    """Command lines of living processes that name one of these folders."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            arguments = process.cmdline()
            if any(str(mark) in argument for mark in marks for argument in arguments):
                found.append(arguments)
    return found


def assert_nothing_left(*marks: Path) -> None:
    deadline = time.monotonic() + 5.0
    while found := left_behind(*marks):
        assert time.monotonic() < deadline, f"still running after 5 s: {found}"
        time.sleep(0.05)
