"""Clients at random: rubbish, half requests, broken frames, resets. Afterwards nothing is left of them."""

import random

import msgspec
import pytest
import trio
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from realtime.gateway.options import GatewayOptions
from realtime.wire.handshake import client_request
from tests.gateway.harness import KEY, Client, Served, serving
from tests.wire.test_frames_random import random_frame

app = QuartTrio("web")


@app.get("/")
async def root() -> str:
    return "hello"


def random_words(dice: random.Random) -> bytes:
    """What a client says, in one to three breaths."""
    upgrade = client_request("h", "/ws", KEY)
    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    frames = b"".join(random_frame(dice) for _ in range(dice.randrange(6)))
    words = dice.choice(
        (
            dice.randbytes(dice.randrange(1, 400)),
            upgrade[: dice.randrange(len(upgrade))],
            upgrade + frames,
            upgrade + frames + frames[: dice.randrange(20)],
            request * dice.randrange(1, 4),
            request + upgrade + frames,
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + upgrade + frames,
            b"PROXY " + dice.randbytes(20) + b"\r\n" + request,
            request[:-2] + dice.randbytes(30),
        )
    )
    if dice.random() < 0.2 and words:
        place = dice.randrange(len(words))
        words = words[:place] + dice.randbytes(1) + words[place + 1 :]
    return words


async def visit(served: Served, dice: random.Random) -> Client | None:
    """Returns the client if it stays on the line."""
    client = await served.connect()
    words = random_words(dice)
    try:
        while words:
            size = dice.choice((1, 20, 1_000, len(words)))
            await client.raw(words[:size])
            words = words[size:]
            if dice.random() < 0.3:
                await trio.lowlevel.checkpoint()
        if dice.random() < 0.3:
            await client.stream.send_eof()
    except (trio.BrokenResourceError, OSError):
        pass  # shown the door in the middle of a sentence
    match dice.randrange(3):
        case 0:
            client.reset()
        case 1:
            await client.aclose()
        case _:
            return client
    return None


@pytest.mark.parametrize(
    "seed", [1, 2, pytest.param(3, marks=pytest.mark.soak), pytest.param(4, marks=pytest.mark.soak)]
)
async def test_nothing_is_left_of_rude_clients(
    transport: str, mock_clock: MockClock, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    dice = random.Random(seed)
    options = msgspec.structs.replace(GatewayOptions(transport=transport), trusted_proxies=("127.0.0.0/8",))
    async with serving(options, app) as served:
        staying = []
        for _ in range(150 if seed < 3 else 2_000):
            served.door.authenticated = dice.random() < 0.5
            staying.append(await visit(served, dice))
        well = await served.websocket()
        await well.send(b"all well?")
        assert await well.event() == b"all well?"
        await well.close()
        # Heads, hellos, heartbeats, goodbyes, keep-alives: every patience there is ends within three minutes. Only a
        # bridged WebSocket has no other end than its client's.
        for _ in range(40):
            mock_clock.jump(5.0)
            await wait_all_tasks_blocked()
        assert served.counters.connections == served.counters.http_connections == served.counters.websockets
        assert served.counters.unauthenticated == 0
        for client in staying:
            if client is not None:
                await client.aclose()
        for _ in range(3):
            await wait_all_tasks_blocked()
            mock_clock.jump(5.0)
        await wait_all_tasks_blocked()
        assert served.counters.connections == served.counters.websockets == served.counters.http_connections == 0
        assert served.counters.unauthenticated == 0
        assert len(served.gateway._deadlines) == 0
        assert served.counters.edge_errors == served.counters.peer_errors == 0
        assert all(len(session.reasons) == 1 for session in served.door.sessions)
        assert "failed" not in caplog.text
