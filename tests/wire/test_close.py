"""Close codes and the payload of a close frame."""

import pytest

from realtime.wire.close import MAX_REASON_BYTES, Close, CloseCode, Violation, close_payload, may_be_sent, parse_close


def test_nothing_is_a_close_without_status() -> None:
    assert parse_close(b"") == Close(1005, "")
    assert close_payload(CloseCode.NO_STATUS) == b""


@pytest.mark.parametrize("code", [code for code in CloseCode if code not in (1005, 1006)])
def test_every_code_we_use_may_be_sent(code: CloseCode) -> None:
    assert may_be_sent(code)
    assert parse_close(close_payload(code, "why")) == Close(code, "why")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_codes_that_must_not_be_sent(code: int) -> None:
    assert isinstance(parse_close(code.to_bytes(2, "big")), Violation)


def test_a_long_reason_is_cut_between_characters() -> None:
    """Half a character would make the client close with 1007 instead of reading our code."""
    payload = close_payload(4000, "a" + "ü" * 100)
    assert len(payload) == 2 + MAX_REASON_BYTES
    payload = close_payload(4000, "ü" * 100)
    assert len(payload) == 2 + MAX_REASON_BYTES - 1
    assert parse_close(payload) == Close(4000, "ü" * 61)
