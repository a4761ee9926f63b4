"""Starting and watching the one PostgreSQL process of a data folder; it knows nothing of databases."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.embedded.account import Account
from storage.embedded.data_folder import last_words
from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.processes import command_line, is_postmaster_of, stop_postmaster

# Names the socket file only: PostgreSQL listens on no network address.
PORT = 5432
LOG_KEPT_BYTES = 10_000_000

PARAMETERS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    # Events leave through logical decoding; a reader that went away must not fill the disk with WAL.
    "wal_level": "logical",
    "max_slot_wal_keep_size": "1GB",
    # Containers give /dev/shm 64 MB, and a parallel worker that cannot get its segment fails the query.
    "max_parallel_workers_per_gather": "0",
    # The log stays on this machine, and still it must not hold what people wrote: no statement, no DETAIL.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Postmaster:
    """How the PostgreSQL of one data folder is started."""

    data: Path
    binaries: Path
    socket_folder: Path
    account: Account
    parameters: Mapping[str, str]
    log: Path

    @property
    def command(self) -> list[str]:
        settings = {
            **PARAMETERS,
            "unix_socket_directories": str(self.socket_folder),
            **self.parameters,
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return [str(self.binaries / "postgres"), "-D", str(self.data), *options]

    def running(self) -> int | None:
        """The pid of a living PostgreSQL of this data folder, whoever started it."""
        pid = noted_pid(self.data)
        return pid if pid is not None and is_postmaster_of(pid, self.data) else None

    def is_as_we_would_start(self, pid: int) -> bool:
        return command_line(pid) == self.command

    def start(self, report: Callable[[str], None]) -> int:
        """Start it and wait until it takes connections, as long as it says that it is on its way."""
        if self.running() is None:
            # PostgreSQL takes any living pid in these for itself, also one that was given to somebody
            # else since, or a zombie whose parent never waits. Nobody else uses the two folders.
            for stale in (self.data / "postmaster.pid", self.socket_folder / f".s.PGSQL.{PORT}.lock"):
                stale.unlink(missing_ok=True)
        deadline = time.monotonic() + 15.0
        while True:
            said = self.attempt(report)
            if said is None:
                pid = self.running()
                if pid is not None:
                    return pid
                said = "it stopped again at once"
            # After a kill -9 its children take a moment to notice, and hold the shared memory until then.
            if "shared memory block" not in said or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL does not start: {said} (log: {self.log})")
            time.sleep(0.1)

    def attempt(self, report: Callable[[str], None]) -> str | None:
        """One start: None when it is ready, else what it said when it gave up."""
        self.trim_log()
        with self.log.open("ab") as log:
            begin = log.seek(0, 2)
            # A session of its own: a Ctrl-C goes to the whole group, and PostgreSQL must outlive
            # the last flush of the journal.
            process = self.account.spawn(self.command, output=log, own_session=True)
        began = told = time.monotonic()
        while process.poll() is None:
            answer = self.readiness()
            if answer == 0:
                # Whoever starts another stops this one by pid; nobody waits for it as a child.
                process.returncode = 0
                return None
            now = time.monotonic()
            # 1 is "starting up": recovery after a crash takes what it takes.
            if answer != 1 and now - began > 60.0:
                stop_postmaster(process.pid, self.data)
                return f"no answer on its socket in {self.socket_folder} for 60 s"
            if now - told > 5.0:
                told = now
                report(f"PostgreSQL is still starting after {now - began:.0f} s (log: {self.log})")
            time.sleep(0.02)
        with self.log.open("rb") as log:
            log.seek(begin)
            return last_words(log.read().decode(errors="replace"))

    def readiness(self) -> int:
        """What pg_isready says: 0 ready, 1 starting or stopping, 2 no answer."""
        where = ["-q", "-t", "3", "-h", str(self.socket_folder), "-p", str(PORT)]
        done = subprocess.run([self.binaries / "pg_isready", *where], capture_output=True, env={"LC_ALL": "C"})
        return done.returncode

    def trim_log(self) -> None:
        """One old log is kept; a server that starts often must not fill the disk."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_KEPT_BYTES:
                self.log.rename(self.log.with_suffix(".old.log"))


def noted_pid(data: Path) -> int | None:
    """The pid in postmaster.pid, which says nothing about whether that process lives."""
    try:
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def noted_socket_folder(data: Path) -> Path | None:
    """Where the PostgreSQL that wrote postmaster.pid has its socket."""
    try:
        return Path((data / "postmaster.pid").read_text().splitlines()[4])
    except (OSError, IndexError):
        return None
