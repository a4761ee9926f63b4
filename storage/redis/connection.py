"""One connection to Redis over a trio stream: signs in, asks and hears; knows nothing of coming back."""

import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from storage.redis.address import RedisAddress
from storage.redis.errors import RedisAwayError
from storage.redis.replies import Reply, ReplyReader, packed

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 2.0
_CHUNK: Final = 16 * 1024


class RedisConnection:
    """Either asks, one question at a time, or has subscribed and hears."""

    def __init__(self, stream: trio.abc.Stream, named: str) -> None:
        self._stream = stream
        self._named = named
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()

    async def ask(self, *words: str | int) -> Reply:
        """Raises RedisAwayError when there is no answer in time, RedisRefusedError when it is no."""
        with trio.move_on_after(ANSWER_SECONDS):
            await self.say(*words)
            return await self.hear()
        raise RedisAwayError(f"{self._named} did not answer {words[0]} within {ANSWER_SECONDS:g} s")

    async def say(self, *words: str | int) -> None:
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await self._stream.send_all(packed(*words))
        except trio.TooSlowError:
            raise RedisAwayError(f"{self._named} took no {words[0]} within {ANSWER_SECONDS:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise RedisAwayError(f"{self._named} is gone: {error}") from None

    async def hear(self) -> Reply:
        """The next reply, or what was published; the caller bounds the wait. A cancelled wait loses nothing."""
        while not self._replies:
            try:
                data = await self._stream.receive_some(_CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
                raise RedisAwayError(f"{self._named} is gone: {error}") from None
            if not data:
                raise RedisAwayError(f"{self._named} closed the connection")
            self._replies.extend(self._reader.feed(bytes(data)))
        return self._replies.popleft()


@asynccontextmanager
async def redis_connection(address: RedisAddress) -> AsyncIterator[RedisConnection]:
    """Connected and signed in; raises RedisAwayError or RedisRefusedError."""
    stream = await _connect(address)
    try:
        connection = RedisConnection(stream, repr(address))
        if address.password:
            who = (address.username, address.password) if address.username else (address.password,)
            await connection.ask("AUTH", *who)
        if address.database:
            await connection.ask("SELECT", address.database)
        yield connection
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(address: RedisAddress) -> trio.abc.Stream:
    with trio.move_on_after(CONNECT_SECONDS):
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(address.host, address.port)
            if address.tls:
                stream = await _over_tls(stream, address.host)
        except (OSError, trio.BrokenResourceError) as error:
            raise RedisAwayError(f"{address!r} does not answer: {error}") from None
        return stream
    raise RedisAwayError(f"{address!r} did not answer within {CONNECT_SECONDS:g} s")


async def _over_tls(plain: trio.abc.Stream, host: str) -> trio.abc.Stream:
    stream = trio.SSLStream(plain, ssl.create_default_context(), server_hostname=host)
    try:
        await stream.do_handshake()
    except BaseException:  # or a descriptor is lost at each attempt, until the collector of cycles comes by
        await trio.aclose_forcefully(plain)
        raise
    return stream
