"""The way to Redis: a real Valkey, one that is killed, one that is frozen, and servers that are something else."""

import functools
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from storage.redis import bus as bus_module
from storage.redis import connection as connection_module
from storage.redis.address import RedisAddress, address_of
from storage.redis.bus import RedisBus
from storage.redis.connection import RedisConnection, redis_connection
from storage.redis.errors import RedisAwayError, RedisRefusedError
from storage.redis.replies import LONGEST_REPLY, ReplyReader, packed
from tests.clocks import HandClock
from tests.storage.valkey import PASSWORD, Bus


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Bus]:
    started = Bus(tmp_path)
    started.start()
    yield started
    started.kill()


async def until(true: Callable[[], bool], what: str) -> None:
    """The outside world takes milliseconds."""
    for _ in range(100):
        if true():
            return
        await trio.sleep(0.02)
    raise AssertionError(f"waited 2 s for {what}")


# -- addresses and bytes ------------------------------------------------------------------------------------------


def test_addresses() -> None:
    assert address_of("redis://host") == RedisAddress("host")
    assert address_of("redis://:p%40ss@host:7000/3") == RedisAddress("host", 7000, False, "", "p@ss", 3)
    assert address_of("rediss://me:secret@[::1]:7000") == RedisAddress("::1", 7000, True, "me", "secret")
    for wrong in ("http://host", "redis://", "redis://host/seven"):
        with pytest.raises(ValueError, match="."):
            address_of(wrong)


def test_a_password_is_never_shown() -> None:
    assert repr(address_of("redis://me:secret@host:7000/3")) == "redis://host:7000/3"


def test_replies_split_at_every_byte() -> None:
    said = b"+PONG\r\n:7\r\n$-1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
    for cut in range(len(said) + 1):
        reader = ReplyReader()
        replies = [*reader.feed(said[:cut]), *reader.feed(said[cut:])]
        assert replies == [b"PONG", 7, None, [b"message", b"c", b"x"]]


def test_a_no_is_raised() -> None:
    with pytest.raises(RedisRefusedError, match="NOAUTH"):
        list(ReplyReader().feed(b"-NOAUTH Authentication required.\r\n"))


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02", b"SSH-2.0-x\r\n"])
def test_what_is_not_redis_is_said_to_be_something_else(said: bytes) -> None:
    with pytest.raises(RedisAwayError, match="not Redis"):
        list(ReplyReader().feed(said))


