"""A node that goes away: nobody is reset, everybody is told, and it ends in time."""

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.shapes.frames import Frame
from realtime.link import LostReason
from realtime.wire.close import Close
from tests.gateway.harness import Client, Served


async def leave(client: Client) -> list[object]:
    """What a good client does when it is sent away: listen to the end, answer, close."""
    heard: list[object] = []
    while (event := await client.event()) is not None:
        heard.append(event)
        if isinstance(event, Close):
            await client.close(event.code)
    await client.aclose()
    return heard


async def test_everybody_is_told_in_portions(served: Served) -> None:
    clients = [await served.websocket() for _ in range(7)]
    served.gateway.stop_accepting()
    left = [served.gateway.going_away(lambda link: Frame(b"for " + link.remote.encode()), most=3) for _ in range(3)]
    assert left == [4, 1, 0]
    for client in clients:
        assert await leave(client) == [b"for 127.0.0.1", Close(4000, "going away")]
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.closed == {4000: 7}
    assert served.counters.resets == 0


async def test_a_whole_house_leaves_under_load(served: Served) -> None:
    """Every text is answered or its client told to come back; nothing ends in a reset."""
    clients = [await served.websocket() for _ in range(100)]
    answers = dict.fromkeys(range(100), 0)

    async def chat(number: int) -> None:
        client = clients[number]
        while True:
            await client.send(b"text")
            event = await client.event()
            if isinstance(event, Close):
                await client.close(event.code)
                assert await client.event() is None
                await client.aclose()
                return
            if event == b"text":
                answers[number] += 1

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(chat, number)
        await served.until(lambda: min(answers.values()) > 2)
        served.gateway.stop_accepting()
        while served.gateway.going_away(lambda _: Frame(b"going_away"), most=10):
            await trio.lowlevel.checkpoint()
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.resets == 0
    assert served.counters.closed == {4000: 100}
    assert all(session.reasons == [LostReason.CLOSED] for session in served.door.sessions)
    await served.gateway.aclose(1.0)


async def test_an_upgrade_while_going_away_is_sent_elsewhere(served: Served) -> None:
    client = await served.connect()
    await served.until(lambda: served.counters.connections == 1)
    served.gateway.stop_accepting()
    answer = await client.upgrade()
    assert answer.status == 503
    assert int(answer.headers[b"retry-after"]) >= 1
    assert served.counters.refused == {"draining": 1}


async def test_the_port_is_free_at_once(served: Served) -> None:
    served.gateway.stop_accepting()
    await wait_all_tasks_blocked()
    with pytest.raises(OSError, match="all attempts to connect"):
        await served.connect()


async def test_who_waits_in_the_backlog_is_not_reset(served: Served, transport: str) -> None:
    """Closing a listener resets the connections nobody has accepted yet; so they are accepted first."""
    if transport == "portable":
        pytest.skip("accepts as fast as they come, and cannot look without awaiting")
    waiting = socket.create_connection(("127.0.0.1", served.port))  # no turn of the loop between this and the stop
    served.gateway.stop_accepting()
    client = Client(trio.SocketStream(trio.socket.from_stdlib_socket(waiting)))
    assert (await client.upgrade()).status == 503


async def test_stopping_twice_is_stopping(served: Served) -> None:
    served.gateway.stop_accepting()
    served.gateway.stop_accepting()
    await served.gateway.aclose(1.0)


async def test_who_does_not_leave_is_cut(served: Served, mock_clock: MockClock) -> None:
    stubborn = await served.websocket()
    assert served.gateway.going_away(lambda _: None) == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.gateway.aclose, 3.0)
        await wait_all_tasks_blocked()
        mock_clock.jump(3.1)
    assert served.counters.connections == 0
    assert isinstance(await stubborn.event(), Close)
