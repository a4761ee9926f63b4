"""Everything is an actor: whatever changes something is called, and each change has the name of an actor."""

import base64
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.rules.totp import code_at, step_of
from actors.shapes.times import WallTime
from realtime.main import serve
from realtime.settings import load_settings
from storage.accounts import PostgresAccounts
from storage.appeals import PostgresAppeals
from storage.audit import PostgresAudit
from storage.grants import set_admin
from storage.journal.journal import PostgresJournal
from storage.reports import PostgresReports
from storage.sign_in import PostgresSignIn
from storage.standing import PostgresStanding
from storage.tickets import PostgresTickets
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, OidcProvider, open_provider
from tests.system.harness import KithNode, Person, phone_of, register
from webapi.app import ROUTES

WRITES = ("register", "open_login", "rotate_login", "close_logins", "change_password")
MODERATION = ("/admin", "/reports", "/appeals")
SIGN_IN = ("/auth/totp", "/auth/oidc", "/auth/identities")
SIGN_IN_WRITES = (
    "begin_totp", "confirm_totp", "note_failure", "disable_totp", "renew_recovery", "open_login", "register", "link",
    "unlink", "spend_code",
)  # fmt: skip


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
    for name in SIGN_IN_WRITES:
        watch(PostgresSignIn, name)
    for name in ("suspend", "restore", "sign_out"):
        watch(PostgresStanding, name)
    for owner in (PostgresReports, PostgresAppeals):
        watch(owner, "file")
        watch(owner, "decide")
    watch(PostgresAudit, "note")
    return seen


@asynccontextmanager
async def serving(tmp_path: Path, database_url: str, **more: str) -> AsyncIterator[KithNode]:
    secret = "0123456789abcdef" * 3
    settings = load_settings({"DATABASE_URL": database_url, "JWT_SECRET": secret, "KITH_VAR": str(tmp_path), **more})
    listener = socket.create_server(("127.0.0.1", 0))
    ready = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, settings, [listener], ready.set)
        await ready.wait()
        yield Here(f"http://127.0.0.1:{listener.getsockname()[1]}")
        nursery.cancel_scope.cancel()


async def test_every_change_is_written_by_an_actor(
    tmp_path: Path, database_url: str, written: list[tuple[str, str]]
) -> None:
    async with serving(tmp_path, database_url) as node:
        anna, ben = await register(node, "anna"), await register(node, "ben")
        await change_everything(anna, ben, written)


async def test_so_is_every_report_appeal_and_measure(
    tmp_path: Path, database_url: str, written: list[tuple[str, str]]
) -> None:
    async with serving(tmp_path, database_url) as node:
        await moderate_everything(node, database_url, written)


async def test_so_is_every_code_and_every_identity(
    tmp_path: Path, database_url: str, written: list[tuple[str, str]]
) -> None:
    async with open_provider() as provider:
        configured = {
            "OIDC_ISSUER": provider.issuer,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_REDIRECT_URIS": REDIRECT_URI,
        }
        async with serving(tmp_path, database_url, **configured) as node:
            await sign_in_in_every_way(await register(node, "anna"), provider, written)


async def test_so_is_a_code_that_opens_nothing(
    tmp_path: Path, database_url: str, written: list[tuple[str, str]]
) -> None:
    """Who is suspended hears why for a code, which his actor uses up."""
    password = "correct horse battery"
    async with serving(tmp_path, database_url) as node:
        judge, ben = await register(node, "judge"), await register(node, "ben")
        await set_admin(database_url, judge.id, is_admin=True)
        async with ben.http() as http:
            secret = (await http.post("/auth/totp/enable", json={"password": password})).json()["secret"]
            code = code_at(base64.b32decode(secret), step_of(WallTime(round(time.time() * 1000))))
            recovery = (await http.post("/auth/totp/confirm", json={"code": code})).json()["recovery_codes"]
        async with judge.http() as http:
            await http.post(f"/admin/users/{ben.id}/suspend", json={"reason": "x"})
            written.clear()
            body = {"email": ben.answer["email"], "password": password, "totp": recovery[0]}
            told = await http.post("/auth/login", json=body)
        assert (told.status_code, told.json()["error"]["details"]["reason"]) == (403, "x")
        assert written == [(f"user/{ben.id}", "spend_code")]


