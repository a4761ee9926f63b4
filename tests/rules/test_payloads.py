"""From a payload to its command: canonical ids, bounds, and a refusal that names the field."""

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.payloads import fault, history_command, open_command, range_command, send_command
from actors.shapes.conversations import OpenConversation, Origin, ReadHistory, ReadRange, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import SocketId, UserId, canonical
from actors.shapes.payloads import HistoryPayload, OpenPayload, RangePayload, SendPayload

ME = UserId("0190aaaa-0000-7000-8000-000000000001")
PEER = "0190aaaa-0000-7000-8000-000000000002"
TALK = "0190bbbb-0000-7000-8000-000000000001"
ONE = "0190cccc-0000-7000-8000-00000000000a"
TWO = "0190cccc-0000-7000-8000-00000000000b"
NOT_IDS = [
    "urn:" + "a" * 32,  # all of these have 36 characters, and uuid.UUID takes them
    "0x" + "a_b" * 10 + "----",
    "{" + "a" * 32 + "}--",
    "-" * 4 + "a" * 32,
    "0190aaaa-0000-7000-8000-00000000000g",
    "0190aaaa_0000_7000_8000_000000000001",
    "0190aaaa-0000-7000-8000-0000000000\u0661\u0662",
]


def payload_of(type_: type[Any], fields: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(fields), type=type_)


def send(**changes: Any) -> SendMessage:
    fields = {"conversation_id": TALK, "client_id": ONE, "text": "hello", **changes}
    return send_command(payload_of(SendPayload, {k: v for k, v in fields.items() if v is not ...}), ME)


def refusal(**changes: Any) -> KithError:
    with pytest.raises(KithError) as refused:
        send(**changes)
    return refused.value


def test_a_plain_send_is_what_was_sent() -> None:
    origin = Origin(SocketId(7), "ref", 1.5)
    payload = payload_of(SendPayload, {"conversation_id": TALK, "client_id": ONE, "text": "hello"})
    assert send_command(payload, ME, origin) == SendMessage(ME, ONE, "hello", origin)  # type: ignore[arg-type]


def test_ids_become_canonical_so_that_one_thing_has_one_name() -> None:
    command = send(client_id=ONE.upper(), after=TWO.upper(), reply_to=TWO.upper(), mentions=[PEER.upper(), PEER])
    assert (command.client_id, command.after, command.reply_to, command.mentions) == (ONE, TWO, TWO, (PEER,))


@pytest.mark.parametrize("field", ["client_id", "after", "reply_to", "mentions"])
@pytest.mark.parametrize("text", NOT_IDS)
def test_what_is_no_uuid_is_refused_by_its_field(field: str, text: str) -> None:
    """uuid.UUID took `urn:`, `0x`, underscores and hyphens anywhere, so one id had many spellings on the wire."""
    error = refusal(**{field: [text] if field == "mentions" else text})
    assert (error.code, error.details) == (ErrorCode.INVALID_PAYLOAD, {"field": field})


@given(st.uuids(), st.booleans())
def test_every_uuid_has_one_canonical_form(id: uuid.UUID, upper: bool) -> None:
    assert canonical(str(id).upper() if upper else str(id)) == str(id)


@given(st.text(alphabet="0123456789abcdefABCDEF-{}xurn:_ ", max_size=40))
def test_canonical_is_what_it_says(text: str) -> None:
    found = canonical(text)
    assert found is None or (found == str(uuid.UUID(found)) and found == text.lower())


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"text": ...}, ErrorCode.INVALID_PAYLOAD, "text"),
        ({"text": ""}, ErrorCode.INVALID_PAYLOAD, "text"),
        ({"text": "a\x00"}, ErrorCode.INVALID_PAYLOAD, "text"),
        ({"text": "a" * 8_001}, ErrorCode.CONTENT_TOO_LONG, "text"),
        ({"text": ..., "ciphertext": "AAAA"}, ErrorCode.INVALID_PAYLOAD, "ciphertext"),
        ({"ciphertext": "AAAA"}, ErrorCode.INVALID_PAYLOAD, "ciphertext"),
        ({"media_ids": [TWO]}, ErrorCode.MEDIA_NOT_FOUND, "media_ids"),
    ],
)
def test_what_a_message_may_not_be(changes: dict[str, Any], code: ErrorCode, field: str) -> None:
    error = refusal(**changes)
    assert (error.code, error.details["field"], error.outcome) == (code, field, "none")


