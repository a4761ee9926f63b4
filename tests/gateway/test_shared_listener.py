"""Several gateways on one listening socket: who stops, is full or is ahead leaves newcomers to the others."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.clock import FakeClock
from realtime.gateway.gateway import Gateway, Timekeeping
from realtime.gateway.options import GatewayOptions
from tests.gateway.harness import TIMESTAMP, Client, Door, Served

epoll_only = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


@contextmanager
def one_listener() -> Iterator[socket.socket]:
    """The supervisor's: it holds it and accepts nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        yield listener


@asynccontextmanager
async def worker(transport: str, listener: socket.socket) -> AsyncIterator[Served]:
    """A gateway with a descriptor of its own for the socket of all."""
    door, latencies = Door(), list[float]()
    time = Timekeeping(FakeClock().monotonic, lambda: TIMESTAMP, latencies.append)
    gateway = Gateway(door, GatewayOptions(transport=transport, shared_listener=True), time)
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.serve, [socket.socket(fileno=os.dup(listener.fileno()))])
        yield Served(gateway, door, listener.getsockname()[1], latencies)
        nursery.cancel_scope.cancel()


async def test_a_stopping_worker_finishes_what_it_has_begun(transport: str, mock_clock: MockClock) -> None:
    with one_listener() as listener:
        async with worker(transport, listener) as served, trio.open_nursery() as nursery:
            early = [await served.connect() for _ in range(2)]
            await served.until(lambda: served.counters.connections == 2)
            nursery.start_soon(served.gateway.hand_over, 1.0)
            await wait_all_tasks_blocked()
            assert (await early[0].upgrade()).status == 101, "it was let in before"
            await early[1].raw(b"GET / HTTP/1.1\r\nhost: kith\r\n\r\n")
            assert (await early[1].answer()).status == 404
            # Who comes now waits for somebody else, and is not reset.
            late = await served.connect()
            await wait_all_tasks_blocked()
            assert served.counters.accepted == 2
            mock_clock.jump(0.05)
            assert await early[1].rest() == b"", "an idle connection is closed politely"
            await early[1].aclose()
            await served.until(lambda: served.counters.http_connections == 0)
            accepted, _ = listener.accept()
            accepted.close()
            await late.aclose()
            mock_clock.jump(1.0)
            nursery.cancel_scope.cancel()


async def test_a_stopping_worker_does_not_wait_for_silence(transport: str, mock_clock: MockClock) -> None:
    with one_listener() as listener:
        async with worker(transport, listener) as served:
            silent = [await served.connect() for _ in range(2)]
            await served.until(lambda: served.counters.connections == 2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(served.gateway.hand_over, 1.0)
                await wait_all_tasks_blocked()
                mock_clock.jump(0.6)
                await wait_all_tasks_blocked()
                mock_clock.jump(0.6)
            served.gateway.stop_accepting()
            assert (await silent[0].upgrade()).status == 503
            await silent[1].raw(b"GET / HTTP/1.1\r\nhost: kith\r\n\r\n")
            assert (await silent[1].answer()).status == 503


@epoll_only
async def test_who_is_ahead_leaves_newcomers_to_who_has_fewer(mock_clock: MockClock) -> None:
    with one_listener() as listener:
        async with worker("epoll", listener) as rich, worker("epoll", listener) as poor:
            rich.gateway.admission.fewest_elsewhere = lambda: -100  # in any case fewer than its own
            for _ in range(5):
                client = await rich.connect()
                assert (await client.upgrade()).status == 101
            assert (rich.counters.accepted, poor.counters.accepted) == (0, 5)


@epoll_only
async def test_who_is_ahead_still_takes_whom_nobody_else_wants(mock_clock: MockClock) -> None:
    with one_listener() as listener:
        async with worker("epoll", listener) as served:
            served.gateway.admission.fewest_elsewhere = lambda: -100
            clients = [await served.connect() for _ in range(20)]
            await wait_all_tasks_blocked()
            assert served.counters.accepted == 0
            mock_clock.jump(0.06)
            await served.until(lambda: served.counters.accepted == 20)
            later: Client = await served.connect()
            clients.append(later)
            await served.until(lambda: served.counters.accepted == 21)  # it is still its turn
            mock_clock.jump(0.03)
            clients.append(await served.connect())
            await wait_all_tasks_blocked()
            assert served.counters.accepted == 21
            mock_clock.jump(0.06)
            await served.until(lambda: served.counters.accepted == 22)


def test_a_few_connections_more_are_not_ahead() -> None:
    gateway = Gateway(Door(), GatewayOptions(transport="portable"), Timekeeping(lambda: 0.0, lambda: TIMESTAMP))
    assert not gateway.admission.ahead, "alone"
    gateway.admission.fewest_elsewhere = lambda: 100
    for connections, ahead in ((0, False), (130, False), (131, True)):
        gateway.counters.connections = connections
        assert gateway.admission.ahead is ahead
