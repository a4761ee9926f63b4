"""What every test may ask for: a PostgreSQL of the test run's own, and a fresh database in it."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import trio
from hypothesis import settings

from storage.embedded.binaries import FOLDER, wheel_folder
from storage.embedded.cluster import Cluster
from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.psql import psql
from storage.migrator import migrate
from tests.turns import Turns

TURNS = pytest.StashKey[Turns]()

# Deterministic tests or none: the same examples for everybody, and new ones only in `make soak`.
settings.register_profile("kith", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("soak", derandomize=False, deadline=None, print_blob=True)

# The shell's own settings must not decide what a test does, nor may a test touch what they name.
for name in ("DATABASE_URL", "REDIS_URL", "KITH_VAR", "KITH_ENV", "JWT_SECRET", "PORT", "HOST"):
    os.environ.pop(name, None)


class Server:
    """The PostgreSQL of this test run: the embedded one, or what KITH_TEST_DATABASE_URL names.

    A database that a test is done with is kept: DROP DATABASE takes a checkpoint, which was measured at five times
    what making one costs. The embedded server goes with all of them; a given one is cleaned at the end.
    """

    def __init__(self, admin_url: str, *, given: bool = False) -> None:
        self.admin_url = admin_url
        self._given = given
        self._numbers = itertools.count(1)
        # A worker of a parallel run is a process, and so neither takes a name nor, by default, a server of another's.
        self._prefix = f"kith_test_{os.getpid()}"
        self._made: list[str] = []

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))

    def run(self, statement: str) -> str:
        return psql(wheel_folder() / FOLDER / "bin", self.admin_url, statement)

    def create(self, template: str = "template1") -> str:
        database = f"{self._prefix}_{next(self._numbers)}"
        self._made.append(database)
        self.run(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return database

    def leave(self, database: str) -> None:
        """Nobody is connected any more, so that no test finds the server full of what others forgot."""
        self.run(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'")

    def clean(self) -> None:
        for database in self._made if self._given else ():
            self.run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


class Supply:
    """Migrated databases, the next of which is made while a test uses the last."""

    def __init__(self, server: Server, template: str, ahead: ThreadPoolExecutor) -> None:
        self._server = server
        self._template = template
        self._ahead = ahead
        self._next = self._begin()

    def _begin(self) -> Future[str]:
        return self._ahead.submit(self._server.create, self._template)

    def take(self) -> str:
        try:
            database = self._next.result()
        except EmbeddedPostgresError:  # the test before may have frozen or killed the server
            database = self._server.create(self._template)
        self._next = self._begin()
        return database


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("soak" if config.getoption("markexpr") in ("soak", "chaos") else "kith")
    # A shell ignores it for what it runs in the background, and whatever is started here would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A run that is told to stop (`timeout`, a CI that gives up) ends like one at Ctrl-C: what it started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if hasattr(config, "workerinput"):  # one process of a parallel run; their folders lie side by side
        config.stash[TURNS] = Turns(Path(config.option.basetemp).parent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    turns = item.config.stash.get(TURNS, None)
    alone = item.get_closest_marker("alone") is not None
    with turns.taken(alone=alone) if turns else nullcontext():
        return (yield)


# End of file means that the test run died without a word, as at kill -9; PostgreSQL must not outlive it.
WATCH = (
    'pid=$1; shift; read said || { kill -INT $pid; while kill -0 $pid; do sleep 0.1; done; rm -rf "$@"; } 2>/dev/null'
)


@contextmanager
def stopped_with_us(server: Cluster, *folders: Path) -> Iterator[None]:
    command = ["/bin/sh", "-c", WATCH, "sh", str(server.pid), *map(str, folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watch:
        try:
            yield
        finally:
            watch.communicate(b"stopped\n")


@pytest.fixture(scope="session")
def stopped_var() -> Iterator[Path]:
    """A KITH_VAR with an embedded PostgreSQL that has been made and stopped; copy it, initdb is slow."""
    # Short and enterable: as root, PostgreSQL runs as a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="kith-made-"))
    folder.chmod(0o755)
    var = folder / "var"
    var.mkdir(mode=0o755)
    server = Cluster(var)
    server.start()
    server.stop()
    yield var
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster(stopped_var: Path) -> Iterator[Cluster]:
    """The run's embedded PostgreSQL, durable like a real one; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="kith-tests-"))
    folder.chmod(0o755)
    # Databases are kept, and every minute each would be visited.
    server = Cluster(copy_of_var(stopped_var, folder), parameters={"autovacuum_naptime": "1h"})
    server.start()
    with stopped_with_us(server, folder, stopped_var.parent, server.socket_folder):
        try:
            yield server
        finally:
            if server.pid is not None and server.is_alive():
                # At once: what a shutdown would bring to the disk for seconds is removed right afterwards.
                os.kill(server.pid, signal.SIGQUIT)
            server.destroy()
            shutil.rmtree(folder)


def copy_of_var(made: Path, folder: Path) -> Path:
    """Owners and modes and all, which PostgreSQL insists on."""
    subprocess.run(["cp", "-a", made, folder], check=True)
    return folder / made.name


@pytest.fixture(scope="session")
def database_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    given = os.environ.get("KITH_TEST_DATABASE_URL")
    if given:
        server = Server(given, given=True)
    else:
        embedded: Cluster = request.getfixturevalue("cluster")
        server = Server(embedded.uri_of("postgres"))
    yield server
    server.clean()


@pytest.fixture(scope="session")
def migrated_template(database_server: Server) -> str:
    """A database with every migration applied, which each test's own is copied from."""
    template = database_server.create()
    trio.run(migrate, database_server.url(template))
    return template


@pytest.fixture(scope="session")
def supply(database_server: Server, migrated_template: str) -> Iterator[Supply]:
    with ThreadPoolExecutor(1, "database made ahead") as ahead:
        yield Supply(database_server, migrated_template, ahead)


@pytest.fixture
def database_url(database_server: Server, supply: Supply) -> Iterator[str]:
    """A fresh, migrated database of this test's own."""
    database = supply.take()
    yield database_server.url(database)
    database_server.leave(database)


@pytest.fixture
def raw_database_url(database_server: Server) -> Iterator[str]:
    """A fresh database without a table."""
    database = database_server.create()
    yield database_server.url(database)
    database_server.leave(database)
