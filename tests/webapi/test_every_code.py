"""Every code of the error table is produced here by what a client, the world or a bug would really do.

A code of a feature that is not built yet stands in LATER; whoever builds the feature moves it up.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import trio

from actors.ports import Fenced
from actors.rules.totp import code_at, step_of
from actors.sealing import Seals
from actors.shapes.errors import TABLE, ErrorCode, KithError
from storage.database_errors import DatabaseAwayError, StatementFailedError
from storage.memory.journal import MemoryJournal
from tests.actors.small_node import small_node
from tests.realtime.small_gate import SmallGate
from tests.webapi.node import PASSWORD, Node, Person
from webapi.later import LATER as FEATURES

NOWHERE: Final = "0190aaaa-0000-7000-8000-000000000001"
_C = ErrorCode
SOCKET_ONLY: Final = ErrorCode.UNKNOWN_TYPE

# What no route and no command can answer yet, and the part of the list of http/webapi/later.py that will.
LATER: Final = {
    _C.INVALID_VISIBILITY: "posts",
    _C.INVALID_STORY_VISIBILITY: "stories",
    _C.INVALID_REACTION_EMOJI: "reactions",
    _C.INVALID_MEDIA: "media",
    _C.INVALID_GROUP_SIZE: "groups",
    _C.SELF_FOLLOW: "graph",
    _C.SELF_BLOCK: "graph",
    _C.DUPLICATE_FOLLOW: "graph",
    _C.NOT_CONTENT_OWNER: "posts",
    _C.NOT_FOLLOWING: "graph",
    _C.STORY_ACCESS_DENIED: "stories",
    _C.EDIT_WINDOW_CLOSED: "messaging",
    _C.RESYNC: "events",
    _C.STORY_NOT_FOUND: "stories",
    _C.HIGHLIGHT_NOT_FOUND: "stories",
    _C.KEY_EXCHANGE_NOT_FOUND: "encryption",
    _C.PUBLIC_KEY_NOT_FOUND: "encryption",
    _C.CONTENT_ALREADY_DELETED: "posts",
    _C.KEY_EXCHANGE_ALREADY_COMPLETED: "encryption",
    _C.SUBSCRIPTION_ALREADY_ACTIVE: "money",
    _C.STORY_ALREADY_REACTED: "stories",
    _C.HIGHLIGHT_NAME_TAKEN: "stories",
    _C.GROUP_FULL: "groups",
    _C.CLOSE_FRIENDS_FULL: "graph",
    _C.STALE_KEY_EPOCH: "encryption",
    _C.MEDIA_NOT_READY: "media",
    _C.STORY_EXPIRED: "stories",
    _C.STORAGE_ERROR: "media",
    _C.STORAGE_UNAVAILABLE: "media",
}


class Stage:
    """A node with two people and their conversation; what a case needs of it, it takes."""

    def __init__(self, node: Node, anna: Person, ben: Person, chat: str, patch: pytest.MonkeyPatch) -> None:
        self.node = node
        self.anna = anna
        self.ben = ben
        self.chat = chat
        self.patch = patch

    @property
    def client(self) -> httpx.AsyncClient:
        return self.anna.client

    async def say(self, **fields: Any) -> httpx.Response:
        return await self.client.post(f"/conversations/{self.chat}/messages", json={"text": "Hi", **fields})

    def journal(self, outcome: object) -> None:
        """Whatever is appended from now on comes to this."""

        async def append(*_: object) -> object:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self.patch.setattr(MemoryJournal, "append", append)

    def accounts(self, error: Exception) -> None:
        async def logins(*_: object) -> object:
            raise error

        self.patch.setattr(type(self.node.services.accounts), "logins", logins)


Case = Callable[[Stage], Awaitable[httpx.Response]]


async def weak(stage: Stage, **fields: str) -> httpx.Response:
    body = {"email": "carla@example.org", "password": PASSWORD, **fields}
    async with stage.node.client() as client:
        return await client.post("/auth/register", json=body)


async def login(stage: Stage, password: str) -> httpx.Response:
    async with stage.node.client() as client:
        return await client.post("/auth/login", json={"email": stage.anna.email, "password": password})


async def totp_required(stage: Stage) -> httpx.Response:
    secret = (await stage.client.post("/auth/totp/enable", json={"password": PASSWORD})).json()["secret"]
    code = code_at(base64.b32decode(secret), step_of(stage.node.clock.now()))
    assert (await stage.client.post("/auth/totp/confirm", json={"code": code})).status_code == 200
    return await login(stage, PASSWORD)


async def sealed_under_a_lost_secret(stage: Stage) -> httpx.Response:
    await totp_required(stage)
    stage.patch.setattr(Seals, "open", lambda *_: None)
    async with stage.node.client() as client:
        body = {"email": stage.anna.email, "password": PASSWORD, "totp": "000000"}
        return await client.post("/auth/login", json=body)


async def too_late(stage: Stage) -> httpx.Response:
    stage.node.clock.seconds += 16 * 60
    return await stage.client.get("/users/me")


async def bad_token(stage: Stage) -> httpx.Response:
    async with stage.node.client("no.good.token") as client:
        return await client.get("/users/me")


async def no_token(stage: Stage) -> httpx.Response:
    async with stage.node.client() as client:
        return await client.get("/users/me")


async def by_a_stranger(stage: Stage) -> httpx.Response:
    """One who is no admin asks for what only admins may see."""
    return await stage.client.get("/admin/users")


async def blocked(stage: Stage) -> httpx.Response:
    assert stage.node.tables is not None
    stage.node.tables.blocks.add((stage.anna.id, stage.ben.id))
    return await stage.client.get(f"/users/{stage.ben.id}")


async def conflict(stage: Stage) -> httpx.Response:
    key = str(uuid4())
    await stage.say(client_id=key)
    return await stage.say(client_id=key, text="Something else")


async def limited(stage: Stage) -> httpx.Response:
    for _ in range(101):
        answer = await stage.client.get("/users/me")
    return answer


async def crashed(stage: Stage) -> httpx.Response:
    stage.accounts(RuntimeError("a bug"))
    return await stage.client.get("/auth/sessions")


async def refused_by_the_database(stage: Stage) -> httpx.Response:
    stage.accounts(StatementFailedError("42P01", "no such table"))
    return await stage.client.get("/auth/sessions")


async def without_the_database(stage: Stage) -> httpx.Response:
    stage.accounts(DatabaseAwayError("connection refused"))
    return await stage.client.get("/auth/sessions")


async def fenced_for_ever(stage: Stage) -> httpx.Response:
    stage.journal(Fenced())
    return await stage.say()


async def too_much(stage: Stage) -> httpx.Response:
    stage.journal(KithError(_C.OVERLOADED))
    return await stage.say()


async def never_sent(stage: Stage) -> httpx.Response:
    """A body that is announced and does not come."""

    async def body() -> AsyncIterator[bytes]:
        yield b'{"text": '
        await trio.sleep(60)

    headers = {"Content-Type": "application/json"}
    return await stage.client.post(f"/conversations/{stage.chat}/messages", content=body(), headers=headers)


CASES: Final[dict[ErrorCode, Case]] = {
    _C.INVALID_PAYLOAD: lambda stage: stage.say(text=7),
    _C.INVALID_QUERY: lambda stage: stage.client.get("/conversations?limit=no"),
    _C.INVALID_EMAIL: lambda stage: weak(stage, email="nobody"),
    _C.INVALID_USERNAME: lambda stage: weak(stage, username="a b"),
    _C.WEAK_PASSWORD: lambda stage: weak(stage, password="short"),
    _C.CONTENT_TOO_LONG: lambda stage: stage.client.patch("/users/me", json={"bio": "x" * 1_001}),
    _C.INVALID_CURSOR: lambda stage: stage.client.get("/conversations?cursor=!"),
    _C.INVALID_CREDENTIALS: lambda stage: login(stage, "wrong password"),
    _C.TOKEN_EXPIRED: too_late,
    _C.INVALID_TOKEN: bad_token,
    _C.MISSING_AUTH_HEADER: no_token,
    _C.TOTP_REQUIRED: totp_required,
    _C.FORBIDDEN: by_a_stranger,
    _C.USER_BLOCKED: blocked,
    _C.USER_NOT_FOUND: lambda stage: stage.client.get(f"/users/{NOWHERE}"),
    _C.CONVERSATION_NOT_FOUND: lambda stage: stage.client.get(f"/conversations/{NOWHERE}"),
    _C.MESSAGE_NOT_FOUND: lambda stage: stage.client.get(f"/messages/{NOWHERE}"),
    _C.CONTENT_NOT_FOUND: lambda stage: stage.client.delete(f"/auth/sessions/{NOWHERE}"),
    _C.MEDIA_NOT_FOUND: lambda stage: stage.say(media_ids=[NOWHERE]),
    _C.ROUTE_NOT_FOUND: lambda stage: stage.client.get("/nothing"),
    _C.METHOD_NOT_ALLOWED: lambda stage: stage.client.put("/users/me"),
    _C.IDEMPOTENCY_CONFLICT: conflict,
    _C.EMAIL_TAKEN: lambda stage: weak(stage, email=stage.anna.email),
    _C.USERNAME_TAKEN: lambda stage: weak(stage, username=stage.anna.name),
    _C.OUT_OF_ORDER: lambda stage: stage.say(after=NOWHERE),
    _C.PAYLOAD_TOO_LARGE: lambda stage: stage.say(text="x" * 1_100_000),
    _C.UNSUPPORTED_MEDIA_TYPE: lambda stage: stage.client.patch("/users/me", content=b"bio=x"),
    _C.RATE_LIMIT_EXCEEDED: limited,
    _C.INTERNAL_ERROR: crashed,
    _C.DATABASE_ERROR: refused_by_the_database,
    _C.ENCRYPTION_ERROR: sealed_under_a_lost_secret,
    _C.NOT_IMPLEMENTED: lambda stage: stage.client.get("/trending"),
    _C.UNAVAILABLE: without_the_database,
    _C.OVERLOADED: too_much,
    _C.TRY_AGAIN: fenced_for_ever,
    _C.TIMEOUT: never_sent,
}


@pytest.mark.parametrize("code", list(CASES), ids=str)
async def test_the_code_is_produced(node: Node, monkeypatch: pytest.MonkeyPatch, code: ErrorCode) -> None:
    anna, ben = await node.person("anna"), await node.person("ben")
    stage = Stage(node, anna, ben, await anna.chat_with(ben), monkeypatch)
    answer = await CASES[code](stage)
    assert (answer.json()["error"]["code"], answer.status_code) == (code.value, TABLE[code].status), answer.text


async def test_the_socket_s_own_code_is_produced(autojump_clock: object) -> None:
    async with small_node() as node:
        ann = node.add_user("ann")
        client = await SmallGate(node).ready(ann)
        (told,) = await client.ask({"type": "dance", "ref": 1})
    assert told["error"]["code"] == SOCKET_ONLY


def test_no_code_is_forgotten() -> None:
    assert not CASES.keys() & LATER.keys()
    assert {*CASES, *LATER, SOCKET_ONLY} == set(ErrorCode)


def test_what_comes_later_is_on_the_list_of_what_comes_later() -> None:
    assert set(LATER.values()) <= FEATURES.keys()
