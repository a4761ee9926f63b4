"""Which pages of other origins may call, and that nobody else learns anything from it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.clocks import HandClock
from tests.webapi.node import Node, memory_stores, open_node
from webapi.answering import Answering
from webapi.app import ROUTES
from webapi.cors import Cors

APP = "https://app.example.org"
ASKING = {"Origin": APP, "Access-Control-Request-Method": "PATCH"}


@asynccontextmanager
async def node_for(clock: HandClock, *origins: str) -> AsyncIterator[Node]:
    async with open_node(memory_stores(clock), clock) as node:
        options = msgspec.structs.replace(node.services.options, cors_origins=origins)
        node.answer_with(Answering(options, ROUTES))
        yield node


def cors_headers(headers: "dict[str, str]") -> set[str]:
    return {name for name in headers if name.lower().startswith("access-control-")}


async def test_a_browser_that_asks_first_is_told_what_it_may(clock: HandClock) -> None:
    async with node_for(clock, APP) as node, node.client() as client:
        for path in ("/users/me", "/conversations", "/no/such/path"):
            answer = await client.options(path, headers=ASKING)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == {
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE",
            }  # fmt: skip
            assert set(answer.headers["Access-Control-Allow-Headers"].split(", ")) == {
                "Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "X-Request-Id",
            }  # fmt: skip
            assert int(answer.headers["Access-Control-Max-Age"]) >= 600
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Origin" in answer.headers["Vary"]
        # Questions cost nothing, or a page could not ask for what it may still do.
        assert "X-RateLimit-Remaining" not in answer.headers


async def test_answers_of_every_kind_can_be_read(clock: HandClock) -> None:
    async with node_for(clock, APP) as node:
        anna = await node.person("anna")
        got = {"Origin": APP}
        answers = [
            await anna.client.get("/users/me", headers=got),
            await anna.client.get("/users/me", headers={**got, "If-None-Match": "*"}),
            await anna.client.patch("/users/me", json={"username": "?"}, headers=got),
            await anna.client.get("/nope", headers=got),
            await anna.client.put("/users/me", headers=got),
            await anna.client.get("/healthz", headers=got),
            await anna.client.get("/openapi.json", headers=got),
        ]
        async with node.client(address="10.9.9.9") as client:
            answers.append(await client.get("/users/me", headers=got))
            while (answer := await client.get("/nope", headers=got)).status_code != 429:
                pass
            answers.append(answer)
        assert [answer.status_code for answer in answers] == [200, 304, 400, 404, 405, 200, 200, 401, 429]
        for answer in answers:
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
            assert exposed >= {
                "X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
                "Retry-After", "ETag", "Idempotent-Replayed", "Link",
            }  # fmt: skip
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Origin" in answer.headers["Vary"].split(", ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "https://app.example.org.evil.org",
        "https://app.example.org:444",
        "http://app.example.org",
        "HTTPS://APP.EXAMPLE.ORG",  # browsers write it in small letters
        "app.example.org",
        "https://app.example.org/",
        "null",
        "",
        "*",
        "https://app.example.org, https://evil.example.org",
    ],
)
async def test_other_origins_get_nothing(clock: HandClock, origin: str) -> None:
    async with node_for(clock, APP) as node, node.client() as client:
        asked = await client.options("/users/me", headers={**ASKING, "Origin": origin})
        answer = await client.get("/healthz", headers={"Origin": origin})
        for one in (asked, answer):
            assert not cors_headers(dict(one.headers))
            assert "Origin" in one.headers["Vary"]  # a cache must not hand this one to the page that may
        assert (asked.status_code, asked.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, PATCH")


async def test_who_names_no_origin_is_answered_as_ever(clock: HandClock) -> None:
    async with node_for(clock, APP) as node, node.client() as client:
        answer = await client.get("/healthz")
        assert not cors_headers(dict(answer.headers))
        assert answer.headers["Vary"] == "Origin"


async def test_by_default_nobody_else_may(node: Node) -> None:
    async with node.client() as client:
        for origin in (APP, "null"):
            answer = await client.get("/healthz", headers={"Origin": origin})
            asked = await client.options("/users/me", headers={**ASKING, "Origin": origin})
            assert not cors_headers(dict(answer.headers)) | cors_headers(dict(asked.headers))
            assert "Vary" not in answer.headers


async def test_a_star_is_everybody(clock: HandClock) -> None:
    async with node_for(clock, "*") as node, node.client() as client:
        for origin in (APP, "null"):
            answer = await client.get("/healthz", headers={"Origin": origin})
            asked = await client.options("/users/me", headers={**ASKING, "Origin": origin})
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert asked.headers["Access-Control-Allow-Origin"] == "*"
            assert "Vary" not in answer.headers  # the same for all


async def test_an_options_that_asks_for_no_method_is_no_question_of_a_browser(clock: HandClock) -> None:
    async with node_for(clock, APP) as node, node.client() as client:
        answer = await client.options("/users/me", headers={"Origin": APP})
        assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, PATCH")
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert (await client.options("/nope", headers={"Origin": APP})).status_code == 404


async def test_large_answers_differ_by_both(clock: HandClock) -> None:
    async with node_for(clock, APP) as node:
        anna, ben = await node.person("anna"), await node.person("ben")
        chat = await anna.chat_with(ben)
        await anna.say(chat, "x" * 8_000)
        answer = await anna.client.get(f"/conversations/{chat}/messages", headers={"Origin": APP})
        page = await anna.client.get("/docs", headers={"Origin": APP})
    assert set(answer.headers["Vary"].split(", ")) == {"Origin", "Accept-Encoding"}
    assert set(page.headers["Vary"].split(", ")) == {"Origin", "Accept-Encoding"}
    assert len(page.headers.get_list("Vary")) == 1


def test_null_is_never_an_origin_of_the_list() -> None:
    assert Cors(["null"]).headers("null") == ()
    assert Cors(["*", APP]).headers("null")[0] == (b"access-control-allow-origin", b"*")
