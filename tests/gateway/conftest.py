"""Time stands still in these tests, so a test that waits in vain would wait for ever: an alarm ends it and names it."""

import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from trio.testing import MockClock

from realtime.gateway.options import GatewayOptions
from tests.gateway.harness import Served, serving

_ALARM_SECONDS = 30


@pytest.fixture(autouse=True)
def alarm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Real time, for the test as a whole."""

    def ring(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"{request.node.name} waited {_ALARM_SECONDS} s for something that did not come")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(_ALARM_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["epoll", "portable"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def served(transport: str, mock_clock: MockClock) -> AsyncIterator[Served]:
    async with serving(GatewayOptions(transport=transport)) as served:
        yield served
