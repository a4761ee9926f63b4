"""Three clients of three dialects in one conversation, on a real node; and the sources' own clients against it."""

import json
import shutil
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from actors.envelopes import event_frame
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.users import Deliver
from realtime import main
from realtime.assembly.node import Node, assemble
from realtime.settings import load_settings
from tests.system.conftest import StartNode
from tests.system.harness import ANSWER_SECONDS, KithNode, Person, phone_of, register

NOTIFICATIONS = "/api/v1/ws/notifications"


@asynccontextmanager
async def client_of(
    person: Person, path: str = "/ws", subprotocol: str | None = None
) -> AsyncIterator[WebSocketConnection]:
    """As 003's client connects: a header, and then it listens."""
    url = person.node.url.replace("http", "ws", 1) + path
    headers = [(b"Authorization", f"Bearer {person.token}".encode())]
    offered = None if subprotocol is None else [subprotocol]
    async with open_websocket_url(url, subprotocols=offered, extra_headers=headers) as socket:
        assert socket.subprotocol == subprotocol
        yield socket


async def told(socket: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(ANSWER_SECONDS):
        frame: dict[str, Any] = json.loads(await socket.get_message())
    return frame


@pytest.mark.parametrize("transport", ["epoll", "portable"])
async def test_each_of_three_sees_the_same_message_in_its_own_words(start_node: StartNode, transport: str) -> None:
    node = await start_node(TRANSPORT=transport)
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    ways = [("/ws", None, 1), ("/ws", "messaging.v1", 3), (NOTIFICATIONS, None, 4)]
    async with AsyncExitStack() as stack:
        sockets = {
            (path, subprotocol): [await stack.enter_async_context(client_of(anna, path, subprotocol)) for _ in range(n)]
            for path, subprotocol, n in ways
        }
        for (path, _), group in sockets.items():
            key = "event" if path == NOTIFICATIONS else "type"
            for one in group:
                assert [(await told(one))[key] for _ in range(2)] == ["connected", "caught_up"]
        before = await node.metric("frames_translated_total")
        async with phone_of(ben) as phone:
            await phone.say(chat, "the same for all")
        events = [[await told(one) for one in group] for group in sockets.values()]
        made = await node.metric("frames_translated_total") - before
    (kith,), messaging, nova = events
    assert all(event == messaging[0] for event in messaging)
    assert all(event == nova[0] for event in nova)
    assert (kith["type"], messaging[0]["type"], nova[0]["event"]) == (
        "message.created", "message_created", "message_received",
    )  # fmt: skip
    assert kith["payload"] == messaging[0]["payload"] == nova[0]["data"]
    assert kith["payload"]["text"] == "the same for all"
    assert made == 2, "seven clients of two dialects: one translation each"


async def test_a_client_of_003_and_one_of_004_talk_to_each_other(node: KithNode) -> None:
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with client_of(anna, NOTIFICATIONS) as nova, client_of(ben, "/ws", "messaging.v1") as messaging:
        for socket in (nova, messaging):
            await told(socket)
            await told(socket)
        send = {"conversation_id": chat, "client_id": str(uuid.uuid4()), "text": "from 004"}
        await messaging.send_message(json.dumps({"type": "send", "ref": 1, "payload": send}))
        assert (await told(messaging))["type"] == "ok"
        heard = await told(nova)
        assert (heard["event"], heard["data"]["text"]) == ("message_received", "from 004")
        send = {"conversation_id": chat, "client_id": str(uuid.uuid4()), "text": "from 003"}
        await nova.send_message(json.dumps({"event": "message.send", "ref": "x", "data": send}))
        ok = await told(nova)
        assert (ok["event"], ok["ref"], ok["data"]["seq"]) == ("ok", "x", 2)
        heard = await told(messaging)
        assert (heard["type"], heard["payload"]["text"]) == ("message_created", "from 003")
        await nova.send_message(json.dumps({"event": "online_status", "ref": 1, "data": {"status": "online"}}))
        assert (await told(nova))["data"]["code"] == "NOT_IMPLEMENTED"


async def test_a_node_that_stops_says_so_in_every_dialect(node: KithNode) -> None:
    anna = await register(node)
    async with client_of(anna, NOTIFICATIONS) as nova:
        await told(nova)
        await told(nova)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.stop)
            gone = await told(nova)
    assert (gone["event"], set(gone["data"])) == ("going_away", {"reconnect_after"})


# -- 001's JavaScript, in Node ----------------------------------------------------------------------------------------

# Walkthrough 7 as it stands there, but for the address, the token and the end.
SNIPPET = """
const [url, token] = process.argv.slice(2);
const ws = new WebSocket(`${url}/ws`, {
  headers: { 'Authorization': `Bearer ${token}` }
});

let heard = 0;
ws.onmessage = (event) => {
  const data = JSON.parse(event.data);

  if (data.type === 'story.viewed') {
    console.log(`Story ${data.payload.story_id} viewed by ${data.payload.viewer_id}`);
    heard += 1;
  }

  if (data.type === 'story.reacted') {
    console.log(`Story ${data.payload.story_id} reacted with ${data.payload.emoji}`);
    heard += 1;
  }
  if (data.type === 'caught_up') console.log('listening');
  if (heard === 2) ws.close();
};
ws.onclose = () => process.exit(heard === 2 ? 0 : 1);
ws.onerror = (error) => console.log(`error: ${error.message}`);
"""


class Here(KithNode):
    """A node in this process, so that a test can cause events that nothing causes yet."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.mark.soak
async def test_the_javascript_of_001_runs_unchanged(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node's own WebSocket takes headers as the snippet gives them; before version 22 it wants to be asked for."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node here")
    nodes: list[Node] = []

    async def watched(*arguments: Any) -> Node:
        nodes.append(await assemble(*arguments))
        return nodes[0]

    monkeypatch.setattr(main, "assemble", watched)
    settings = load_settings(
        {"DATABASE_URL": database_url, "JWT_SECRET": "0123456789abcdef" * 3, "KITH_VAR": str(tmp_path)}
    )
    listener = socket.create_server(("127.0.0.1", 0))
    ready = trio.Event()
    script = tmp_path / "walkthrough.mjs"
    script.write_text(SNIPPET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main.serve, settings, [listener], ready.set)
        await ready.wait()
        here = Here(f"http://127.0.0.1:{listener.getsockname()[1]}")
        anna = await register(here, "anna")
        command = [program, "--experimental-websocket", str(script), here.url.replace("http", "ws", 1), anna.token]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = b""
        with trio.fail_after(30):
            while b"listening" not in said:
                said += await process.stdout.receive_some() or pytest.fail("Node ended before it listened")
            for name, payload in (
                ("story.viewed", {"story_id": "s1", "viewer_id": "v1", "view_count": 1}),
                ("story.reacted", {"story_id": "s1", "user_id": "v1", "emoji": "🔥", "counts": {"🔥": 1}}),
            ):
                event = Deliver(event_frame(name, payload), ConversationId(""), 0, UserId(""))
                nodes[0].population.users.tell(UserId(anna.id), event)
            async for more in process.stdout:
                said += more
            code = await process.wait()
        nursery.cancel_scope.cancel()
    assert said.decode().splitlines() == ["listening", "Story s1 viewed by v1", "Story s1 reacted with 🔥"]
    assert code == 0
