"""The rebuilt Autobahn cases over real sockets, on both transports, against a session that echoes."""

import pytest
import trio

from realtime.wire.close import Close
from realtime.wire.frames import Pong
from tests.gateway.harness import Client, Served
from tests.wire.autobahn_cases import CASES, Case


async def hear(client: Client, case: Case, spoken: trio.Event) -> tuple[list[bytes], list[bytes], int | None]:
    """Everything until the server closes or the case is satisfied."""
    echoes, pongs = list[bytes](), list[bytes]()
    while True:
        if case.codes is None and len(echoes) == len(case.echoed) and len(pongs) == len(case.pongs):
            await spoken.wait()
            await client.close(1000)
            event = await client.event()
            assert event == Close(1000, "")
            return echoes, pongs, None
        event = await client.event()
        if isinstance(event, bytes):
            echoes.append(event)
        elif isinstance(event, Pong):
            pongs.append(event.payload)
        else:
            assert isinstance(event, Close), event
            return echoes, pongs, event.code


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(served: Served, transport: str, case: Case) -> None:
    client = await served.websocket()
    # trio-websocket answers a close or a violation as soon as it reads it; what the session said to the message before
    # does not go out any more. The epoll edge flushes first.
    lossy = transport == "portable" and case.codes is not None
    spoken = trio.Event()
    async with trio.open_nursery() as nursery:

        async def speak() -> None:
            for part in case.sent:
                try:
                    await client.raw(part)
                except trio.BrokenResourceError:
                    return  # closed in the middle of it, as some cases want
            spoken.set()

        nursery.start_soon(speak)
        echoes, pongs, code = await hear(client, case, spoken)
        nursery.cancel_scope.cancel()
    if lossy:
        assert echoes == list(case.echoed)[: len(echoes)]
    else:
        assert echoes == list(case.echoed)
    assert pongs == list(case.pongs)
    assert code in (case.codes or (None,))
    await client.aclose()
    await served.until(lambda: served.counters.connections == 0)
    assert served.counters.peer_errors == 0
