"""The embedded PostgreSQL of one KITH_VAR, as one thing that is started, addressed and stopped.

Calls block: it is started before the first task of a node and stopped after the last one.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from storage.embedded.account import Account, postgres_account
from storage.embedded.binaries import binaries_for
from storage.embedded.data_folder import SUPERUSER, settle_data, settle_password
from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.places import SYSTEM_HOME, settle_home, settle_socket_folder
from storage.embedded.postmaster import PORT, Postmaster, noted_pid, noted_socket_folder
from storage.embedded.processes import gone_within, is_postmaster_of, stop_postmaster
from storage.embedded.psql import psql

DATABASE = "kith"


class Cluster:
    """One PostgreSQL; `parameters` override the server's settings (durability is never weakened here)."""

    def __init__(
        self,
        var: Path,
        *,
        parameters: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.var = var.resolve()
        self._parameters = dict(parameters or {})
        self._report = report
        self._postmaster: Postmaster | None = None
        self._account: Account | None = None
        self._password = ""
        self.pid: int | None = None

    def start(self) -> None:
        """Make what is missing, take over an orphan of our own data folder, or start anew."""
        account = self._account = postgres_account()
        home = settle_home(self.var, account)
        binaries = binaries_for(account, SYSTEM_HOME)
        self._password = settle_password(self.var)
        data = settle_data(home, binaries, account, self._password)
        folder = settle_socket_folder(data, account)
        log = self.var / "postgres.log"
        server = Postmaster(data, binaries, folder, account, self._parameters, log)
        self._postmaster = server
        orphan = server.running()
        if orphan is not None:
            if server.is_as_we_would_start(orphan) and self._answers():
                self._report(f"PostgreSQL (pid {orphan}) was still running and is taken over")
                self.pid = orphan
            else:
                self._report(f"PostgreSQL (pid {orphan}) of an earlier start is stopped")
                stop_postmaster(orphan, data)
        if self.pid is None:
            self.pid = server.start(self._report)
        self._settle_database()

    @property
    def uri(self) -> str:
        return self.uri_of(DATABASE)

    def uri_of(self, database: str) -> str:
        folder = self._started.socket_folder
        return database_uri(folder, self._password, database)

    @property
    def home(self) -> Path:
        """Where the data really lie, which as root is not in KITH_VAR."""
        return self._started.data.parent

    @property
    def socket_folder(self) -> Path:
        return self._started.socket_folder

    def is_alive(self) -> bool:
        """Whether the process is there (after kill -9, `revive` starts it again)."""
        return self.pid is not None and is_postmaster_of(self.pid, self._started.data)

    def revive(self) -> None:
        """Start again after the process was killed under us; a no-op while it lives."""
        if self.pid is not None and gone_within(self.pid, self._started.data, 0.0):
            self.pid = self._started.start(self._report)

    def stop(self) -> None:
        """Fast shutdown; also of a start that was broken off before it knew its pid."""
        server = self._postmaster
        pid = self.pid or (server.running() if server else None)
        self.pid = None
        if server is None or pid is None:
            return
        stop_postmaster(pid, server.data)
        # PostgreSQL leaves the folder empty unless it was killed.
        with contextlib.suppress(OSError):
            server.socket_folder.rmdir()

    def kill9(self) -> None:
        """What a power cut does to PostgreSQL; for trials."""
        if self.pid is None:
            raise EmbeddedPostgresError("PostgreSQL is not running, so it cannot be killed.")
        os.kill(self.pid, signal.SIGKILL)
        gone_within(self.pid, self._started.data, 5.0)

    def destroy(self) -> None:
        """Stop it and remove everything it ever stored."""
        self.stop()
        if self._postmaster is not None:
            remove_home(self.var)

    def psql(self, statement: str, database: str = DATABASE) -> str:
        """One statement through the wheel's own client, for what comes before the driver is up."""
        return psql(self._started.binaries, self.uri_of(database), statement)

    @property
    def _started(self) -> Postmaster:
        if self._postmaster is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has not been started.")
        return self._postmaster

    def _answers(self) -> bool:
        """Whether what answers on the socket really serves our data folder under our password."""
        try:
            shown = self.psql("SHOW data_directory", "postgres")
        except EmbeddedPostgresError:
            return False
        return Path(shown) == self._started.data

    def _settle_database(self) -> None:
        known = f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'"
        if self.psql(known, "postgres") == "0":
            self.psql(f"CREATE DATABASE {DATABASE}", "postgres")


def database_uri(socket_folder: Path, password: str, database: str) -> str:
    query = urlencode({"host": str(socket_folder), "port": str(PORT)})
    return f"postgresql://{SUPERUSER}:{quote(password, safe='')}@/{database}?{query}"


def running_uri(var: Path) -> str | None:
    """The address of the embedded PostgreSQL that somebody else runs in this KITH_VAR, if one runs."""
    data = (var / "postgres").resolve() / "data"
    pid, folder = noted_pid(data), noted_socket_folder(data)
    if pid is None or folder is None or not is_postmaster_of(pid, data):
        return None
    return database_uri(folder, settle_password(var), DATABASE)


def remove_home(var: Path) -> None:
    """Delete the data of this KITH_VAR, wherever the link leads; the caller has stopped the server."""
    entry = var / "postgres"
    home = entry.resolve()
    data = home / "data"
    orphan = noted_pid(data)
    if orphan is not None:
        stop_postmaster(orphan, data)
    if home.exists():
        shutil.rmtree(home)
    if entry.is_symlink():
        entry.unlink()
    (var / "postgres-password").unlink(missing_ok=True)