async def sign_in_in_every_way(anna: Person, provider: OidcProvider, written: list[tuple[str, str]]) -> None:
    user, called = f"user/{anna.id}", set()
    password = "correct horse battery"

    async def call(method: str, route: str, body: dict[str, Any] | None, expected: list[str]) -> Any:
        called.add(f"{method} {route}")
        written.clear()
        answer = await http.request(method, route.replace("{identity_id}", identity), json=body)
        assert answer.status_code < 300, answer.text
        assert [what for _, what in written] == expected, route
        return answer.json() if answer.content else None

    async def brought(route: str, **more: str) -> dict[str, str]:
        started = await call("POST", route, {"redirect_uri": REDIRECT_URI, **more}, [])
        return {"flow": started["flow"], **await provider.consent(started["authorization_url"])}

    identity = ""
    async with anna.http() as http:
        secret = (await call("POST", "/auth/totp/enable", {"password": password}, ["begin_totp"]))["secret"]
        step = step_of(WallTime(round(time.time() * 1000)))
        now, later = (code_at(base64.b32decode(secret), step + number) for number in (0, 1))
        recovery = (await call("POST", "/auth/totp/confirm", {"code": now}, ["confirm_totp"]))["recovery_codes"]
        shown = {"password": password, "code": recovery[0]}
        renewed = await call("POST", "/auth/totp/recovery-codes", shown, ["renew_recovery"])
        wrong = {"email": anna.answer["email"], "password": password, "totp": now}
        written.clear()
        assert (await http.post("/auth/login", json=wrong)).status_code == 401
        assert written == [(user, "note_failure")]
        written.clear()
        assert (await http.post("/auth/login", json=wrong | {"totp": later})).status_code == 200
        assert written == [(user, "open_login")]
        off = {"password": password, "code": renewed["recovery_codes"][3]}
        await call("POST", "/auth/totp/disable", off, ["disable_totp"])
        assert {actor for actor, _ in written} == {user}
        provider.is_somebody("anna")
        link = await brought("/auth/oidc/link/start", password=password)
        identity = (await call("POST", "/auth/oidc/link/finish", link, ["link"]))["id"]
        await call("POST", "/auth/oidc/finish", await brought("/auth/oidc/start"), ["open_login"])
        assert written[0][0] == user
        await call("DELETE", "/auth/identities/{identity_id}", None, ["unlink"])
        assert written[0][0] == user
        provider.is_somebody("newcomer")
        made = await call("POST", "/auth/oidc/finish", await brought("/auth/oidc/start"), ["register"])
        assert written[0][0] == f"user/{made['user_id']}"
    changing = {f"{r.method} {r.path}" for r in ROUTES if r.method != "GET" and r.path.startswith(SIGN_IN)}
    assert called == changing, "a route that changes something is not in this test"