def test_a_reply_without_an_end_is_given_up() -> None:
    reader = ReplyReader()
    list(reader.feed(b"$1000000000\r\n"))
    assert list(reader.feed(b"x" * (LONGEST_REPLY // 2))) == []
    with pytest.raises(RedisAwayError, match="more than"):
        list(reader.feed(b"x" * (LONGEST_REPLY // 2)))


def test_commands_are_arrays() -> None:
    assert packed("SELECT", 3) == b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"


# -- one connection -----------------------------------------------------------------------------------------------


async def test_it_signs_in_and_asks(valkey: Bus) -> None:
    async with redis_connection(address_of(valkey.url.replace("/0", "/5"))) as connection:
        assert await connection.ask("PING") == b"PONG"
        assert b"db=5" in str(await connection.ask("CLIENT", "INFO")).encode()


async def test_a_wrong_password_and_no_password_are_refused(valkey: Bus) -> None:
    with pytest.raises(RedisRefusedError, match="WRONGPASS"):
        async with redis_connection(RedisAddress("127.0.0.1", valkey.port, password="wrong")):
            pass
    async with redis_connection(RedisAddress("127.0.0.1", valkey.port)) as connection:
        with pytest.raises(RedisRefusedError, match="NOAUTH"):
            await connection.ask("PING")


async def test_nobody_there(valkey: Bus) -> None:
    valkey.kill()
    with pytest.raises(RedisAwayError, match="does not answer"):
        async with redis_connection(address_of(valkey.url)):
            pass


async def test_a_server_without_tls_keeps_no_connection() -> None:
    """Each attempt left its descriptor to the collector of cycles, which seldom comes by, and attempts do not end."""
    hung_up = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"-ERR this is no TLS\r\n")
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        hung_up.set()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(functools.partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        port = listener.socket.getsockname()[1]
        with pytest.raises(RedisAwayError) as away:
            async with redis_connection(RedisAddress("127.0.0.1", port, tls=True)):
                pass
        with trio.fail_after(1):
            await hung_up.wait()
        nursery.cancel_scope.cancel()
    assert "does not answer" in str(away.value)


async def test_a_frozen_server_is_given_up(valkey: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_SECONDS", 0.2)
    async with redis_connection(address_of(valkey.url)) as connection:
        assert valkey.process is not None
        valkey.process.send_signal(signal.SIGSTOP)
        with pytest.raises(RedisAwayError, match="did not answer PING within 0.2 s"):
            await connection.ask("PING")


async def test_a_server_that_goes_is_noticed(valkey: Bus) -> None:
    async with redis_connection(address_of(valkey.url)) as connection:
        valkey.kill()
        with pytest.raises(RedisAwayError):
            await connection.ask("PING")


# -- the bus ------------------------------------------------------------------------------------------------------


class Node:
    """One end of a bus; counts how often it was woken."""

    def __init__(self, valkey: Bus, name: str, channel: str = "kith:test:flushed") -> None:
        self.woken = 0
        self.revoked = 0
        self.bus = RedisBus(address_of(valkey.url), channel, name, HandClock(), self._wake)
        self.bus.heard_revoked = self._look

    def _wake(self) -> None:
        self.woken += 1

    def _look(self) -> None:
        self.revoked += 1


@asynccontextmanager
async def buses(*nodes: Node) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.bus.run)
        # Woken once each: whoever begins to listen does not know what was called before.
        await until(lambda: all(node.bus.connected and node.woken == 1 for node in nodes), "the connections")
        yield
        nursery.cancel_scope.cancel()


async def test_a_call_wakes_the_others_and_not_the_caller(valkey: Bus) -> None:
    one, two, stranger = Node(valkey, "one"), Node(valkey, "two"), Node(valkey, "three", "kith:other:flushed")
    async with buses(one, two, stranger):
        one.bus.ring()
        await until(lambda: two.woken == 2, "the call")
        await trio.sleep(0.05)
        assert (one.woken, two.woken, stranger.woken) == (1, 2, 1)
        assert (one.bus.counters.published, two.bus.counters.heard) == (1, 1)


async def test_that_logins_ended_is_told_apart_from_flushes(valkey: Bus) -> None:
    """To look for them costs a statement, and there are a hundred flushes a second."""
    one, two = Node(valkey, "one"), Node(valkey, "two")
    async with buses(one, two):
        assert (one.revoked, two.revoked) == (1, 1), "what was told while nobody listened"
        one.bus.ring()
        await until(lambda: two.woken == 2, "the call")
        for _ in range(1_000):
            one.bus.tell_revoked()
        await until(lambda: two.revoked > 1, "the other call")
        await trio.sleep(0.05)
        assert (two.woken, one.woken, one.revoked) == (2, 1, 1)
        assert two.revoked <= 3


async def test_what_is_no_text_wakes_and_harms_nobody(valkey: Bus) -> None:
    one = Node(valkey, "one")
    async with buses(one), redis_connection(address_of(valkey.url)) as stranger:
        await stranger.ask("EVAL", "return redis.call('PUBLISH', 'kith:test:flushed', '\\255\\254')", 0)
        await until(lambda: one.woken == 2, "the call")
        assert one.bus.connected


async def test_calls_that_come_close_together_are_one(valkey: Bus) -> None:
    one, two = Node(valkey, "one"), Node(valkey, "two")
    async with buses(one, two):
        for _ in range(1_000):
            one.bus.ring()
        await until(lambda: two.woken > 1, "the call")
        await trio.sleep(0.05)
        assert one.bus.counters.published <= 2


async def test_who_is_alone_calls_nobody(valkey: Bus) -> None:
    one, two = Node(valkey, "one"), Node(valkey, "two")
    one.bus.is_needed = lambda: False
    async with buses(one, two):
        one.bus.ring()
        await trio.sleep(0.1)
        assert (one.bus.counters.published, two.woken) == (0, 1)


async def test_it_says_how_it_is(valkey: Bus) -> None:
    one = Node(valkey, "one")
    assert await one.bus.state() == ("away", 0.0)
    async with buses(one):
        assert (await one.bus.state())[0] == "ok"


async def test_a_frozen_server_is_degraded(valkey: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "ANSWER_SECONDS", 0.4)
    one = Node(valkey, "one")
    async with buses(one):
        assert valkey.process is not None
        valkey.process.send_signal(signal.SIGSTOP)
        assert (await one.bus.state())[0] == "degraded"


async def test_it_comes_back_and_has_others_looked_for(valkey: Bus, caplog: pytest.LogCaptureFixture) -> None:
    one, two = Node(valkey, "one"), Node(valkey, "two")
    async with buses(one, two):
        valkey.kill()
        for _ in range(5):
            one.bus.ring()  # nobody hears it; nobody waits for it
            one.bus.tell_revoked()
        await until(lambda: one.bus.counters.losses >= 2, "the loss")
        assert (await one.bus.state())[0] == "away"
        valkey.start()
        await until(lambda: one.bus.connected and two.bus.connected and two.woken >= 2, "the way back")
        woken = two.woken
        one.bus.ring()
        await until(lambda: two.woken > woken, "a call on the new connection")
    assert "the bus is away" in caplog.text
    assert PASSWORD not in str([vars(record) for record in caplog.records])


async def test_a_listener_that_hears_nothing_asks_whether_anybody_is_there(
    valkey: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that a firewall forgot: nothing says that it is dead."""
    monkeypatch.setattr(bus_module, "SILENCE", 0.1)
    one = Node(valkey, "one")
    async with buses(one):
        await trio.sleep(0.5)
        assert (one.bus.connected, one.bus.counters.losses) == (True, 0)
        assert valkey.process is not None
        valkey.process.send_signal(signal.SIGSTOP)
        await until(lambda: not one.bus._up["hears"], "the silence")


async def test_a_wrong_password_is_told_and_tried_again(valkey: Bus, caplog: pytest.LogCaptureFixture) -> None:
    address = RedisAddress("127.0.0.1", valkey.port, password="wrong-one")
    bus = RedisBus(address, "c", "one", HandClock(), lambda: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.run)
        await until(lambda: bus.counters.losses >= 3, "the refusals")
        nursery.cancel_scope.cancel()
    reasons = [vars(record)["reason"] for record in caplog.records]
    assert reasons
    assert all("WRONGPASS" in reason for reason in reasons)
    assert "wrong-one" not in str([vars(record) for record in caplog.records])


async def test_replies_that_come_in_pieces_are_put_together() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    connection = RedisConnection(ours, "redis")
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            await theirs.receive_some()
            for byte in b"+PONG\r\n":
                await theirs.send_all(bytes([byte]))

        nursery.start_soon(answer)
        assert await connection.ask("PING") == b"PONG"
