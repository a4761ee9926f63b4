"""The ASGI application around the web app: WebSocket scopes of our paths become sessions, and every request learns its
true client. Everything else passes."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import h11
from hypercorn.typing import ASGIFramework

from realtime.gateway.doorway import Doorway
from realtime.gateway.pumped import PumpedSide
from realtime.link import Refused, UpgradeRequest
from realtime.wire.close import Close, CloseCode, Violation
from realtime.wire.frames import MESSAGE_LIMIT_BYTES

# ASGI messages are dictionaries by definition; they do not leave this file.
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class AsgiSockets:
    """An upgrade on a kept-alive connection belongs to hypercorn; its session does not know the difference."""

    def __init__(self, app: ASGIFramework, doorway: Doorway, side: PumpedSide) -> None:
        self._app: Any = app
        self._doorway = doorway
        self._side = side

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = self._with_client(scope)
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
        elif scope["path"] in self._doorway.options.websocket_paths:
            await self._serve(scope, receive, send)
        else:
            await receive()  # websocket.connect
            await refuse(self._doorway.no_such_route(scope["scheme"] == "wss"), send)

    def _with_client(self, scope: Scope) -> Scope:
        """A proxy keeps its connections alive for many clients, so this is decided per request."""
        client = scope.get("client")
        if not client or client[0] not in self._doorway.trusted:
            return scope
        trusted = self._doorway.trusted
        headers = joined(scope["headers"])
        remote = trusted.client_of(client[0], headers.get(b"x-forwarded-for", b""))
        secure = trusted.is_secure(
            client[0], headers.get(b"x-forwarded-proto", b""), scope["scheme"] in ("https", "wss")
        )
        scheme = "ws" if scope["type"] == "websocket" else "http"
        return {
            **scope,
            "client": (remote, client[1] if remote == client[0] else 0),
            "scheme": scheme + "s" if secure else scheme,
        }

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        remote = scope["client"][0] if scope.get("client") else "unix"
        request = UpgradeRequest(
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=joined(scope["headers"]),
            remote=remote,
            subprotocols=tuple(name.strip() for name in scope["subprotocols"]),
            secure=scope["scheme"] == "wss",
        )
        answer = self._doorway.answer(request)
        if isinstance(answer, Refused):
            await refuse(answer, send)
            return
        try:
            await send({"type": "websocket.accept", "subprotocol": answer.subprotocol, "headers": []})
        except h11.LocalProtocolError:
            return  # it spoke before it was let in, and hypercorn has answered 400
        await self._side.serve(answer, AsgiPipe(remote, receive, send))


def joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for cased, value in headers:
        name = cased.lower()
        found[name] = found[name] + b", " + value if name in found else value
    return found


async def refuse(refused: Refused, send: Send) -> None:
    """A plain HTTP answer instead of the 101, by ASGI's extension for it (hypercorn has it)."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(refused.body)).encode())]
    # hypercorn ends the connection after it, and does not say so: a proxy would send its next request into the end.
    headers.append((b"connection", b"close"))
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in refused.headers]
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
    with contextlib.suppress(h11.LocalProtocolError):  # it spoke before it was answered, and hypercorn has answered 400
        await send({"type": "websocket.http.response.body", "body": refused.body})


class AsgiPipe:
    """A WebSocket of hypercorn's. It pings by itself and tells no pongs."""

    can_ping = False

    def __init__(self, remote: str, receive: Receive, send: Send) -> None:
        self.remote = remote
        self._receive = receive
        self._send = send

    async def receive(self) -> bytes | Close | Violation | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            code = int(message.get("code") or CloseCode.NO_STATUS)
            return None if code == CloseCode.ABNORMAL else Close(code, "")
        if message.get("text") is None:
            return Violation(CloseCode.UNSUPPORTED_DATA, "binary messages are not spoken here")
        payload: bytes = message["text"].encode()
        if len(payload) > MESSAGE_LIMIT_BYTES:  # hypercorn counts characters
            return Violation(CloseCode.TOO_BIG, "larger than the limit")
        return payload

    async def send(self, payload: bytes) -> None:
        await self._send({"type": "websocket.send", "text": payload.decode()})

    async def ping(self) -> None:
        raise NotImplementedError  # can_ping says so

    async def close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
