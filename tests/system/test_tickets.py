"""Tickets on a real node: once, on each path and transport, not after kill -9, and in no log."""

import json
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from tests.system.conftest import StartNode
from tests.system.harness import KithNode, Person, register


async def ticket_of(person: Person) -> str:
    async with person.http() as http:
        answer = await http.post("/api/v1/auth/ticket")
    assert (answer.status_code, answer.json()["expires_in"]) == (201, 30), answer.text
    ticket: str = answer.json()["ticket"]
    return ticket


async def first_words(node: KithNode, query: str, path: str = "/ws") -> dict[str, Any] | int:
    """What somebody who says nothing is told first, the close code, or the HTTP status of a refusal."""
    try:
        async with open_websocket_url(f"{node.url.replace('http', 'ws', 1)}{path}?{query}") as socket:
            try:
                frame: dict[str, Any] = json.loads(await socket.get_message())
            except ConnectionClosed as closed:
                return 1006 if closed.reason is None else int(closed.reason.code)
            return frame
    except HandshakeError as refused:
        status: int = refused.status_code  # type: ignore[attr-defined]
        return status


@pytest.mark.parametrize("transport", ["epoll", "portable"])
async def test_a_ticket_opens_one_connection(start_node: StartNode, transport: str) -> None:
    node = await start_node(TRANSPORT=transport)
    person = await register(node)
    ticket = await ticket_of(person)
    told = await first_words(node, f"ticket={ticket}")
    assert isinstance(told, dict)
    assert (told["type"], told["payload"]["user_id"]) == ("connected", person.id)
    assert await first_words(node, f"ticket={ticket}") == 4401
    assert await first_words(node, f"ticket={ticket[:-1]}") == 401
    told = await first_words(node, f"ticket={await ticket_of(person)}", "/api/v1/ws/notifications")
    assert isinstance(told, dict)
    assert (told["event"], told["data"]["user_id"]) == ("connected", person.id)
    log = node.log.read_text()
    assert ticket not in log
    assert ticket[:-1] not in log


async def test_what_was_spent_stays_spent_after_kill_9(node: KithNode) -> None:
    person = await register(node)
    spent, unspent = await ticket_of(person), await ticket_of(person)
    assert isinstance(await first_words(node, f"ticket={spent}"), dict)
    node.kill()
    await node.start()
    assert await first_words(node, f"ticket={spent}") == 4401
    assert isinstance(await first_words(node, f"ticket={unspent}"), dict)
    assert await first_words(node, f"ticket={unspent}") == 4401


async def test_a_ticket_of_one_worker_is_good_once_at_all_of_them(start_node: StartNode) -> None:
    """Who asks over one connection and comes over another meets two workers as often as not, and each has an actor of
    his: a ticket that only the memory of the first knew was refused by the second."""
    node = await start_node(KITH_WORKERS="3")
    person = await register(node)
    for at_once in (1, 1, 1, 1, 1, 1, 6, 6, 6):
        query = f"ticket={await ticket_of(person)}"
        told: list[dict[str, Any] | int] = []

        async def come(query: str = query, told: list[dict[str, Any] | int] = told) -> None:
            told.append(await first_words(node, query))

        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(come)
        let_in = [answer for answer in told if isinstance(answer, dict)]
        assert len(let_in) == 1, told
        assert [answer for answer in told if answer != 4401] == let_in


async def test_a_ticket_of_a_session_that_was_ended_is_refused(node: KithNode) -> None:
    person = await register(node)
    ticket = await ticket_of(person)
    async with person.http() as http:
        assert (await http.post("/auth/logout")).status_code == 204
    assert await first_words(node, f"ticket={ticket}") == 401


async def test_no_query_reaches_the_log(node: KithNode) -> None:
    """Not of an upgrade, not of a request that is no upgrade, not of one that fails."""
    person = await register(node)
    async with person.http() as http:
        for path in ("/ws", "/api/v1/ws/notifications", "/no/such/route", "/users/me", "/healthz", "/metrics"):
            await http.get(path, params={"ticket": "TICKET-IN-A-URL", "token": "TOKEN-IN-A-URL"})
    for path in ("/ws", "/api/v1/ws/notifications", "/no/such/socket"):
        await first_words(node, "ticket=TICKET-IN-A-URL", path)
    assert await node.stop() == 0
    assert "IN-A-URL" not in node.log.read_text()
