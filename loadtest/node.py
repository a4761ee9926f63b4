"""A real node for a benchmark: `kith serve` with a folder, a database and a port of its own, gone afterwards."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loadtest.recorded_node import FILE_VARIABLE, SIGNAL
from storage.embedded.cluster import remove_home, running_uri
from storage.embedded.postmaster import noted_pid

CHECKOUT: Final = Path(__file__).resolve().parent.parent
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 5.0


class NodeError(Exception):
    """The node did not do what a benchmark needs of it."""


@contextmanager
def folder() -> Iterator[Path]:
    """A KITH_VAR of this run's own, on the disk of the checkout: /tmp may be memory, where an fsync costs nothing."""
    above = CHECKOUT / "var"
    above.mkdir(mode=0o700, exist_ok=True)
    var = Path(tempfile.mkdtemp(prefix="bench-", dir=above))
    try:
        yield var
    finally:
        remove_home(var)
        shutil.rmtree(var)


class Node:
    """One `kith serve`. What the shell says of database and secrets does not count; its limits and the like do."""

    def __init__(self, var: Path, settings: Mapping[str, str]) -> None:
        self.var = var
        self.environment = {
            **{name: text for name, text in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")},
            "DATABASE_URL": "",
            "KITH_VAR": str(var),
            "HOST": "127.0.0.1",
            "PORT": "0",
            "LOG_LEVEL": "warning",
            FILE_VARIABLE: str(var / "steps"),
            **settings,
        }
        self.url = ""
        self.start_seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def socket_url(self) -> str:
        return self.url.replace("http://", "ws://") + "/ws"

    @property
    def database_url(self) -> str:
        uri = running_uri(self.var)
        if uri is None:
            raise NodeError("the node's PostgreSQL does not run")
        return uri

    @property
    def postmaster(self) -> int:
        pid = noted_pid((self.var / "postgres").resolve() / "data")
        if pid is None:
            raise NodeError("the node's PostgreSQL does not run")
        return pid

    def start(self) -> None:
        began = time.monotonic()
        with (self.var / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtest.recorded_node", "serve"],
                cwd=CHECKOUT,
                env={**self.environment, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'http'}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        told = b""
        while b"\n" not in told:
            left = READY_SECONDS - (time.monotonic() - began)
            if not select.select([self._process.stdout], [], [], max(left, 0))[0]:
                raise NodeError(f"no URL from the node within {READY_SECONDS:.0f} s{self._last_words()}")
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                raise NodeError(f"the node ended at its start{self._last_words()}")
            told += piece
        self.start_seconds = time.monotonic() - began
        text = told.decode()
        if "http://" not in text:
            raise NodeError(f"the node's first line names no URL: {text!r}")
        self.url = "http://" + text.split("http://", 1)[1].split()[0].rstrip("/")

    def recording(self, *, begin: bool) -> list[str]:
        """Have the node write down its steps from now on, or stop and say them."""
        steps = self.var / "steps"
        steps.unlink(missing_ok=True)
        os.kill(self.pid, SIGNAL)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not steps.exists():
            if time.monotonic() > deadline:
                raise NodeError(
                    f"the node did not {'begin' if begin else 'end'} to record within {ANSWER_SECONDS:.0f} s"
                )
            time.sleep(0.01)
        taken: list[str] | None = json.loads(steps.read_text())
        if begin is not (taken is None):
            raise NodeError("the node's recording was not where it was thought to be")
        return taken or []

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise NodeError(f"the node did not stop within {STOP_SECONDS:.0f} s{self._last_words()}") from None

    def _last_words(self) -> str:
        text = (self.var / "serve.log").read_text(errors="replace")[-2000:].strip()
        return f"; its log ends:\n{text}" if text else ""


@contextmanager
def running(var: Path, **settings: str) -> Iterator[Node]:
    node = Node(var, settings)
    try:
        node.start()
        yield node
    finally:
        node.stop()
