"""Which database a command works on: the one that was named, the embedded one that runs, or one started for it."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trio

from realtime.node_lock import NodeLock
from realtime.settings import Settings
from realtime.var_folder import check_disk, prepare_var
from storage.database_errors import DatabaseAwayError
from storage.embedded.cluster import Cluster, running_uri
from storage.embedded.errors import EmbeddedPostgresError
from storage.migrator import migrate

log = logging.getLogger("kith.database")

# A database in the next container takes a while to come up; an operator's typing error should not take long.
PATIENCE_SECONDS = 20
# What the embedded PostgreSQL takes: the pool, and room for commands, load tools and a look with psql.
LEAST_CONNECTIONS, SPARE_CONNECTIONS = 100, 50


@contextmanager
def embedded(settings: Settings) -> Iterator[Cluster]:
    """The embedded PostgreSQL, running; stopped at the end, also when the start is broken off."""
    workers, most = settings.kith_workers, settings.database_pool_max
    if workers > 1:
        most += most // workers  # during a rolling restart there is one worker more, with its share
    connections = str(max(LEAST_CONNECTIONS, most + SPARE_CONNECTIONS))
    cluster = Cluster(settings.var, parameters={"max_connections": connections}, report=log.info)
    try:
        try:
            cluster.start()
        except OSError as error:
            raise EmbeddedPostgresError(f"the embedded PostgreSQL cannot be started: {error}.") from None
        check_disk(cluster.home)
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def command_database(settings: Settings) -> Iterator[str]:
    """For commands beside the server: while it runs they share its database, else they start one and stop it."""
    if settings.database_url:
        yield settings.database_url
        return
    prepare_var(settings.var)
    running = running_uri(settings.var)
    with ExitStack() as stack:
        if running is None:
            stack.enter_context(NodeLock(settings.var))
            running = stack.enter_context(embedded(settings)).uri
        yield running


def sentence(error: BaseException) -> str:
    """What an operator is told: the driver's words name neither what is away nor the setting."""
    if isinstance(error, DatabaseAwayError):
        return f"PostgreSQL (DATABASE_URL) cannot be reached: {error}"
    return str(error)


async def bring_up_to_date(url: str) -> list[str]:
    """Apply the migrations, waiting for a database that is not there yet."""
    for _ in range(PATIENCE_SECONDS):
        try:
            return await migrate(url)
        except DatabaseAwayError as error:
            log.warning("the database does not answer yet", extra={"reason": str(error)})
            await trio.sleep(1.0)
    return await migrate(url)
