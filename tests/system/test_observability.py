"""What a node tells about itself: metrics that move, logs without content, health that says the truth."""

import json
import uuid
from datetime import datetime

import trio

from tests.proxy.cutting import CuttingProxy, Fault
from tests.system.conftest import StartNode
from tests.system.harness import KithNode, phone_of, register

MOVES = (
    "http_requests_total", "http_request_seconds_count", "gateway_accepted_total", "gateway_handshakes_total",
    "gateway_connections", "gateway_websockets", "gateway_frames_in_total", "gateway_frames_out_total",
    "gateway_bytes_in_total", "gateway_bytes_out_total", "gateway_sends_total", "gateway_reads_total",
    "messages_total", "commands_total", "command_errors_total", "delivery_seconds_count", "journal_flushes_total",
    "journal_units_total", "journal_rows_total", "journal_commit_seconds_count", "journal_batch_rows_count",
    "journal_repeated_total", "actors_awake", "actors_activations_total", "password_hash_seconds_count",
)  # fmt: skip


async def test_every_named_metric_moves(node: KithNode) -> None:
    before = {name: await node.metric(name) for name in MOVES}
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with phone_of(anna) as phone, phone_of(ben) as other:
        client_id = str(uuid.uuid4())
        await phone.say(chat, "first", client_id)
        for number in range(20):
            await phone.say(chat, str(number))
        await phone.say(chat, "first", client_id)  # known to the database only
        await other.event("message.created", text="19")
        assert (await phone.refusal("no.such_command"))["code"] == "UNKNOWN_TYPE"
        after = {name: await node.metric(name) for name in MOVES}
    assert [name for name in MOVES if after[name] <= before[name]] == []
    async with node.http() as http:
        exposed = (await http.get("/metrics")).text
    assert 'http_requests_total{code="201",method="POST",route="/auth/register"} 2.0' in exposed
    assert 'actors_awake{kind="conversation"}' in exposed


async def test_logs_are_json_and_tell_nothing_private(node: KithNode) -> None:
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    secret = "the-content-nobody-may-log"
    async with phone_of(anna) as phone:
        await phone.say(chat, secret)
        await phone.socket.send_message("{" + secret)
        await phone.until(lambda: [e for e in phone.events if e["type"] == "error"], "the error")
    async with node.http() as http:
        await http.post("/auth/login", json={"email": "private@example.org", "password": secret})
        answer = await http.post("/auth/login", content=secret, headers={"content-type": "application/json"})
        assert answer.json()["request_id"].startswith("req_")
    assert await node.stop() == 0
    lines = node.log.read_text().splitlines()
    assert lines
    for line in lines:
        record = json.loads(line)
        assert {"time", "level", "msg"} <= record.keys()
        assert datetime.fromisoformat(record["time"]).tzinfo is not None
        assert record["level"] in ("info", "warning"), record
    text = "\n".join(lines)
    for private in (secret, "private@example.org", anna.token, anna.answer["email"], anna.answer["refresh_token"]):
        assert private not in text


async def test_health_tells_whether_the_node_serves(node: KithNode) -> None:
    async with node.http() as http:
        health, ready = await http.get("/healthz"), await http.get("/readyz")
    assert (health.status_code, ready.status_code) == (200, 200)
    checks = health.json()["checks"]
    assert {name: check["state"] for name, check in checks.items()} == {
        "database": "ok", "journal": "ok", "redis": "not configured", "storage": "not configured",
    }  # fmt: skip
    assert all(check["latency_ms"] >= 0 for check in checks.values())


async def test_an_outage_of_postgresql_costs_no_connection_and_no_message(
    start_node: StartNode, database_url: str
) -> None:
    """Clients stay connected, what is under way waits, health says so, and all goes on when the database is back."""
    proxy = CuttingProxy(database_url)
    async with proxy.open():
        node = await start_node(DATABASE_URL=proxy.url, CONVERSATION_IDLE_SECONDS="600")
        anna, ben = await register(node, "anna"), await register(node, "ben")
        chat = await anna.chat_with(ben)
        async with phone_of(anna) as phone, phone_of(ben) as other:
            await phone.say(chat, "before")
            proxy.plan = lambda: Fault.BEFORE
            payload = {"conversation_id": chat, "client_id": str(uuid.uuid4()), "text": "during"}
            ref = await phone.send("message.send", payload)
            await trio.sleep(1)
            async with node.http() as http:
                health, ready = await http.get("/healthz"), await http.get("/readyz")
            assert (health.status_code, health.json()["status"], ready.status_code) == (503, "down", 503)
            assert (phone.closed, other.closed) == (None, None)
            assert [e for e in other.events if e["payload"].get("text") == "during"] == [], (
                "shown before it was on disk"
            )
            proxy.plan = lambda: Fault.NONE
            sent = await phone.answer(ref)
            event = await other.event("message.created", id=sent["message_id"])
            assert (sent["seq"], event["payload"]["text"]) == (2, "during")
        assert await node.metric("journal_retries_total") > 0


async def test_a_full_journal_refuses_and_says_that_nothing_happened(start_node: StartNode, database_url: str) -> None:
    proxy = CuttingProxy(database_url)
    async with proxy.open():
        node = await start_node(DATABASE_URL=proxy.url, JOURNAL_MAX_ROWS="100", JOURNAL_BATCH_ROWS="100")
        people = [await register(node, "one") for _ in range(9)]
        async with phone_of(people[0]) as phone:
            chats = [await people[0].chat_with(other) for other in people[1:]]
            proxy.plan = lambda: Fault.BEFORE
            refs = []
            for number in range(40):  # each chat's actor holds one batch; what comes meanwhile waits in its mailbox
                for chat in chats:
                    payload = {"conversation_id": chat, "client_id": str(uuid.uuid4()), "text": str(number)}
                    refs.append(await phone.send("message.send", payload))
            await trio.sleep(1)
            proxy.plan = lambda: Fault.NONE
            frames = [await phone.frame(ref) for ref in refs]
            opened = [await phone.ask("conversation.open", conversation_id=chat) for chat in chats]
        errors = [frame["error"] for frame in frames if frame["type"] == "error"]
        assert {(error["code"], error["outcome"]) for error in errors} <= {("UNAVAILABLE", "none")}
        assert sum(view["rev"] - 1 for view in opened) == len(frames) - len(errors)
