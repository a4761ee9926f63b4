"""What the gateway says by itself is as guarded as what the web app says; who asks from which page does not matter."""

import orjson
import pytest
from trio.testing import MockClock

from realtime.gateway.options import GatewayOptions
from realtime.gateway.refusals import PROTECTING
from realtime.link import Refused
from realtime.wire.handshake import Answer
from tests.gateway.harness import Client, Served, serving
from webapi.answering import PROTECTING as OF_THE_WEB_APP
from webapi.answering import STAY_WITH_TLS

HSTS = b"strict-transport-security"


def test_they_are_those_of_the_web_app() -> None:
    theirs = dict(OF_THE_WEB_APP)
    ours = {name.lower().encode(): value.encode() for name, value in PROTECTING}
    assert ours.pop(b"cache-control") == b"no-store"
    assert ours.items() <= theirs.items()


def guarded(answer: Answer, tls: bool) -> None:
    for name, value in PROTECTING:
        assert answer.headers[name.lower().encode()] == value.encode()
    assert answer.headers.get(HSTS) == (STAY_WITH_TLS[1] if tls else None)
    assert b"server" not in answer.headers


async def kept_alive(served: Served) -> Client:
    """A connection that hypercorn has: it came for HTTP, and asks for an upgrade later."""
    client = await served.connect()
    await client.raw(b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await client.answer()).status == 404
    return client


async def refusals(served: Served) -> list[Answer]:
    served.door.refuse = Refused(401, b"{}", (("WWW-Authenticate", "Bearer"),))
    told = []
    for client, path in (
        (await served.connect(), "/ws"),
        (await kept_alive(served), "/ws"),
        (await kept_alive(served), "/elsewhere"),
    ):
        told.append(await client.upgrade(path))
    broken = await served.connect()
    await broken.raw(b"\x16\x03\x01")  # a TLS hello
    told.append(await broken.answer())
    assert [answer.status for answer in told] == [401, 401, 404, 400]
    return told


async def test_every_refusal_is_guarded(served: Served) -> None:
    for answer in await refusals(served):
        guarded(answer, tls=False)


async def test_who_comes_by_tls_is_told_to_stay_with_it(transport: str, mock_clock: MockClock) -> None:
    async with serving(GatewayOptions(transport=transport, public_is_https=True)) as served:
        for answer in await refusals(served):
            guarded(answer, tls=True)


async def test_a_trusted_proxy_says_who_came_by_tls(transport: str, mock_clock: MockClock) -> None:
    async with serving(GatewayOptions(transport=transport, trusted_proxies=("127.0.0.0/8",))) as served:
        served.door.refuse = Refused(401, b"{}")
        for proto, tls in (("https", True), ("http", False), ("http, https", True), ("https, http", False)):
            for client in (await served.connect(), await kept_alive(served)):
                guarded(await client.upgrade(X_Forwarded_Proto=proto), tls)


async def test_nobody_else_says_who_came_by_tls(served: Served) -> None:
    served.door.refuse = Refused(401, b"{}")
    for client in (await served.connect(), await kept_alive(served)):
        guarded(await client.upgrade(X_Forwarded_Proto="https"), tls=False)


async def test_a_refusal_names_itself_in_head_and_body(served: Served) -> None:
    client = await served.connect()
    await client.raw(b"\x16\x03\x01")
    answer = await client.answer()
    body = orjson.loads(await client.body(answer))
    assert answer.headers[b"x-request-id"].decode() == body["request_id"]


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "", "http://kith.test"])
async def test_the_origin_of_a_page_is_no_reason_to_refuse(served: Served, origin: str) -> None:
    """Decision 0067: there is no cookie, so a page of another origin comes with nothing but what it was given."""
    client = await served.connect()
    assert (await client.upgrade(Origin=origin)).status == 101
