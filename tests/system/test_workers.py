"""`kith serve --workers 3`: one port and several processes, each of which may die, hang or be replaced."""

import json
import os
import signal
import socket
import subprocess
import uuid
from pathlib import Path

import psutil
import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from realtime.wire.handshake import client_request
from tests.conftest import copy_of_var
from tests.system.conftest import StartNode
from tests.system.crew import MANY, WORKERS, by_worker, family_of, lives, until, until_crew_is, workers_of
from tests.system.database import query, stored_messages
from tests.system.harness import KithNode, Person, Phone, phone_of, register
from tests.system.started import KITH, Started, assert_nothing_left, environment, eventually, folder_for_var

ALL = set(range(1, WORKERS + 1))


class Talkers:
    """Clients that send one message after the other and come back when they are told to go."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.closes: list[int | None] = []
        self.waits: list[float] = []
        self.over = trio.Event()

    async def talk(self, person: Person, chat: str) -> None:
        """What got no answer has an unknown outcome and is sent again under the same id, as a client does."""
        client_id = str(uuid.uuid4())
        while not self.over.is_set():
            async with phone_of(person) as phone:
                while phone.closed is None and not self.over.is_set():
                    payload = {"conversation_id": chat, "client_id": client_id, "text": "hello"}
                    try:
                        frame = await phone.frame(await phone.send("message.send", payload))
                    except (AssertionError, ConnectionClosed):
                        break
                    if frame["type"] == "ok":
                        self.acknowledged[client_id] = frame["payload"]["message_id"]
                        client_id = str(uuid.uuid4())
                    else:
                        assert frame["error"]["code"] in ("TRY_AGAIN", "UNAVAILABLE"), frame
                    await trio.sleep(0.01)
                if not self.over.is_set():
                    await phone.until(lambda: phone.closed is not None, "the close")
                    self.closes.append(phone.closed)
                    self.waits += [e["payload"]["reconnect_after"] for e in phone.events if e["type"] == "going_away"]

    def judge(self, database_url: str) -> None:
        stored = {row["client_id"]: row["id"] for row in stored_messages(database_url)}
        assert len(self.acknowledged) > 20
        assert {c: stored.get(c) for c in self.acknowledged} == self.acknowledged


async def pairs(node: KithNode, number: int) -> list[tuple[Person, str]]:
    found = []
    for _ in range(number):
        anna, ben = await register(node, "anna"), await register(node, "ben")
        chat = await anna.chat_with(ben)
        found += [(anna, chat), (ben, chat)]
    return found


async def test_three_workers_are_one_server(start_node: StartNode, database_url: str) -> None:
    node = await start_node(**MANY, KITH_NODE="host", DATABASE_POOL_MAX="17")
    family = family_of(node)
    assert set(workers_of(node)) == ALL
    assert sorted(query(database_url, "select node from nodes").split()) == ["host-1", "host-2", "host-3"]
    await until_crew_is(node, "ok")

    async with trio.open_nursery() as nursery:
        streams: list[trio.SocketStream] = []

        async def connect(times: int) -> None:
            for _ in range(times):
                stream = await trio.open_tcp_stream("127.0.0.1", int(node.url.rsplit(":", 1)[1]))
                streams.append(stream)
                await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: kith\r\n\r\n")
                assert (await stream.receive_some(1_000)).startswith(b"HTTP/1.1 200"), "not even one is refused"

        for _ in range(10):
            nursery.start_soon(connect, 30)
    connections = await by_worker(node, "gateway_connections")
    assert set(connections) == ALL
    assert sum(connections.values()) >= 300
    assert min(connections.values()) >= 30, f"somebody has next to nothing to do: {connections}"
    connected = int(query(database_url, "select count(*) from pg_stat_activity where application_name like 'kith%'"))
    assert WORKERS * 2 <= connected <= 17
    for stream in streams:
        await stream.aclose()

    async with node.http() as http:
        text = (await http.get("/metrics")).text
    heads = [line for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(heads) == len(set(heads))
    assert {line for line in text.splitlines() if line.startswith("up_worker{")} == {
        f'up_worker{{worker="{number}"}} 1' for number in ALL
    }

    await a_message_crosses_from_worker_to_worker(node)
    await a_logout_closes_the_sockets_on_all_workers(node)

    node.signal(signal.SIGTERM)
    node.signal(signal.SIGINT)  # the same wish, heard twice
    assert await node.stop(seconds=10.0) == 0
    assert [process for process in family if lives(process)] == []
    assert node.process is not None
    assert node.process.stdout is not None
    assert node.process.stdout.read() == "", "one line is all that belongs on stdout"
    logged = [json.loads(line) for line in node.log.read_text().splitlines()]
    assert {line["worker"] for line in logged if line["logger"] == "kith.node" and line["msg"] == "stopped"} == ALL
    assert (node.var / "stopped-in-order").exists()
    assert "haste" not in node.log.read_text()


async def test_kill_9_of_a_worker_under_load(start_node: StartNode, database_url: str) -> None:
    node = await start_node(**MANY)
    talkers = Talkers()
    async with trio.open_nursery() as nursery:
        for person, chat in await pairs(node, 6):
            nursery.start_soon(talkers.talk, person, chat)
        await until(lambda: len(talkers.acknowledged) > 20, "everybody to talk", 20.0)
        sockets = await by_worker(node, "gateway_websockets")
        victim = max(sockets, key=lambda number: sockets[number])
        before = workers_of(node)
        os.kill(before[victim], signal.SIGKILL)
        await until(lambda: workers_of(node).get(victim) not in (None, before[victim]), "a new process", 1.0)
        ready = f'"msg": "a worker is ready", "worker": {victim}'
        await until(lambda: node.log.read_text().count(ready) == 2, "the new worker to serve", 20.0)
        said = len(talkers.acknowledged)
        await until(lambda: len(talkers.acknowledged) > said + 20, "everybody to talk again", 20.0)
        talkers.over.set()
    assert len(talkers.closes) == sockets[victim] > 0, "who was connected elsewhere noticed nothing"
    assert set(talkers.closes) == {1006}
    assert {number: pid for number, pid in workers_of(node).items() if number != victim} == {
        number: pid for number, pid in before.items() if number != victim
    }
    talkers.judge(database_url)
    # It counts as a crash: what protects passwords is not full again.
    died = [line for line in node.log.read_text().splitlines() if '"a worker has died"' in line]
    assert len(died) == 1
    assert "--after-crash" in psutil.Process(workers_of(node)[victim]).cmdline()
    assert await node.stop() == 0


async def test_a_rolling_restart_refuses_nobody(start_node: StartNode, database_url: str) -> None:
    node = await start_node(**MANY)
    talkers = Talkers()
    connected = 0

    async def knock() -> None:
        """A new connection each time, by HTTP and by WebSocket; not one may be refused or reset."""
        nonlocal connected
        while not talkers.over.is_set():
            async with node.http() as http:
                assert (await http.get("/healthz")).status_code == 200
            async with open_websocket_url(node.url.replace("http", "ws", 1) + "/ws"):
                connected += 1
            await trio.sleep(0.02)

    async def knock_slowly() -> None:
        """Let in by a worker that is told to stop before the head has come."""
        while not talkers.over.is_set():
            stream = await trio.open_tcp_stream("127.0.0.1", int(node.url.rsplit(":", 1)[1]))
            await trio.sleep(0.1)
            await stream.send_all(client_request("kith.test", "/ws", b"dGhlIHNhbXBsZSBub25jZQ==", []))
            assert (await stream.receive_some(1_000)).startswith(b"HTTP/1.1 101")
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        for person, chat in await pairs(node, 4):
            nursery.start_soon(talkers.talk, person, chat)
        for _ in range(2):
            nursery.start_soon(knock)
        for _ in range(6):
            nursery.start_soon(knock_slowly)
        await until(lambda: len(talkers.acknowledged) > 20, "everybody to talk", 20.0)
        before = workers_of(node)
        node.signal(signal.SIGHUP)
        await until(lambda: "all workers are new" in node.log.read_text(), "the restart of all", 60.0)
        said = len(talkers.acknowledged)
        await until(lambda: len(talkers.acknowledged) > said + 20, "everybody to talk again", 20.0)
        talkers.over.set()
    after = workers_of(node)
    assert set(after) == ALL
    assert not set(before.values()) & set(after.values())
    assert connected > 20
    assert talkers.closes
    assert set(talkers.closes) == {4000}
    assert len(talkers.waits) == len(talkers.closes)
    assert all(0.5 <= wait <= 5 for wait in talkers.waits)
    talkers.judge(database_url)
    assert not [line for line in node.log.read_text().splitlines() if json.loads(line)["level"] == "error"]
    assert await node.stop() == 0


async def test_a_worker_that_hangs_keeps_nobody_waiting(start_node: StartNode) -> None:
    node = await start_node(**MANY)
    stopped = workers_of(node)[2]
    os.kill(stopped, signal.SIGSTOP)
    for _ in range(200):
        with trio.fail_after(1.0):
            stream = await trio.open_tcp_stream("127.0.0.1", int(node.url.rsplit(":", 1)[1]))
            await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: kith\r\nconnection: close\r\n\r\n")
            assert (await stream.receive_some(1_000)).startswith(b"HTTP/1.1 200")
            await stream.aclose()
    assert await by_worker(node, "up_worker") == {1: 1.0, 2: 0.0, 3: 1.0}
    await until(lambda: "a worker does not answer" in node.log.read_text(), "the supervisor to notice", 6.0)
    await until_crew_is(node, "2 of 3 live")
    # Woken, it is one of them again; stopped again, it still ends in order.
    os.kill(stopped, signal.SIGCONT)
    await until_crew_is(node, "ok")
    os.kill(stopped, signal.SIGSTOP)
    assert await node.stop(seconds=10.0) == 0
    assert (node.var / "stopped-in-order").exists()


async def a_message_crosses_from_worker_to_worker(node: KithNode) -> None:
    """With no REDIS_URL: the supervisor's own Valkey wakes the other worker's sweep."""
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with phone_of(anna) as here:
        alone = await by_worker(node, "gateway_websockets")
        for _ in range(20):
            async with phone_of(ben) as there:
                both = await by_worker(node, "gateway_websockets")
                if max(both.values()) > max(alone.values()):
                    continue  # at the same worker
                await here.say(chat, "from the next room")
                with trio.fail_after(2.0):
                    await there.event("message.created", text="from the next room")
                return
    raise AssertionError("all sockets are at the same worker")


async def a_logout_closes_the_sockets_on_all_workers(node: KithNode) -> None:
    anna = await register(node, "anna")
    phones: list[Phone] = []

    async def hold() -> None:
        async with phone_of(anna) as phone:
            phones.append(phone)
            await phone.until(lambda: phone.closed is not None, "the close")

    async with trio.open_nursery() as nursery:
        while len({number for number, n in (await by_worker(node, "gateway_websockets")).items() if n}) < WORKERS:
            assert len(phones) < 20, "all sockets are at the same worker"
            nursery.start_soon(hold)
            await trio.sleep(0.1)
        async with anna.http() as http:
            answer = await http.post("/api/v1/auth/logout", json={"refresh_token": anna.answer["refresh_token"]})
        assert answer.status_code in (200, 204), answer.text
        await until(lambda: all(phone.closed is not None for phone in phones), "all sockets to be closed", 6.0)
    assert {phone.closed for phone in phones} == {4503}


def test_a_killed_supervisor_leaves_nothing_but_what_its_successor_takes_over(stopped_var: Path) -> None:
    """With everything embedded: PostgreSQL stays for the next start, workers and Valkey do not."""
    with folder_for_var() as folder:
        var = copy_of_var(stopped_var, folder.parent)
        node = Started(var, (*KITH, "serve", "--workers", "2"))
        node.ready()
        family = psutil.Process(node.process.pid).children()
        postgres = node.postgres_pid
        (valkey,) = [process for process in family if process.name() == "valkey-server"]
        assert not [part for part in valkey.cmdline() if "requirepass" in part]
        valkey.kill()
        eventually(lambda: "Valkey has gone" in node.text(), "the supervisor to notice")
        family += psutil.Process(node.process.pid).children()
        left = [process for process in family if process.pid != postgres and lives(process)]
        assert len({process.pid for process in left}) == 3
        node.kill()
        eventually(lambda: not any(map(lives, left)), "workers and Valkey to end")
        assert node.text().count('"msg": "the supervisor has gone') == 2
        assert psutil.pid_exists(postgres)
        successor = Started(var, (*KITH, "serve", "--workers", "2"))
        successor.ready()
        assert successor.postgres_pid == postgres
        assert "taken over" in successor.text()
        assert successor.stop(signal.SIGINT) == 0
        assert_nothing_left(var, successor.home)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"KITH_WORKERS": "6"}, "DATABASE_POOL_MAX is 25 and must be at least 30 for KITH_WORKERS=6: 5 for each"),
        ({"KITH_WORKERS": "0"}, "KITH_WORKERS is '0' and must be"),
    ],
)
def test_a_contradiction_is_named_at_the_start(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    refused = serve_and_fail(tmp_path / "var", **settings)
    assert sentence in refused


def test_a_taken_port_is_said_before_any_worker_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = serve_and_fail(tmp_path / "var", "--workers", "2", PORT=str(taken.getsockname()[1]))
    assert "is taken" in refused
    assert not (tmp_path / "var" / "postgres").exists()


def serve_and_fail(var: Path, *flags: str, **settings: str) -> str:
    done = subprocess.run(
        [*KITH, "serve", *flags], env=environment(var, **settings), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_stop_while_the_database_is_awaited_takes_no_patience(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"postgresql://kith@127.0.0.1:{nobody.getsockname()[1]}/kith?connect_timeout=2"
        nobody.close()
        node = Started(tmp_path / "var", (*KITH, "serve", "--workers", "2"), DATABASE_URL=url)
        eventually(lambda: "the database does not answer yet" in node.text(), "the first try")
        assert node.stop() == 0
        assert_nothing_left(tmp_path / "var")
