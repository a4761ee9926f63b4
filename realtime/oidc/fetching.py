"""Asks the provider's HTTP server, within bounds: ten seconds, one mebibyte, no redirects, no proxies, TLS verified."""

import ssl
from functools import cache
from typing import Final, TypeVar

import httpx
import msgspec
import trio

from actors.shapes.times import Seconds

T = TypeVar("T")

FETCH_SECONDS: Final = Seconds(10.0)
LARGEST_BYTES: Final = 1_048_576


class ProviderError(Exception):
    """The provider is away, or its answer is not one that the standard knows. `name` may be logged: nothing of what the
    provider said stands in it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@cache
def _trusted() -> ssl.SSLContext:
    """Once per process: reading all the certificates takes 70 ms. SSL_CERT_FILE may name others."""
    return httpx.create_ssl_context(trust_env=True)


class Fetcher:
    """httpx, which runs on trio as it is. Sign-ins are rare, so no connection is kept for the next one."""

    def __init__(self, deadline: Seconds = FETCH_SECONDS) -> None:
        self.deadline = deadline
        self._client = httpx.AsyncClient(
            verify=_trusted(),
            trust_env=False,  # an HTTP_PROXY is for browsers
            follow_redirects=False,
            timeout=deadline,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=0),
            # A mebibyte is a mebibyte: what was compressed could become a thousand of them.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "kith"},
        )

    async def get(self, url: str, kind: type[T]) -> T:
        status, body = await self._ask(self._request("GET", url))
        if status != 200:
            raise ProviderError(f"status_{status}")
        return decoded(body, kind)

    async def post(self, url: str, form: dict[str, str], basic: tuple[str, str] | None) -> tuple[int, bytes]:
        """Status and body, whatever the status is."""
        request = self._request("POST", url, form)
        if basic is not None:
            request = next(httpx.BasicAuth(*basic).auth_flow(request))
        return await self._ask(request)

    def _request(self, method: str, url: str, form: dict[str, str] | None = None) -> httpx.Request:
        self._client.cookies.clear()  # one person's sign-in brings nothing into the next one's
        try:
            return self._client.build_request(method, url, data=form)
        except (httpx.InvalidURL, ValueError):  # no host that could be looked up; IDNA's errors are ValueErrors
            raise ProviderError("no_address") from None

    async def _ask(self, request: httpx.Request) -> tuple[int, bytes]:
        body = bytearray()
        try:
            with trio.fail_after(self.deadline):  # httpx's own is per piece: a server that drips never meets it
                answer = await self._client.send(request, stream=True)
                try:
                    if answer.headers.get("Content-Encoding", "identity") != "identity":
                        raise ProviderError("compressed")
                    async for piece in answer.aiter_raw():
                        body += piece
                        if len(body) > LARGEST_BYTES:
                            raise ProviderError("too_large")
                finally:
                    await answer.aclose()
        except (trio.TooSlowError, httpx.TimeoutException):
            raise ProviderError("too_slow") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ProviderError(f"unreachable_{type(error).__name__}") from None
        return answer.status_code, bytes(body)


def decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ProviderError("not_understood") from None
