"""ETags and compression: what is asked for again is not sent again, and what is large travels small."""

import gzip

import pytest

from tests.webapi.node import Node, Person
from webapi.etags import is_known, strong_etag, weak_etag


async def test_what_is_the_same_is_not_sent_again(node: Node, anna: Person, ben: Person) -> None:
    chat = await anna.chat_with(ben)
    await anna.say(chat, "hello")
    for path in (
        "/users/me",
        f"/users/{ben.id}",
        "/conversations",
        f"/conversations/{chat}?include=members,messages",
        f"/conversations/{chat}/messages",
        f"/conversations/{chat}/changes",
    ):
        first = await anna.client.get(path)
        again = await anna.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert first.headers["ETag"].startswith('W/"')
        assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "private, no-cache"
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        # It says who was asked and what is left, and nothing about a body that it does not have.
        assert {"x-request-id", "x-ratelimit-remaining", "x-content-type-options"} <= set(again.headers)
        assert not {"content-type", "content-length", "content-encoding"} & set(again.headers)
        assert node.metrics.value("http_requests_total", first_route(node, path), "GET", "304") >= 1


def first_route(node: Node, path: str) -> str:
    return node.app.routes.find("GET", path.partition("?")[0])[0].path


async def test_what_changed_has_another_tag(anna: Person) -> None:
    before = (await anna.client.get("/users/me")).headers["ETag"]
    await anna.client.patch("/users/me", json={"bio": "new"})
    after = await anna.client.get("/users/me", headers={"If-None-Match": before})
    assert after.status_code == 200
    assert after.headers["ETag"] != before


async def test_each_reader_has_a_tag_of_his_own(anna: Person, ben: Person) -> None:
    """His own profile has his e-mail, so the tag of it must not fit the one that others see."""
    mine = await anna.client.get(f"/users/{anna.id}")
    theirs = await ben.client.get(f"/users/{anna.id}", headers={"If-None-Match": mine.headers["ETag"]})
    assert theirs.status_code == 200


async def test_secrets_and_failures_have_none(node: Node, anna: Person) -> None:
    answers = [
        await anna.client.get("/auth/sessions"),
        await anna.client.get("/users/00000000-0000-7000-8000-000000000000"),
        await anna.client.post("/auth/refresh", json={"refresh_token": anna.refresh_token}),
        await anna.client.patch("/users/me", json={"bio": "x"}),
    ]
    async with node.client(prefix="") as client:
        answers += [await client.get("/healthz"), await client.get("/metrics"), await client.get("/users/me")]
    for answer in answers:
        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


async def test_only_what_went_well_is_not_modified(anna: Person) -> None:
    """A star means any version of it, and what is not there has none."""
    nowhere = "/users/00000000-0000-7000-8000-000000000000"
    assert (await anna.client.get(nowhere, headers={"If-None-Match": "*"})).status_code == 404
    assert (await anna.client.get("/users/me", headers={"If-None-Match": "*"})).status_code == 304
    assert (await anna.client.head("/users/me", headers={"If-None-Match": "*"})).status_code == 304
    changed = await anna.client.patch("/users/me", json={"bio": "x"}, headers={"If-None-Match": "*"})
    assert changed.status_code == 200


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/openapi.json"])
async def test_what_is_for_all_may_be_kept_by_all(node: Node, path: str) -> None:
    async with node.client() as client:
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
    assert first.headers["Cache-Control"].startswith("public")
    assert (again.status_code, again.headers["Cache-Control"]) == (304, first.headers["Cache-Control"])


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ('W/"a"', True),
        ('"a"', True),
        ('"b", W/"a"', True),
        ('"b" ,"a"', True),
        ("*", True),
        (" * ", True),
        ("", False),
        ("a", False),
        ('"A"', False),
        ('W/"b"', False),
        ('"a', False),
        ('"*"', False),
    ],
)
def test_tags_are_compared_weakly(sent: str, known: bool) -> None:
    assert is_known('W/"a"', sent) is known
    assert is_known('"a"', sent) is known


def test_tags_are_of_the_bytes() -> None:
    assert weak_etag(b"a") == weak_etag(b"a") != weak_etag(b"b")
    assert weak_etag(b"a") == f"W/{strong_etag(b'a')}"
    assert set(strong_etag(b"x")) <= set('"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_')


async def test_the_tag_is_the_same_for_who_takes_gzip(anna: Person, ben: Person) -> None:
    """Weak: it stands for the list, however it travelled. What came packed is known unpacked."""
    chat = await anna.chat_with(ben)
    await anna.say(chat, "x" * 8_000)
    path = f"/conversations/{chat}/messages"
    packed = await anna.client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await anna.client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] == plain.headers["ETag"]
    again = await anna.client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.headers["Vary"]) == (304, "Accept-Encoding")
    assert "Content-Encoding" not in again.headers


async def test_errors_and_numbers_are_packed_by_the_same_rule(node: Node) -> None:
    async with node.client(prefix="") as client:
        numbers = await client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    large = int(numbers.headers["Content-Length"]) >= 4_096 or "Content-Encoding" in numbers.headers
    assert ("Vary" in numbers.headers) == large


@pytest.mark.parametrize(
    ("encoding", "status"),
    [("gzip", 415), ("deflate", 415), ("br", 415), ("gzip, identity", 415), ("identity", 200), ("Identity", 200)],
)
async def test_a_body_comes_as_it_is(anna: Person, encoding: str, status: int) -> None:
    body = b'{"bio": "x"}'
    sent = body if status == 200 else gzip.compress(body)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await anna.client.patch("/users/me", content=sent, headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
