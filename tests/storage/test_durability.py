"""A server that would forget what it acknowledged is refused."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database_errors import UnsafeSettingsError
from storage.durability import Durability, check_durability
from storage.embedded.cluster import Cluster
from storage.postgres import open_postgres

SAFE = Durability(
    fsync=True,
    full_page_writes=True,
    synchronous_commit="on",
    synchronous_standby_names="",
    server_version=180000,
    standby=False,
)


@pytest.fixture
def careless() -> Iterator[str]:
    """A server with fsync and full_page_writes off."""
    folder = Path(tempfile.mkdtemp(prefix="kith-careless-"))
    folder.chmod(0o755)
    cluster = Cluster(folder, parameters={"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"})
    cluster.start()
    try:
        yield cluster.uri_of("postgres")
    finally:
        cluster.destroy()
        shutil.rmtree(folder)


async def test_a_server_without_fsync_is_refused(careless: str) -> None:
    async with open_postgres(careless) as postgres:
        with pytest.raises(UnsafeSettingsError, match="fsync is off.*full_page_writes is off.*--unsafe"):
            await check_durability(postgres)
        found = await check_durability(postgres, unsafe=True)
        assert len(found.problems) == 2
        # Whatever the server's file says, our own commits wait for the disk: accounts' in the pool, and the journal's.
        assert found.synchronous_commit == "on"
        assert await postgres.run(lambda asked: asked.fetchval(str, "show synchronous_commit")) == "on"
        line = postgres.dedicated()
        await line.connect()
        assert await line.fetch(str, "select current_setting('synchronous_commit')", ()) == ["on"]
        line.terminate()


async def test_a_server_that_keeps_its_word_is_accepted(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        found = await check_durability(postgres)
    assert found.problems == []
    assert found.server_version >= 150000
    assert SAFE.problems == []
