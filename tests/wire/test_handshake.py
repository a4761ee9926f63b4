"""Request heads: the good one, and everything that must not be answered with 101."""

import pytest

from realtime.wire.handshake import (
    BadUpgrade,
    Upgrade,
    accept_for,
    client_answer,
    client_request,
    find_head,
    judge_upgrade,
    plain_answer,
    read_fields,
    switching_protocols,
    wants_websocket,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "example.org",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY.decode(),
    "Sec-WebSocket-Version": "13",
}


def head_of(fields: dict[str, str], line: str = "GET /ws?x=1 HTTP/1.1", more: str = "") -> bytes:
    return "".join([line, "\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), more, "\r\n"]).encode()


def judged(data: bytes) -> Upgrade | BadUpgrade:
    head = find_head(data)
    assert head is not None
    assert wants_websocket(head)
    return judge_upgrade(head)


def test_rfc_section_1_3_accept() -> None:
    assert accept_for(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_good_upgrade() -> None:
    upgrade = judged(head_of({**GOOD, "Sec-WebSocket-Protocol": "kith.v1, other", "Cookie": "a=b"}) + b"frames")
    assert isinstance(upgrade, Upgrade)
    assert (upgrade.path, upgrade.query, upgrade.key) == ("/ws", "x=1", KEY)
    assert upgrade.subprotocols == ("kith.v1", "other")
    assert upgrade.headers[b"cookie"] == b"a=b"


@pytest.mark.parametrize("connection", ["upgrade", "keep-alive, Upgrade", "UPGRADE,foo"])
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket"])
def test_tokens_are_lists_without_case(connection: str, upgrade: str) -> None:
    assert isinstance(judged(head_of({**GOOD, "Connection": connection, "Upgrade": upgrade})), Upgrade)


BAD = {
    "http/1.0": (head_of(GOOD, line="GET /ws HTTP/1.0"), 400),
    "no host": (head_of({name: value for name, value in GOOD.items() if name != "Host"}), 400),
    "two hosts": (head_of(GOOD, more="Host: other\r\n"), 400),
    "no key": (head_of({name: value for name, value in GOOD.items() if "Key" not in name}), 400),
    "short key": (head_of({**GOOD, "Sec-WebSocket-Key": "c2hvcnQ="}), 400),
    "no base64": (head_of({**GOOD, "Sec-WebSocket-Key": "!" * 24}), 400),
    "two keys": (head_of(GOOD, more=f"Sec-WebSocket-Key: {KEY.decode()}\r\n"), 400),
    "version 8": (head_of({**GOOD, "Sec-WebSocket-Version": "8"}), 426),
    "no version": (head_of({name: value for name, value in GOOD.items() if "Version" not in name}), 426),
    "not connected": (head_of({**GOOD, "Connection": "keep-alive"}), 400),
    "something like it": (head_of({**GOOD, "Upgrade": "websocketx"}), 400),
    "two credentials": (head_of(GOOD, more="Authorization: a\r\nAuthorization: b\r\n"), 400),
    # What smugglers do: bytes that one reader takes for a body and the other for what follows.
    "length": (head_of({**GOOD, "Content-Length": "5"}), 400),
    "two lengths": (head_of(GOOD, more="Content-Length: 0\r\nContent-Length: 5\r\n"), 400),
    "same length twice": (head_of(GOOD, more="Content-Length: 0\r\nContent-Length: 0\r\n"), 400),
    "list of lengths": (head_of({**GOOD, "Content-Length": "0, 0"}), 400),
    "signed length": (head_of({**GOOD, "Content-Length": "+0"}), 400),
    "chunked": (head_of({**GOOD, "Transfer-Encoding": "chunked"}), 400),
    "chunked somehow": (head_of({**GOOD, "Transfer-Encoding": "xchunked"}), 400),
    "both": (head_of({**GOOD, "Transfer-Encoding": "chunked", "Content-Length": "0"}), 400),
    "space before colon": (head_of(GOOD, more="Content-Length : 5\r\n"), 400),
    "folded": (head_of(GOOD, more="X: a\r\n b\r\n"), 400),
    "bare return": (head_of(GOOD, more="X: a\rTransfer-Encoding: chunked\r\n"), 400),
    "zero byte": (head_of(GOOD, more="X: a\x00b\r\n"), 400),
    "no colon": (head_of(GOOD, more="nonsense\r\n"), 400),
    "no name": (head_of(GOOD, more=": x\r\n"), 400),
}


@pytest.mark.parametrize("name", BAD)
def test_what_must_not_be_upgraded(name: str) -> None:
    data, status = BAD[name]
    refused = judged(data)
    assert isinstance(refused, BadUpgrade), refused
    assert refused.status == status


def test_a_length_of_zero_is_harmless() -> None:
    assert isinstance(judged(head_of({**GOOD, "Content-Length": "0"})), Upgrade)


@pytest.mark.parametrize("ending", [b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\n\n"])
def test_a_head_ends_where_the_http_server_sees_it_end(ending: bytes) -> None:
    """h11 takes bare line feeds; a head whose end we did not see would hand its body to nobody."""
    head = find_head(b"GET / HTTP/1.1\r\nHost: x" + ending + b"body")
    assert head is not None
    assert head.size == len(b"GET / HTTP/1.1\r\nHost: x" + ending)


def test_a_head_is_found_at_its_last_byte_whatever_was_searched_before() -> None:
    data = head_of(GOOD)
    for size in range(len(data)):
        assert find_head(data[:size], max(0, size - 1)) is None
    assert find_head(data, len(data) - 1) is not None


def test_empty_lines_before_a_request_are_skipped() -> None:
    head = find_head(b"\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
    assert head is not None
    assert head.target == b"/x"


def test_only_a_get_with_an_upgrade_wants_a_websocket() -> None:
    for line, wanted in (("GET /ws HTTP/1.1", True), ("POST /ws HTTP/1.1", False), ("nonsense", False)):
        head = find_head(head_of(GOOD, line=line))
        assert head is not None
        assert wants_websocket(head) is wanted
    head = find_head(head_of({"Host": "x", "Upgrade": "h2c"}))
    assert head is not None
    assert not wants_websocket(head)


def test_client_and_server_understand_each_other() -> None:
    request = client_request("example.org", "/ws?a=b", KEY, [("Authorization", "Bearer t")])
    upgrade = judged(request)
    assert isinstance(upgrade, Upgrade)
    assert upgrade.headers[b"authorization"] == b"Bearer t"
    answer = client_answer(switching_protocols(upgrade.key, "kith.v1") + b"rest")
    assert answer is not None
    assert answer.status == 101
    assert answer.headers[b"sec-websocket-accept"] == accept_for(KEY)
    assert answer.headers[b"sec-websocket-protocol"] == b"kith.v1"
    assert client_answer(b"HTTP/1.1 101 Sw") is None


def test_a_plain_answer_is_whole() -> None:
    answer = client_answer(plain_answer(503, b"{}", [("Retry-After", "2")]))
    assert answer is not None
    assert (answer.status, answer.headers[b"retry-after"], answer.headers[b"connection"]) == (503, b"2", b"close")


def test_an_answer_that_is_no_http_has_status_zero() -> None:
    answer = client_answer(b"SSH-2.0-x\r\n\r\n")
    assert answer is not None
    assert answer.status == 0


@pytest.mark.parametrize("value", [b"a" + b" " * 16_000 + b"a", b" " * 16_000 + b"\x01"])
def test_a_head_full_of_blanks_is_read_in_one_go(value: bytes) -> None:
    """A pattern that also took the blanks off needed cubic time: one head of 16 KiB stopped the node for minutes."""
    read = read_fields([b"X: " + value])
    assert isinstance(read, BadUpgrade) if value.endswith(b"\x01") else read == {b"x": value}


def test_some_empty_lines_before_a_request_are_skipped_and_more_are_no_request() -> None:
    good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    found = find_head(b"\r\n" * 4 + good)
    assert found is not None
    assert found.method == b"GET"
    refused = find_head(b"\r\n" * 6 + good)
    assert refused is not None
    assert refused.method == b""
