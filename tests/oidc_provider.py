"""An OpenID provider for tests: a real HTTP server on loopback that keeps to the rules, or breaks the one it is told.

It consents for whoever `person` is. Everything a client must prove it checks: client, redirect_uri, PKCE, single use.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import h11
import httpx
import jwt
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CLIENT_ID = "kith tests"  # with a space: it must be encoded before it is put together with the secret
CLIENT_SECRET = "a secret:with%odd characters"
REDIRECT_URI = "https://app.example.org/signed-in"

Claims = dict[str, Any]

# What an ID token says, or does not, when it says something wrong.
LIES: dict[str, Callable[[int], Claims]] = {
    "no_nonce": lambda _: {"nonce": None},
    "wrong_nonce": lambda _: {"nonce": "of another sign-in"},
    "wrong_aud": lambda _: {"aud": "another client"},
    "many_auds": lambda _: {"aud": [CLIENT_ID, "another client"]},
    "wrong_azp": lambda _: {"azp": "another client"},
    "expired": lambda now: {"iat": now - 3_600, "exp": now - 61},
    "future": lambda now: {"iat": now + 3_600, "exp": now + 7_200},
    "not_before": lambda now: {"nbf": now + 3_600},
    "no_expiry": lambda _: {"exp": None},
    "other_issuer": lambda _: {"iss": "https://evil.example.org"},
    "no_subject": lambda _: {"sub": None},
    "long_subject": lambda _: {"sub": "x" * 256},
    "odd_subject": lambda _: {"sub": 7},
}
FORGERIES = (
    "unknown_kid",
    "bad_signature",
    "alg_none",
    "hs256_with_public_key",
    "not_a_token",
    "long_token",
    "deep_token",
)
ANSWERS = ("huge", "slow", "dripping", "not_json", "compressed", "redirects", "status_500")
OTHERS = ("other_discovery", "other_scheme", "no_host", "no_token", "client_refused")


class SigningKey:
    """A key pair with a name, as it stands in the JWKS."""

    def __init__(self, algorithm: str, bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.kid = secrets.token_hex(4)
        self.private: Any
        if algorithm == "RS256":
            self.private = rsa.generate_private_key(65_537, bits)
            public: Any = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk = {**public, "kid": self.kid, "use": "sig", "alg": algorithm}

    def public_pem(self) -> bytes:
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem


class OidcProvider:
    """`asked` counts what was fetched, by path; `mischief` names what is done wrong from now on."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now  # seconds since 1970
        self.issuer = ""
        self.public_client = False
        self.says = ""  # behind its own issuer: some end it with a slash
        self.mischief: str | None = None
        self.person: dict[str, Any] = {}
        self.keys = [SigningKey("ES256")]
        self.shown: list[SigningKey] = []  # in their stead
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}  # to redeem
        self.redeemed: dict[str, dict[str, str]] = {}

    def is_somebody(self, subject: str, **claims: Any) -> None:
        self.person = {"sub": subject, "email": f"{subject}@example.org", "email_verified": True} | claims

    def rotate(self, algorithm: str = "ES256", bits: int = 2048) -> None:
        self.keys = [SigningKey(algorithm, bits)]

    async def consent(self, authorization_url: str) -> dict[str, str]:
        """What a browser would bring back: the query of the redirect_uri it was sent to."""
        async with httpx.AsyncClient(
            verify=False
        ) as browser:  # it is plain HTTP: certificates would take 70 ms to read
            answer = await browser.get(authorization_url)
        assert answer.status_code == 302, answer.text
        location = urlsplit(answer.headers["Location"])
        assert answer.headers["Location"].startswith(REDIRECT_URI + "?")
        return {name: value for name, [value] in parse_qs(location.query).items()}

    # -- the server -------------------------------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        """One request per connection."""
        try:
            request, body = await _received(stream)
            await self._answer(stream, request, body)
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # the client has given up

    async def _answer(self, stream: trio.SocketStream, request: h11.Request, body: bytes) -> None:
        target = urlsplit(request.target.decode())
        self.asked.append(target.path)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        if target.path == "/authorize":
            location = self._authorize(query)
            return await _send(stream, 302, b"", {"Location": location})
        if self.mischief in ANSWERS:
            return await self._misbehave(stream)
        if target.path == "/.well-known/openid-configuration":
            return await _send_json(stream, 200, self._discovery())
        if target.path == "/jwks":
            if self.mischief == "no_keys":
                return await _send(stream, 500, b"{}", {})
            return await _send_json(stream, 200, {"keys": [key.jwk for key in self.shown or self.keys]})
        assert target.path == "/token", target.path
        headers = {name.decode(): value.decode() for name, value in request.headers}
        return await _send_json(stream, *self._token(headers, body))

    async def _misbehave(self, stream: trio.SocketStream) -> None:
        match self.mischief:
            case "slow":
                await trio.sleep_forever()
            case "dripping":
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    await stream.send_all(b" ")
                    await trio.sleep(0.01)
            case "huge":
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                while True:
                    await stream.send_all(b" " * 65_536)
            case "not_json":
                await _send(stream, 200, b"<html>", {"Content-Type": "text/html"})
            case "compressed":
                await _send(stream, 200, b"\x1f\x8b", {"Content-Encoding": "gzip"})
            case "redirects":
                await _send(stream, 307, b"", {"Location": f"{self.issuer}/elsewhere"})
            case _:
                await _send(stream, 500, b"{}", {})

    def _discovery(self) -> dict[str, Any]:
        issuer = "https://evil.example.org" if self.mischief == "other_discovery" else self.issuer + self.says
        jwks = "ftp://127.0.0.1/jwks" if self.mischief == "other_scheme" else f"{self.issuer}/jwks"
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": "http://xn--/token" if self.mischief == "no_host" else f"{self.issuer}/token",
            "jwks_uri": jwks,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
        }

    def _authorize(self, query: dict[str, str]) -> str:
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == REDIRECT_URI
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert "openid" in query["scope"].split()
        assert len(query["code_challenge"]) == 43
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{REDIRECT_URI}?{urlencode({'code': code, 'state': query['state']})}"

    def _token(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.forms.append(form)
        if self.mischief == "client_refused" or not self._is_client(headers, form):
            return 401, {"error": "invalid_client", "error_description": "secret words of the provider"}
        begun = self.codes.pop(form.get("code", ""), None)  # whatever comes of it, it is spent
        if begun is not None:
            self.redeemed[form["code"]] = begun
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        good = begun is not None and form.get("grant_type") == "authorization_code"
        if begun is None or not good or (challenge, form["redirect_uri"]) != (begun["code_challenge"], REDIRECT_URI):
            return 400, {"error": "invalid_grant"}
        token = {} if self.mischief == "no_token" else {"id_token": self.id_token(begun["nonce"])}
        return 200, {"access_token": "not for us", "token_type": "Bearer"} | token

    def _is_client(self, headers: dict[str, str], form: dict[str, str]) -> bool:
        if self.public_client:
            return form.get("client_id") == CLIENT_ID and "authorization" not in headers
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        id, _, secret = base64.b64decode(encoded).decode().partition(":")
        return (scheme, unquote(id), unquote(secret)) == ("Basic", CLIENT_ID, CLIENT_SECRET)

    def id_token(self, nonce: str) -> str:
        now, key = int(self.now()), self.keys[0]
        claims = {
            "iss": self.issuer + self.says,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
        } | self.person
        lie = LIES.get(self.mischief or "")
        claims = {name: value for name, value in (claims | (lie(now) if lie else {})).items() if value is not None}
        headers = {"kid": "unheard-of" if self.mischief == "unknown_kid" else key.kid}
        match self.mischief:
            case "not_a_token":
                return "no.token"
            case "long_token":
                return "x" * 20_000
            case "deep_token":
                return base64.urlsafe_b64encode(b"[" * 12_000).decode() + ".e30.c2lnbmF0dXJl"
            case "bad_signature":
                return _signed(claims, SigningKey(key.algorithm).private, key.algorithm, headers)
            case "alg_none":
                return jwt.encode(claims, "", "none", headers)
            case "hs256_with_public_key":
                return _hs256(claims, headers, key.public_pem())
        return _signed(claims, key.private, key.algorithm, headers)


def _signed(claims: Claims, private: Any, algorithm: str, headers: dict[str, str]) -> str:
    """PyJWT would refuse to say that a subject is a number."""
    return jwt.PyJWS().encode(json.dumps(claims).encode(), private, algorithm, headers)


def _hs256(claims: dict[str, Any], headers: dict[str, str], secret: bytes) -> str:
    """By hand: PyJWT refuses to make one, because this is the attack."""
    parts = [{"alg": "HS256", "typ": "JWT", **headers}, claims]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


async def _received(stream: trio.SocketStream) -> tuple[h11.Request, bytes]:
    connection, request, body = h11.Connection(h11.SERVER), None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65_536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, body
        else:
            raise h11.RemoteProtocolError("the client has gone")


async def _send(stream: trio.SocketStream, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = {"Content-Length": str(len(body)), "Connection": "close"} | headers
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    await stream.send_all(head.encode() + b"\r\n" + body)


async def _send_json(stream: trio.SocketStream, status: int, value: dict[str, Any]) -> None:
    await _send(stream, status, json.dumps(value).encode(), {"Content-Type": "application/json"})


@asynccontextmanager
async def open_provider(now: Callable[[], float] = time.time) -> AsyncIterator[OidcProvider]:
    provider = OidcProvider(now)
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(_listen, provider)
        provider.issuer = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield provider
        nursery.cancel_scope.cancel()


async def _listen(provider: OidcProvider, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
    await trio.serve_tcp(provider.serve, 0, host="127.0.0.1", task_status=task_status)
