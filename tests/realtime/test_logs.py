"""Log lines show what happened, where and in which request, and nothing of anybody's."""

import json
import logging
import sys
from typing import Any

import pytest

from actors.journey import request_id
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime
from actors.tokens import TokenAuthority
from realtime.logs import JsonFormatter, cleaned

USER, LOGIN = UserId("0190aaaa-0000-7000-8000-000000000001"), LoginId("0190aaaa-0000-7000-8000-000000000002")
TOKEN = TokenAuthority("secret").issue(USER, LOGIN, WallTime(0))
REFRESH = "u3Jx0m9p7Q-vV_2yqkzG5m0oXbqv1lB8tQmJcYw4R7E"
CONTENT = "meet me at the old bridge"


def line_of(error: BaseException | None = None, msg: str = "something", **fields: Any) -> tuple[dict[str, Any], str]:
    record = logging.makeLogRecord({"name": "kith.x", "levelname": "INFO", "msg": msg, **fields})
    if error is not None:
        try:
            raise error
        except BaseException:
            record.exc_info = sys.exc_info()
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text), text


def test_a_line_has_level_time_message_and_its_fields() -> None:
    line, _ = line_of(user_id="u1", count=3, ratio=0.5, none=None, kinds=["a", "b"])
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-20T07:00:00.000Z")
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "kith.x",
        "msg": "something",
        "user_id": "u1",
        "count": 3,
        "ratio": 0.5,
        "none": None,
        "kinds": ["a", "b"],
    }


def test_a_line_names_the_request_it_belongs_to() -> None:
    token = request_id.set("req_1")
    try:
        assert line_of()[0]["request_id"] == "req_1"
        assert line_of(request_id="req_2")[0]["request_id"] == "req_2"  # whoever knows better
    finally:
        request_id.reset(token)
    assert "request_id" not in line_of()[0]


PRIVATE_FIELDS = (
    "text content body payload password new_password token refresh_token token_hash secret Authorization cookie"
    " email e_mail mail display_name bio ciphertext address user_agent"
)
PRIVATE_TEXTS = [
    TOKEN,
    f"Bearer {TOKEN}",
    REFRESH,
    "anna.b@example.org",
    "änna@exämple.de",
    "postgresql://kith:s3cret@db/kith",
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA",
]


@pytest.mark.parametrize("field", PRIVATE_FIELDS.split())
def test_fields_that_could_show_somebodys_are_withheld_by_name(field: str) -> None:
    fields: dict[str, Any] = {field: CONTENT, "nested": {field: CONTENT}}
    line, text = line_of(**fields)
    assert line[field] == "[withheld]"
    assert CONTENT not in text


@pytest.mark.parametrize("private", PRIVATE_TEXTS)
def test_texts_are_cleaned_of_what_looks_private(private: str) -> None:
    for text in (line_of(msg=f"x {private} y")[1], line_of(reason=f"x {private} y")[1], line_of(reason=[private])[1]):
        for part in private.replace("Bearer ", "").replace("postgresql://", "").split("@db")[:1]:
            assert part not in text
    assert cleaned(f"before {private} after").startswith("before ")
    assert cleaned(f"before {private} after").endswith(" after")


def test_what_is_no_secret_stays() -> None:
    for text in (
        "conversation/0190aaaa-0000-7000-8000-000000000001",
        "req_0123456789abcdef01234567",
        "/home/somebody/a/rather/long/path/that/is/longer/than/forty/letters.py",
        "http://127.0.0.1:8000/api/v1",
        "0007_create_a_table_with_a_long_name",
    ):
        assert cleaned(text) == text


@pytest.mark.parametrize(
    "error",
    [RuntimeError(CONTENT), KeyError(CONTENT), ValueError(f"invalid: {CONTENT!r}"), Exception({"text": CONTENT})],
)
def test_an_exception_that_is_none_of_ours_tells_its_type_and_place_only(error: Exception) -> None:
    line, text = line_of(error)
    assert CONTENT not in text
    assert line["trace"].endswith(type(error).__name__)
    assert "test_logs.py" in line["trace"]
    assert CONTENT not in line_of(reason=error)[1]


def test_ours_tell_what_they_say() -> None:
    assert line_of(KithError(ErrorCode.OVERLOADED))[0]["trace"].endswith("KithError: Too much to do at the moment")
    assert "Connection refused" in line_of(OSError(111, "Connection refused"))[0]["trace"]


def test_causes_and_groups_are_told_too() -> None:
    try:
        try:
            raise KeyError(CONTENT)
        except KeyError as cause:
            raise KithError(ErrorCode.TIMEOUT) from cause
    except KithError as error:
        line, text = line_of(ExceptionGroup(CONTENT, [error, RuntimeError(CONTENT)]))
    assert CONTENT not in text
    trace = line["trace"]
    assert trace.index("KeyError") < trace.index("KithError: No answer in time") < trace.index("RuntimeError")


def test_a_value_that_cannot_be_encoded_does_not_lose_the_line() -> None:
    assert line_of(thing=object())[0]["thing"].startswith("<object object")
    assert line_of(thing={1: {2}})[0]["thing"] == {"1": [2]}
    assert line_of(thing="lone \ud800")[0]["level"] == "info"
