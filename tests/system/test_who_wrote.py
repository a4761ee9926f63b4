"""Everything is an actor: whatever changes something is called, and each change has the name of an actor."""

import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from realtime.main import serve
from realtime.settings import load_settings
from storage.accounts import PostgresAccounts
from storage.journal.journal import PostgresJournal
from storage.tickets import PostgresTickets
from tests.system.harness import KithNode, Person, phone_of, register
from webapi.app import ROUTES

WRITES = ("register", "open_login", "rotate_login", "close_logins", "change_password")


class Here(KithNode):
    """A node in this process, so that a test can look over its shoulder."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(actor, what) of every write that reaches storage."""
    seen: list[tuple[str, str]] = []

    def watch(owner: type, name: str) -> None:
        original = getattr(owner, name)

        async def watched(self: Any, token: Any, *rest: Any) -> Any:
            assert token.valid, "a write without a living actor"
            seen.append((token.actor, name if name != "append" else type(rest[0]).__name__))
            return await original(self, token, *rest)

        monkeypatch.setattr(owner, name, watched)

    watch(PostgresJournal, "append")
    for name in WRITES:
        watch(PostgresAccounts, name)
    watch(PostgresTickets, "spend")
    return seen


async def test_every_change_is_written_by_an_actor(
    tmp_path: Path, database_url: str, written: list[tuple[str, str]]
) -> None:
    secret = "0123456789abcdef" * 3
    settings = load_settings({"DATABASE_URL": database_url, "JWT_SECRET": secret, "KITH_VAR": str(tmp_path)})
    listener = socket.create_server(("127.0.0.1", 0))
    ready = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, settings, [listener], ready.set)
        await ready.wait()
        node = Here(f"http://127.0.0.1:{listener.getsockname()[1]}")
        anna, ben = await register(node, "anna"), await register(node, "ben")
        await change_everything(anna, ben, written)
        nursery.cancel_scope.cancel()


async def change_everything(anna: Person, ben: Person, written: list[tuple[str, str]]) -> None:
    """One call after the other, and after each who wrote what."""
    user = f"user/{anna.id}"
    called = {"POST /auth/register"}
    assert written == [(user, "register"), (f"user/{ben.id}", "register")]

    async def call(method: str, route: str, body: dict[str, Any] | None, expected: list[tuple[str, str]]) -> Any:
        called.add(f"{method} {route}")
        written.clear()
        path = route.replace("{user_id}", "me").replace("{session_id}", login).replace("{conversation_id}", chat)
        answer = await http.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        assert written == expected, route
        return answer.json() if answer.content else None

    login = chat = ""
    password = "correct horse battery"
    async with anna.http() as http:
        sign_in = {"email": anna.answer["email"], "password": password}
        again = await call("POST", "/auth/login", sign_in, [(user, "open_login")])
        await call("POST", "/auth/refresh", {"refresh_token": again["refresh_token"]}, [(user, "rotate_login")])
        await call("PATCH", "/users/{user_id}", {"display_name": "Anna"}, [(user, "ProfileUnit")])
        ticket = (await call("POST", "/auth/ticket", None, []))["ticket"]
        async with phone_of(anna, f"/ws?ticket={ticket}"):
            assert written == [(user, "spend")]
        sessions = (await http.get("/auth/sessions")).json()["items"]
        login = next(session["id"] for session in sessions if not session["current"])
        await call("DELETE", "/auth/sessions/{session_id}", None, [(user, "close_logins")])
        change = {"current_password": password, "new_password": "battery staple horse"}
        await call("POST", "/auth/password", change, [(user, "change_password")])
        written.clear()
        made = await http.post("/conversations", json={"type": "direct", "member_ids": [ben.id]})
        chat = made.json()["id"]
        called.add("POST /conversations")
        assert written == [(f"conversation/{chat}", "BirthUnit")]
        send = [(f"conversation/{chat}", "ConversationUnit")]
        await call("POST", "/conversations/{conversation_id}/messages", {"text": "over HTTP"}, send)
        written.clear()
        async with phone_of(anna) as phone:
            await phone.say(chat, "over the socket")
            assert written == send
        await call("POST", "/auth/logout", None, [(user, "close_logins")])
    changing = {f"{route.method} {route.path}" for route in ROUTES if route.method != "GET"}
    assert called == changing, "a route that changes something is not in this test"
