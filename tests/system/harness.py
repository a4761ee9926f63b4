"""A real node as a process of its own, and a real client: what the system tests are made of."""

import json
import os
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

CHECKOUT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
ANSWER_SECONDS = 10.0
# A client reads the authorities of the whole world otherwise, 27 ms for each that is made; ours speak no TLS at all.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class KithNode:
    """`kith serve` on a free port with a folder of its own; its database is shared with whoever was given the same."""

    def __init__(self, var: Path, database_url: str, **settings: str) -> None:
        self.var = var
        self.log = var.parent / f"{var.name}.log"
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'http'}",
            "KITH_VAR": str(var),
            "DATABASE_URL": database_url,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "JWT_SECRET": "a secret for tests that is long enough 0123456789",
            **settings,
        }
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    async def start(self) -> "KithNode":
        with self.log.open("a") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - a test kills it by pid; it takes milliseconds
                [sys.executable, "-m", "realtime.cli", "serve"],
                cwd=CHECKOUT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = ""
        with trio.move_on_after(READY_SECONDS):
            line = await trio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
        if "http" not in line:
            raise AssertionError(
                f"no URL within {READY_SECONDS} s but {line!r}; its log:\n{self.log.read_text()[-4000:]}"
            )
        self.url = "http" + line.split("http", 1)[1].strip()
        # Nothing of a later stop changes the port: a client that comes back must find the node where it was.
        self._environment["PORT"] = self.url.rsplit(":", 1)[1].strip("/")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9, as a machine that loses its power would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self, seconds: float = 15.0) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        with trio.move_on_after(seconds):
            await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        if self.process.poll() is None:
            self.kill()
            raise AssertionError(f"the node did not stop within {seconds} s; its log:\n{self.log.read_text()[-4000:]}")
        return self.process.returncode

    def http(self, token: str | None = None) -> httpx.AsyncClient:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=ANSWER_SECONDS, verify=NO_AUTHORITIES)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        async with self.http() as http:
            lines = (await http.get("/metrics")).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


class Person:
    """Somebody who registered."""

    def __init__(self, node: KithNode, answer: dict[str, Any]) -> None:
        self.node = node
        self.id: str = answer["user_id"]
        self.token: str = answer["access_token"]
        self.answer = answer

    def http(self) -> httpx.AsyncClient:
        return self.node.http(self.token)

    async def chat_with(self, other: "Person") -> str:
        async with self.http() as http:
            answer = await http.post("/api/v1/conversations", json={"type": "direct", "member_ids": [other.id]})
        assert answer.status_code in (200, 201), answer.text
        found: str = answer.json()["id"]
        return found


async def register(node: KithNode, name: str = "someone") -> Person:
    async with node.http() as http:
        body = {"email": f"{name}-{uuid.uuid4().hex}@example.org", "password": "correct horse battery"}
        answer = await http.post("/api/v1/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    return Person(node, answer.json())


class RefusedError(Exception):
    """The server answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["code"])
        self.code: str = error["code"]
        self.error = error


class Phone:
    """One WebSocket of a person: commands wait for their answer, events are kept in the order they came."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.closed: int | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self._news = trio.Event()
        self._refs = iter(range(1, 1_000_000))

    async def listen(self) -> None:
        try:
            while True:
                frame = json.loads(await self.socket.get_message())
                if frame["type"] in ("ok", "error", "connected") and isinstance(frame.get("ref"), int):
                    self._answers[frame["ref"]] = frame
                else:
                    self.events.append(frame)
                self._news.set()
                self._news = trio.Event()
        except ConnectionClosed as end:
            self.closed = end.reason.code if end.reason is not None else 1006
            self._news.set()

    async def until(self, what: Callable[[], Any], named: str) -> Any:
        with trio.move_on_after(ANSWER_SECONDS):
            while not what():
                if self.closed is not None and self._news.is_set():
                    break
                await self._news.wait()
        found = what()
        if not found:
            raise AssertionError(f"waited for {named}; closed: {self.closed}; events: {self.events[-5:]}")
        return found

    async def send(self, type: str, payload: dict[str, Any]) -> int:
        ref = next(self._refs)
        await self.socket.send_message(json.dumps({"type": type, "ref": ref, "payload": payload}))
        return ref

    async def frame(self, ref: int) -> dict[str, Any]:
        """The `ok` or `error` with this ref, as it is."""
        await self.until(lambda: ref in self._answers, f"the answer to {ref}")
        return self._answers.pop(ref)

    async def refusal(self, type: str, **payload: Any) -> dict[str, Any]:
        """The error that this command is answered with."""
        frame = await self.frame(await self.send(type, payload))
        assert frame["type"] == "error", frame
        error: dict[str, Any] = frame["error"]
        return error

    async def answer(self, ref: int) -> dict[str, Any]:
        frame = await self.frame(ref)
        if frame["type"] == "error":
            raise RefusedError(frame["error"])
        payload: dict[str, Any] = frame["payload"]
        return payload

    async def ask(self, type: str, **payload: Any) -> dict[str, Any]:
        return await self.answer(await self.send(type, payload))

    async def say(self, chat: str, text: str, client_id: str | None = None) -> dict[str, Any]:
        return await self.ask("message.send", conversation_id=chat, client_id=client_id or str(uuid.uuid4()), text=text)

    async def event(self, type: str, **fields: Any) -> dict[str, Any]:
        """The first event of this type whose payload has these fields."""

        def match() -> dict[str, Any] | None:
            for event in self.events:
                if event["type"] == type and fields.items() <= event["payload"].items():
                    return event
            return None

        found: dict[str, Any] = await self.until(match, f"{type} with {fields}")
        return found


@asynccontextmanager
async def phone_of(person: Person, path: str = "/ws", **hello: Any) -> AsyncIterator[Phone]:
    """A connected phone: hello said, `caught_up` heard."""
    url = person.node.url.replace("http", "ws", 1) + path
    async with open_websocket_url(url) as socket, trio.open_nursery() as nursery:
        phone = Phone(socket)
        nursery.start_soon(phone.listen)
        await phone.ask("hello", token=person.token, **hello)
        await phone.event("caught_up")
        yield phone
        # While it still listens: trio-websocket's close waits for a reader that nobody takes messages from.
        with trio.move_on_after(2):
            await socket.aclose()
        nursery.cancel_scope.cancel()
