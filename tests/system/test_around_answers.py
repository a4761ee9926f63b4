"""What a real node puts around its answers, by its settings: origins, tags, protection, and who came by TLS."""

import httpx
import trio

from tests.system.conftest import StartNode
from tests.system.harness import register

APP = "https://app.example.org"
YEAR = "max-age=31536000; includeSubDomains"
GUARDS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def guarded(answer: httpx.Response, tls: bool = False) -> None:
    assert GUARDS.items() <= dict(answer.headers).items()
    assert "server" not in answer.headers
    assert answer.headers.get("strict-transport-security") == (YEAR if tls else None)


async def test_behind_a_proxy_for_a_page_of_another_origin(start_node: StartNode) -> None:
    node = await start_node(CORS_ORIGINS=f"{APP}, https://other.example.org", TRUSTED_PROXIES="127.0.0.0/8")
    anna = await register(node, "anna")
    by_tls = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    async with anna.http() as http:
        guarded(await http.get("/users/me"))
        guarded(await http.get("/users/me", headers={**by_tls, "X-Forwarded-Proto": "http"}))
        answer = await http.get("/users/me", headers={**by_tls, "Origin": APP})
        guarded(answer, tls=True)
        assert answer.headers["access-control-allow-origin"] == APP
        known = await http.get("/users/me", headers={"If-None-Match": answer.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        # The connection goes on behind an answer without a body.
        assert (await http.get("/users/me")).status_code == 200
        asked = await http.options("/users/me", headers={"Origin": APP, "Access-Control-Request-Method": "PATCH"})
        assert (asked.status_code, asked.content) == (204, b"")
        assert "PATCH" in asked.headers["access-control-allow-methods"]
        foreign = await http.get("/users/me", headers={"Origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in foreign.headers
    async with node.http() as http:
        # Refused before and behind the web server: a new connection, and one that has carried a request.
        for carried_one in (False, True):
            if carried_one:  # and none after the refusal, which ends the connection
                await http.get("/healthz")
            refused = await http.get("/ws", headers={**UPGRADE, **by_tls, "Authorization": "Bearer nonsense"})
            assert refused.status_code == 401
            guarded(refused, tls=True)


async def test_a_public_address_with_tls_is_one_to_stay_with(start_node: StartNode) -> None:
    node = await start_node(PUBLIC_URL="https://chat.example.org")
    async with node.http() as http:
        for path in ("/", "/healthz", "/nope"):
            answer = await http.get(path)
            assert answer.headers["strict-transport-security"] == YEAR
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        # Not believed: nobody was named as a proxy. It is public by TLS all the same.
        answer = await http.get("/healthz", headers={"X-Forwarded-Proto": "http"})
        assert answer.headers["strict-transport-security"] == YEAR
        refused = await http.get("/ws", headers={**UPGRADE, "Authorization": "Bearer nonsense"})
        guarded(refused, tls=True)
    host, port = node.url.rstrip("/").removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all(b"\x16\x03\x01\x00")  # somebody who speaks TLS to the port behind the proxy
        with trio.fail_after(5):
            said = b"".join([bytes(piece) async for piece in stream])
    assert said.startswith(b"HTTP/1.1 400 ")
    assert f"Strict-Transport-Security: {YEAR}\r\n".encode() in said
