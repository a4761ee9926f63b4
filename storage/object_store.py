"""The bucket that media will lie in: whether it can be reached, and making it; one signed request each."""

import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httpx
import trio

from actors.shapes.times import Seconds, WallTime, iso
from storage.signature import StoreKeys, StoreRequest, signed_headers

ANSWER_SECONDS: Final = Seconds(1.5)


class StoreAwayError(Exception):
    """The object store cannot be used; the text says why."""


class ObjectStore:
    """Path style (`/bucket/key`), which every store understands; `now` is the wall time that signatures carry."""

    def __init__(self, address: str, bucket: str, keys: StoreKeys, now: Callable[[], WallTime]) -> None:
        self._address = address
        self._bucket = bucket
        self._keys = keys
        self._now = now
        # Once: reading all the certificates keeps the loop busy for 20 ms and more, and health is asked for every few
        # seconds. SSL_CERT_FILE may name others, as a store of one's own needs.
        self._trusted: ssl.SSLContext | bool = False
        if address.startswith("https://"):
            self._trusted = httpx.create_ssl_context(trust_env=True)

    async def check(self, within: Seconds = ANSWER_SECONDS) -> None:
        """Whether our bucket is there and these keys may use it."""
        status = await self._ask("HEAD", within)
        if status == 404:
            raise StoreAwayError("no bucket")
        if status in (400, 401, 403):  # 400 is what some say to a signature they cannot read
            raise StoreAwayError("keys refused")
        if status >= 300:
            raise StoreAwayError(f"answers {status}")

    async def state(self, within: Seconds = ANSWER_SECONDS) -> str:
        """The same in a word: `ok`, or what is wrong."""
        try:
            await self.check(within)
        except StoreAwayError as error:
            return str(error)
        return "ok"

    async def make_bucket(self, within: Seconds) -> bool:
        """Whether it had to be made."""
        status = await self._ask("HEAD", within)
        if status == 200:
            return False
        if status == 404:
            status = await self._ask("PUT", within)
        if status not in (200, 409):  # somebody else made it in between
            raise StoreAwayError("keys refused" if status in (400, 401, 403) else f"answers {status}")
        return status == 200

    async def _ask(self, method: str, within: Seconds) -> int:
        host = urlsplit(self._address).netloc
        at = iso(self._now())[:19].replace("-", "").replace(":", "") + "Z"
        request = StoreRequest(method=method, host=host, path=f"/{self._bucket}", at=at)
        headers = signed_headers(request, self._keys)
        try:
            # A connection of its own: one that was kept alive would say how the store was, not how it is. The
            # environment's proxies are not ours to use for what is signed for this host. One deadline for all of it:
            # the client's own begin anew at each step.
            with trio.move_on_after(within):
                async with httpx.AsyncClient(timeout=None, trust_env=False, verify=self._trusted) as http:
                    return (await http.request(method, self._address + request.path, headers=headers)).status_code
        except (httpx.TransportError, httpx.InvalidURL):
            raise StoreAwayError("away") from None
        raise StoreAwayError("no answer in time")
