"""Bodies and heads of every wrong kind: each is refused by what is wrong with it, and nothing else happens."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.shapes.errors import KithError
from tests.webapi.node import Node, Person
from tests.webapi.test_accounts import code
from webapi.bodies import decode
from webapi.messages import NewMessage

JSON = {"Content-Type": "application/json"}
PATH = "/users/me"


async def patch(anna: Person, content: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return await anna.client.patch(PATH, content=content, headers=JSON if headers is None else headers)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b'{"bio": "a"} {}',
        b'{"bio": NaN}',
        b'{"bio": Infinity}',
        b"{'bio': 'a'}",
        b'{"bio": "a",}',
        b'{"bio": "line\nbreak"}',
        b'{"bio": "\xff\xfe"}',
        b'{"bio": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        '{"bio": "a"}'.encode("utf-16"),
        b'{"bio": ' + b"[" * 200_000,
        b'{"unknown": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[]",
        b"null",
        b"7",
        b'"text"',
    ],
)
async def test_what_is_no_json_object_is_refused(node: Node, anna: Person, content: bytes) -> None:
    assert code(await patch(anna, content)) == "400 INVALID_PAYLOAD"
    assert (await anna.client.get(PATH)).json()["bio"] is None


async def test_odd_but_legal_json_is_read(node: Node, anna: Person) -> None:
    for content, bio in (
        (b'{"bio": "first", "bio": "last"}', "last"),
        (b'\n\t {"bio" : "a"}\r\n', "a"),
        (b'{"bio": "\\ud83d\\ude00"}', "😀"),
        (b'{"bio": "b", "unknown": {"deep": [1e308, -0, null, "\\u0000"]}}', "b"),
        (b'{"bio": "a backslash and u0000: \\\\u0000"}', "a backslash and u0000: \\u0000"),
        (b'{"\\u0062io": "escaped name"}', "escaped name"),
    ):
        answer = await patch(anna, content)
        assert (answer.status_code, answer.json()["bio"]) == (200, bio)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"bio": "\\u0000"}', "bio"),
        (b'{"bio": "x\\\\\\u0000"}', "bio"),
        (b'{"interests": ["a", "b\\u0000"]}', "interests[1]"),
        (b'{"bio": {"a": 1}}', "bio"),
        (b'{"interests": [["a"]]}', "interests[0]"),
        (b'{"interests": {"0": "a"}}', "interests"),
    ],
)
async def test_a_wrong_field_is_named(node: Node, anna: Person, content: bytes, field: str) -> None:
    answer = await patch(anna, content)
    assert code(answer) == "400 INVALID_PAYLOAD"
    assert answer.json()["error"]["details"] == {"field": field}


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("application/merge-patch+json", 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
async def test_only_json_is_taken(node: Node, anna: Person, content_type: str, status: int) -> None:
    answer = await patch(anna, b'{"bio": "a"}', {"Content-Type": content_type})
    assert answer.status_code == status
    if status == 415:
        assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
    assert (await patch(anna, b'{"bio": "a"}', {})).status_code == 415


MEBIBYTE = 1024 * 1024


async def in_pieces(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody announced."""
    yield b'{"bio": "'
    for _ in range(size // 65_536):
        yield b"x" * 65_536
    yield b'"}'


async def test_a_body_has_at_most_a_mebibyte(node: Node, anna: Person) -> None:
    fits = b'{"unknown": "' + b"x" * (MEBIBYTE - 15) + b'"}'
    assert len(fits) == MEBIBYTE
    assert (await patch(anna, fits)).status_code == 200
    assert code(await patch(anna, fits + b" ")) == "413 PAYLOAD_TOO_LARGE"
    assert code(await patch(anna, b"x" * (5 * MEBIBYTE), {"Content-Type": "text/plain"})) == "413 PAYLOAD_TOO_LARGE"


async def test_a_body_without_a_length_has_no_more(node: Node, anna: Person) -> None:
    assert code(await patch(anna, in_pieces(3 * MEBIBYTE))) == "413 PAYLOAD_TOO_LARGE"
    assert code(await patch(anna, in_pieces(MEBIBYTE // 2))) == "400 CONTENT_TOO_LONG"


async def test_a_body_that_never_ends_is_given_up(node: Node, anna: Person) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b'{"bio":'
        await trio.sleep_forever()

    answer = await patch(anna, stuck())
    assert code(answer) == "503 TIMEOUT"
    assert answer.json()["error"]["details"]["outcome"] == "none"


async def test_a_head_has_at_most_sixteen_kibibytes(node: Node, anna: Person) -> None:
    assert (await anna.client.get(PATH, headers={"X-Large": "x" * 15_000})).status_code == 200
    assert code(await anna.client.get(PATH, headers={"X-Large": "x" * 16_384})) == "413 PAYLOAD_TOO_LARGE"
    assert code(await anna.client.get(PATH, params={"q": "x" * 16_384})) == "413 PAYLOAD_TOO_LARGE"
    many = [(f"X-{number}", "x" * 10) for number in range(1_500)]
    assert code(await anna.client.get(PATH, headers=many)) == "413 PAYLOAD_TOO_LARGE"


def decoded(data: bytes) -> NewMessage | KithError:
    try:
        return decode(data, NewMessage)
    except KithError as error:
        return error


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_an_error_of_the_table(data: bytes) -> None:
    outcome = decoded(data)
    assert isinstance(outcome, NewMessage) or outcome.status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(NewMessage.__struct_fields__), JSON_VALUES))
def test_any_json_object_is_a_message_or_an_error_that_names_a_field(body: dict[str, Any]) -> None:
    outcome = decoded(json.dumps(body).encode())
    if isinstance(outcome, KithError):
        assert outcome.status == 400
        assert outcome.details["field"].split("[")[0] in body