async def change_everything(anna: Person, ben: Person, written: list[tuple[str, str]]) -> None:
    """One call after the other, and after each who wrote what."""
    user = f"user/{anna.id}"
    called = {"POST /auth/register"}
    assert written == [(user, "register"), (f"user/{ben.id}", "register")]

    async def call(method: str, route: str, body: dict[str, Any] | None, expected: list[tuple[str, str]]) -> Any:
        called.add(f"{method} {route}")
        written.clear()
        path = route.replace("{user_id}", "me").replace("{session_id}", login).replace("{conversation_id}", chat)
        path = path.replace("{message_id}", message)
        answer = await http.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        assert written == expected, route
        return answer.json() if answer.content else None

    login = chat = message = ""
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
        sent = await call("POST", "/conversations/{conversation_id}/messages", {"text": "over HTTP"}, send)
        message = sent["id"]
        await call("DELETE", "/messages/{message_id}", None, send)
        # Deleted already: the answer is the same, and nobody writes anything.
        await call("DELETE", "/conversations/{conversation_id}/messages/{message_id}", None, [])
        written.clear()
        async with phone_of(anna) as phone:
            await phone.say(chat, "over the socket")
            assert written == send
        await call("POST", "/auth/logout", None, [(user, "close_logins")])
    changing = {
        f"{route.method} {route.path}"
        for route in ROUTES
        if route.method != "GET" and not route.path.startswith(MODERATION + SIGN_IN)
    }
    assert called == changing, "a route that changes something is not in this test"


async def moderate_everything(node: KithNode, database_url: str, written: list[tuple[str, str]]) -> None:
    """Reports and appeals by who files them, measures by the actor of whom they strike."""
    judge, anna, ben = await register(node, "judge"), await register(node, "anna"), await register(node, "ben")
    await set_admin(database_url, judge.id, is_admin=True)
    the_judge, the_reporter, the_struck = (f"user/{person.id}" for person in (judge, anna, ben))
    chat = await ben.chat_with(anna)
    async with ben.http() as http:
        message = (await http.post(f"/conversations/{chat}/messages", json={"text": "rude"})).json()["message_id"]
    called: set[str] = set()

    async def call(
        who: Person, route: str, id: str, body: dict[str, Any] | None, expected: list[tuple[str, str]]
    ) -> Any:
        called.add(route)
        written.clear()
        method, path = route.split(" ")
        async with who.http() as http:
            answer = await http.request(method, re.sub(r"{\w+}", id, path), json=body)
        assert answer.status_code < 300, answer.text
        assert written == expected, route
        return answer.json()

    of_ben = {"kind": "user", "id": ben.id, "reason": "spam"}
    first = (await call(anna, "POST /reports", "", of_ben, [(the_reporter, "file")]))["id"]
    dismiss, warn = ({"decision": name, "note": "x"} for name in ("dismiss", "warn"))
    decide, users = "POST /admin/reports/{report_id}/decide", "POST /admin/users/{user_id}"
    await call(judge, decide, first, dismiss, [(the_judge, "decide")])
    second = (await call(anna, "POST /reports", "", of_ben, [(the_reporter, "file")]))["id"]
    await call(judge, decide, second, warn, [(the_judge, "decide")])
    filed = await call(ben, "POST /appeals", "", {"text": "no"}, [(the_struck, "file")])
    grant = {"decision": "grant", "note": "x"}
    await call(judge, "POST /admin/appeals/{appeal_id}/decide", filed["id"], grant, [(the_struck, "decide")])
    await call(judge, "GET /admin/users/{user_id}", ben.id, None, [(the_judge, "note")])
    wiped = [(f"conversation/{chat}", "ConversationUnit")]
    await call(judge, "DELETE /admin/messages/{message_id}", message, None, wiped)
    await call(judge, f"{users}/sign-out", ben.id, None, [(the_struck, "sign_out")])
    await call(judge, f"{users}/suspend", ben.id, {"reason": "x"}, [(the_struck, "suspend")])
    await call(judge, f"{users}/restore", ben.id, None, [(the_struck, "restore")])
    third = (await call(anna, "POST /reports", "", of_ben, [(the_reporter, "file")]))["id"]
    suspend = {"decision": "suspend_user", "note": "x"}
    await call(judge, decide, third, suspend, [(the_struck, "decide")])
    changing = {
        f"{route.method} {route.path}"
        for route in ROUTES
        if route.method != "GET" and route.path.startswith(MODERATION)
    }
    assert called - {"GET /admin/users/{user_id}"} == changing, "a route that changes something is not in this test"
