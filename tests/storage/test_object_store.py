"""Requests to an object store are signed as Amazon documents it, and every answer has its word."""

import hashlib
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from actors.shapes.times import Seconds, WallTime
from storage.object_store import ObjectStore, StoreAwayError
from storage.signature import StoreKeys, StoreRequest, signed_headers

# The keys, requests and signatures of Amazon's own documentation of Signature Version 4.
DOCUMENTED = StoreKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
HOST, AT = "examplebucket.s3.amazonaws.com", "20130524T000000Z"
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (
            StoreRequest(method="GET", host=HOST, path="/test.txt", at=AT, headers={"Range": "bytes=0-9"}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            StoreRequest(
                method="PUT",
                host=HOST,
                path="/test$file.text",
                at=AT,
                headers={"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
                body_hash=WELCOME,
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            StoreRequest(method="GET", host=HOST, path="/", at=AT, query={"lifecycle": ""}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            StoreRequest(method="GET", host=HOST, path="/", at=AT, query={"prefix": "J", "max-keys": "2"}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_signatures_are_the_documented_ones(request_: StoreRequest, signature: str) -> None:
    authorization = signed_headers(request_, DOCUMENTED)["authorization"]
    assert authorization.endswith(f"Signature={signature}")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request" in authorization


def test_keys_do_not_show_the_secret() -> None:
    assert "wJalr" not in repr(DOCUMENTED)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
async def test_certificates_are_not_read_for_each_question(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the health read them again, on the loop: 20 ms in which nobody else was served."""
    store = ObjectStore(address, "kith", DOCUMENTED, lambda: WallTime(0))
    read: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *given, **named: read.append(given))
    with pytest.raises(StoreAwayError, match="away"):
        await store.check()
    assert read == []


Ask = Callable[[ObjectStore], Awaitable[object]]


class Store:
    """A store on a real socket, with one answer per method; it keeps the first lines and headers it was sent."""

    def __init__(self, **answers: int) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some(4_096)
            self.asked.append(head.decode())
            method = head.decode().split()[0]
            if method not in self.answers:
                await trio.sleep_forever()
            await stream.send_all(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % self.answers[method])

    async def hear(self, ask: Ask) -> object:
        said: object = None
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self.answer, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            port = listeners[0].socket.getsockname()[1]
            store = ObjectStore(f"http://127.0.0.1:{port}", "kith", DOCUMENTED, lambda: WallTime(1_369_353_600_000))
            try:
                said = await ask(store)
            except StoreAwayError as error:
                said = error
            nursery.cancel_scope.cancel()
        if isinstance(said, StoreAwayError):
            raise said  # not from within the nursery, which would wrap it
        return said


def check(store: ObjectStore) -> Awaitable[object]:
    return store.check()


def make(store: ObjectStore) -> Awaitable[object]:
    return store.make_bucket(Seconds(1.0))


async def test_a_bucket_that_is_there_is_fine() -> None:
    store = Store(HEAD=200)
    assert await store.hear(check) is None
    (asked,) = store.asked
    assert asked.startswith("HEAD /kith HTTP/1.1\r\n")
    assert "x-amz-date: 20130524T000000Z" in asked.lower().replace("t000000z", "T000000Z")
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date," in asked


@pytest.mark.parametrize(("status", "word"), [(404, "no bucket"), (403, "keys refused"), (503, "answers 503")])
async def test_every_answer_has_its_word(status: int, word: str) -> None:
    with pytest.raises(StoreAwayError, match=word):
        await Store(HEAD=status).hear(check)


async def test_a_store_that_is_silent_or_not_there_is_given_up() -> None:
    with pytest.raises(StoreAwayError, match="no answer in time"):
        await Store().hear(lambda store: store.check(Seconds(0.1)))
    nobody = ObjectStore("http://127.0.0.1:1", "kith", DOCUMENTED, lambda: WallTime(0))
    with pytest.raises(StoreAwayError, match="away"):
        await nobody.check()


async def test_a_bucket_is_made_once() -> None:
    assert await Store(HEAD=200).hear(make) is False
    store = Store(HEAD=404, PUT=200)
    assert await store.hear(make) is True
    assert [asked.split()[0] for asked in store.asked] == ["HEAD", "PUT"]
    assert await Store(HEAD=404, PUT=409).hear(make) is False
    with pytest.raises(StoreAwayError, match="keys refused"):
        await Store(HEAD=403).hear(make)
    with pytest.raises(StoreAwayError, match="answers 500"):
        await Store(HEAD=404, PUT=500).hear(make)