def test_text_beside_ciphertext_is_refused_rather_than_one_of_them_dropped() -> None:
    """The ciphertext was ignored when a text stood beside it. A client that believed it wrote in secret had its text
    stored readable."""
    assert refusal(text="secret", ciphertext="AAAA").details == {"field": "ciphertext"}


def test_eight_thousand_characters_are_a_message() -> None:
    assert len(send(text="ü" * 8_000).text) == 8_000


HISTORY = {"conversation_id": TALK}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ReadHistory(ME, 50)),
        ({"limit": 200}, ReadHistory(ME, 200)),
        ({"limit": 201}, ReadHistory(ME, 200)),
        ({"limit": 2**70}, ReadHistory(ME, 200)),
        ({"before_seq": 0}, ReadHistory(ME, 50, before_seq=0)),
        ({"after_seq": 7, "order": "asc"}, ReadHistory(ME, 50, after_seq=7, ascending=True)),
    ],
)
def test_history(fields: dict[str, Any], expected: ReadHistory) -> None:
    assert history_command(payload_of(HistoryPayload, {**HISTORY, **fields}), ME) == expected


@pytest.mark.parametrize(
    ("fields", "field"), [({"before_seq": 1, "after_seq": 1}, "after_seq"), ({"order": "random"}, "order")]
)
def test_a_history_that_cannot_be(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(KithError) as refused:
        history_command(payload_of(HistoryPayload, {**HISTORY, **fields}), ME)
    assert refused.value.details == {"field": field}


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (500, 500), (501, 500)])
def test_range_is_clamped(limit: int, expected: int) -> None:
    payload = payload_of(RangePayload, {"conversation_id": TALK, "after_rev": 3, "limit": limit})
    assert range_command(payload, ME) == ReadRange(ME, 3, expected)


def test_open_shows_fifty_messages_and_the_members() -> None:
    payload = payload_of(OpenPayload, {"conversation_id": TALK})
    assert open_command(payload, ME) == OpenConversation(ME, messages=50, members=True)


@pytest.mark.parametrize(
    ("type_", "fields", "field"),
    [
        (SendPayload, {"client_id": ONE}, "conversation_id"),
        (SendPayload, {"conversation_id": 7}, "conversation_id"),
        (SendPayload, {"conversation_id": "short"}, "conversation_id"),
        (SendPayload, {"conversation_id": TALK, "client_id": None}, "client_id"),
        (SendPayload, {"conversation_id": TALK, "client_id": ONE, "text": None}, "text"),
        (SendPayload, {"conversation_id": TALK, "client_id": ONE, "mentions": [7]}, "mentions[0]"),
        (SendPayload, {"conversation_id": TALK, "client_id": ONE, "mentions": [TWO] * 51}, "mentions"),
        (SendPayload, {"conversation_id": TALK, "client_id": ONE, "media_ids": [TWO] * 11}, "media_ids"),
        (HistoryPayload, {**HISTORY, "limit": 0}, "limit"),
        (HistoryPayload, {**HISTORY, "before_seq": -1}, "before_seq"),
        (HistoryPayload, {**HISTORY, "before_seq": 2**70}, "before_seq"),
        (HistoryPayload, {**HISTORY, "before_seq": True}, "before_seq"),
        (HistoryPayload, {**HISTORY, "before_seq": 1.5}, "before_seq"),
        (RangePayload, {"conversation_id": TALK}, "after_rev"),
    ],
)
def test_a_field_that_does_not_fit_is_named(type_: type[Any], fields: dict[str, Any], field: str) -> None:
    with pytest.raises(msgspec.ValidationError) as problem:
        payload_of(type_, fields)
    error = fault(str(problem.value))
    assert (error.code, error.details) == (ErrorCode.INVALID_PAYLOAD, {"field": field})
    assert "$" not in error.message


@pytest.mark.parametrize("text", ["", "no id", "0" * 37])
def test_what_is_no_id_is_told_so_as_http_does(text: str) -> None:
    """It said "Expected `str` of length >= 36", which is msgspec's business and no help."""
    with pytest.raises(msgspec.ValidationError) as problem:
        payload_of(OpenPayload, {"conversation_id": text})
    error = fault(str(problem.value))
    assert (error.message, error.details) == (
        "`conversation_id` must be a UUID",
        {"field": "conversation_id"},
    )


def test_what_has_no_field_of_its_own_is_named_by_what_it_stands_in() -> None:
    assert fault("Expected `object`, got `null`", "payload").details == {"field": "payload"}
    assert fault("Expected `object`, got `null`").details == {}
