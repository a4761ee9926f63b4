"""Nodes for the system tests, which are stopped at the end whatever happens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.system.harness import KithNode

StartNode = Callable[..., Awaitable[KithNode]]


@pytest.fixture
async def start_node(tmp_path: Path, database_url: str) -> AsyncIterator[StartNode]:
    """Start as many nodes as asked for, all on this test's database unless told otherwise."""
    nodes: list[KithNode] = []

    async def start(**settings: str) -> KithNode:
        node = KithNode(tmp_path / f"var{len(nodes)}", settings.pop("DATABASE_URL", database_url), **settings)
        nodes.append(node)
        return await node.start()

    yield start
    for node in nodes:
        if node.process is not None and node.process.poll() is None:
            node.kill()


@pytest.fixture
async def node(start_node: StartNode) -> KithNode:
    return await start_node()
