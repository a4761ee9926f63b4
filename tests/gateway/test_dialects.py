"""A connection's last words are the transport's own, and in the words of the connection, on every way there is."""

import pytest
import trio

from actors.metrics import Counter
from actors.shapes.frames import Frame
from realtime.dialects import NOVA
from realtime.interpreter import InterpretedLink, Words
from realtime.wire.close import Close
from tests.gateway.harness import Client, Served


def speak_nova(served: Served) -> Counter:
    made = Counter()
    served.door.words = Words(NOVA, made)
    return made


async def bridged(served: Served) -> Client:
    """An upgrade on a connection that hypercorn owns already."""
    client = await served.connect()
    client.hears_pings = False
    await client.raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await client.body(await client.answer())
    assert (await client.upgrade("/ws", b"")).status == 101
    await served.until(lambda: len(served.door.sessions) > 0)
    return client


WAYS = ["its own connection", "a kept-alive one"]


async def entered(served: Served, way: str) -> Client:
    return await (bridged(served) if way == WAYS[1] else served.websocket())


@pytest.mark.parametrize("way", WAYS)
async def test_the_frame_before_a_close_is_translated(served: Served, way: str) -> None:
    made = speak_nova(served)
    client = await entered(served, way)
    session = served.door.sessions[0]
    assert served.door.words is not None
    link = InterpretedLink(session.link, served.door.words)  # type: ignore[arg-type] # a Words
    link.send(Frame(b'{"type":"message.created","payload":{"id":1}}'))
    link.close(4500, "bad", before=Frame(b'{"type":"error","ref":null,"error":{"code":"INVALID_TOKEN"}}'))
    assert await client.event() == b'{"event":"message_received","data":{"id":1}}'
    assert await client.event() == b'{"event":"error","ref":null,"data":{"code":"INVALID_TOKEN"}}'
    assert isinstance(closed := await client.event(), Close)
    assert (closed.code, made.value) == (4500, 2)


@pytest.mark.parametrize("way", WAYS)
async def test_going_away_is_translated(served: Served, way: str) -> None:
    speak_nova(served)
    client = await entered(served, way)
    assert served.gateway.going_away(lambda _: Frame(b'{"type":"going_away","payload":{"reconnect_after":1.5}}')) == 0
    assert await client.event() == b'{"event":"going_away","data":{"reconnect_after":1.5}}'


async def test_lagging_is_translated(served: Served) -> None:
    speak_nova(served)
    client = await served.websocket()
    slow = served.door.sessions[0]
    while not slow.reasons:
        slow.send(Frame(b"x" * 10_000))
        await trio.lowlevel.checkpoint()
    last = None
    while not isinstance(event := await client.event(), Close):
        last = event
    assert last == b'{"event":"lagging","data":{}}'
    assert event.code == 4001


async def test_without_words_last_words_are_as_they_are(served: Served) -> None:
    client = await served.websocket()
    before = Frame(b'{"type":"error","ref":null,"error":{}}')
    served.door.sessions[0].close(4500, "bad", before=before)
    assert await client.event() == before.payload
    assert before.others is None
