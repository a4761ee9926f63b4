"""The events of ASGI: requests that come whole, in pieces or not at all, and answers that are whole or in pieces."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from quart.wrappers import Request, Response

from tests.webapi.node import Node, Person


def scope_of(method: str, path: str, token: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 1),
        "server": ("192.0.2.2", 80),
        "extensions": {},
    }


def piece(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Wire:
    """A server that hands over these events, then waits, and keeps what the app sends."""

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self._events = list(events)
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if not self._events:
            await trio.sleep_forever()
        return self._events.pop(0)

    async def send(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(event)

    async def through(self, node: Node, scope: dict[str, Any]) -> "Wire":
        with trio.fail_after(5):
            await node.app(scope, self.receive, self.send)  # type: ignore[arg-type] # a plain dict is a scope
        return self

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.sent[1:])


async def test_a_whole_request_gets_a_whole_answer_in_two_events(node: Node, anna: Person) -> None:
    wire = await Wire([piece(b"", False)]).through(node, scope_of("GET", "/users/me", anna.token))
    assert [event["type"] for event in wire.sent] == ["http.response.start", "http.response.body"]
    assert wire.sent[1]["more_body"] is False
    assert anna.id.encode() in wire.body


@pytest.mark.parametrize("pieces", [1, 2, 5, 15])
async def test_a_body_may_come_in_pieces(node: Node, anna: Person, pieces: int) -> None:
    whole = b'{"bio": "in pieces"}'
    size = -(-len(whole) // pieces)
    events = [piece(whole[at : at + size], True) for at in range(0, len(whole), size)]
    wire = await Wire([*events, piece(b"", False)]).through(node, scope_of("PATCH", "/users/me", anna.token))
    assert wire.status == 200
    assert b"in pieces" in wire.body


async def test_who_left_before_he_was_read_is_not_answered(node: Node) -> None:
    wire = await Wire([{"type": "http.disconnect"}]).through(node, scope_of("GET", "/users/me"))
    assert wire.sent == []


async def test_who_leaves_in_the_middle_of_his_body_is_not_waited_for(node: Node, anna: Person) -> None:
    events = [piece(b'{"bio":', True), {"type": "http.disconnect"}]
    wire = await Wire(events).through(node, scope_of("PATCH", "/users/me", anna.token))
    assert wire.sent == []
    assert (await anna.client.get("/users/me")).json()["bio"] is None


async def test_a_refusal_does_not_wait_for_the_body(node: Node) -> None:
    wire = await Wire([piece(b"{", True)]).through(node, scope_of("PATCH", "/users/me"))
    assert wire.status == 401


async def test_an_answer_may_be_a_stream(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def answer(_: Request) -> Response:
        return node.app.response_class(stream())

    monkeypatch.setattr(node.app, "handle_request", answer)
    wire = await Wire([piece(b"", False)]).through(node, scope_of("GET", "/"))
    assert wire.body == b"one two"
    assert wire.sent[-1]["more_body"] is False


@pytest.mark.parametrize(
    "target", ["?x", "http://[x/nowhere", "", "a", "users/me", "healthz", "*", "x:80", "//[x", "//healthz"]
)
async def test_a_target_that_is_no_path_is_found_nowhere(node: Node, target: str) -> None:
    """Some of them were answered with 500, and with a line in the log that anybody could write at no cost."""
    wire = await Wire([piece(b"", False)]).through(node, scope_of("GET", target))
    assert (wire.status, b"ROUTE_NOT_FOUND" in wire.body) == (404, True)
    assert dict(wire.sent[0]["headers"])[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("target", ["http://x/healthz", "HTTPS://x:99999/healthz"])
async def test_an_absolute_target_has_a_path(node: Node, target: str) -> None:
    wire = await Wire([piece(b"", False)]).through(node, scope_of("GET", target))
    assert wire.status == 200


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register", "/appeals"])
async def test_strangers_have_sixty_four_kibibytes(node: Node, path: str) -> None:
    """A thousand of them who keep back the last byte of a megabyte had 1.4 GB of the node's memory for 20 s."""
    fits = [piece(b" " * 60_000, True), piece(b"{}", False)]
    assert (await Wire(fits).through(node, scope_of("POST", path))).status == 400
    large = b" " * 65_537
    for events in ([piece(large, False)], [piece(large, True)], [piece(large[:40_000], True)] * 2):
        wire = await Wire(events).through(node, scope_of("POST", path))
        assert (wire.status, b"PAYLOAD_TOO_LARGE" in wire.body) == (413, True)
    announced = scope_of("POST", path)
    announced["headers"].append((b"content-length", b"65537"))
    assert (await Wire([piece(b"", True)]).through(node, announced)).status == 413
