"""The errors of the protocol: every code with its status, nothing else, and a client can act on each."""

import pytest

from actors.shapes.errors import TABLE, ErrorCode, KithError, invalid

# PROTOCOL.md section 5, by status.
PROTOCOL = {
    400: """INVALID_PAYLOAD INVALID_QUERY INVALID_EMAIL INVALID_USERNAME WEAK_PASSWORD CONTENT_TOO_LONG
        INVALID_VISIBILITY INVALID_STORY_VISIBILITY INVALID_REACTION_EMOJI INVALID_MEDIA INVALID_CURSOR
        INVALID_GROUP_SIZE SELF_FOLLOW SELF_BLOCK DUPLICATE_FOLLOW UNKNOWN_TYPE""",
    401: "INVALID_CREDENTIALS TOKEN_EXPIRED INVALID_TOKEN MISSING_AUTH_HEADER TOTP_REQUIRED",
    403: "FORBIDDEN NOT_CONTENT_OWNER NOT_FOLLOWING USER_BLOCKED STORY_ACCESS_DENIED EDIT_WINDOW_CLOSED",
    404: """USER_NOT_FOUND CONVERSATION_NOT_FOUND MESSAGE_NOT_FOUND STORY_NOT_FOUND CONTENT_NOT_FOUND MEDIA_NOT_FOUND
        HIGHLIGHT_NOT_FOUND KEY_EXCHANGE_NOT_FOUND PUBLIC_KEY_NOT_FOUND ROUTE_NOT_FOUND""",
    405: "METHOD_NOT_ALLOWED",
    409: """CONTENT_ALREADY_DELETED KEY_EXCHANGE_ALREADY_COMPLETED SUBSCRIPTION_ALREADY_ACTIVE STORY_ALREADY_REACTED
        IDEMPOTENCY_CONFLICT EMAIL_TAKEN USERNAME_TAKEN HIGHLIGHT_NAME_TAKEN GROUP_FULL CLOSE_FRIENDS_FULL
        STALE_KEY_EPOCH MEDIA_NOT_READY OUT_OF_ORDER RESYNC""",
    410: "STORY_EXPIRED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR DATABASE_ERROR ENCRYPTION_ERROR STORAGE_ERROR",
    501: "NOT_IMPLEMENTED",  # docs/decisions/0050: until the last route of the documents is built
    503: "UNAVAILABLE OVERLOADED TRY_AGAIN TIMEOUT STORAGE_UNAVAILABLE",
}
STATUS = {code: status for status, codes in PROTOCOL.items() for code in codes.split()}


def test_every_code_of_the_protocol_exists_with_its_status_and_no_other() -> None:
    assert {code.value: row.status for code, row in TABLE.items()} == STATUS
    assert {code.value for code in ErrorCode} == STATUS.keys()
    assert all(code.name == code.value for code in ErrorCode)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_an_error_says_what_its_row_says(code: ErrorCode) -> None:
    error = KithError(code)
    assert (error.status, error.message, error.details) == (STATUS[code], TABLE[code].text, {})
    assert error.message[0].isupper()
    assert not error.message.endswith(".")
    # 429 and 503 carry Retry-After; and what can be tried again says so in the table.
    assert (error.retry_after is not None) == (error.status in (429, 503))
    if error.status in (429, 503):
        assert TABLE[code].retryable


def test_only_these_leave_the_outcome_open() -> None:
    assert {code.value for code in ErrorCode if KithError(code).outcome == "unknown"} == {"TRY_AGAIN", "TIMEOUT"}
    assert KithError(ErrorCode.UNAVAILABLE, outcome="unknown").outcome == "unknown"
    assert KithError(ErrorCode.TIMEOUT, outcome="none").outcome == "none"


def test_what_is_given_takes_the_place_of_the_row() -> None:
    error = KithError(ErrorCode.OUT_OF_ORDER, "Wait", details={"after": "x"}, retry_after=0.1)
    assert (error.message, error.details, error.retry_after, str(error)) == ("Wait", {"after": "x"}, 0.1, "Wait")


def test_an_invalid_field_is_named() -> None:
    error = invalid("text", "`text` must not be empty")
    assert (error.code, error.details) == (ErrorCode.INVALID_PAYLOAD, {"field": "text"})
