"""The door: a bad credential meets plain HTTP, none at all meets a session that waits for its hello."""

import json

import pytest
import trio

from actors.limiter import Limit
from actors.shapes.ids import LoginId
from realtime.link import Admitted, Refused, UpgradeRequest
from realtime.reception import FrontDoor
from realtime.session import Session
from tests.actors.small_node import SmallNode
from tests.realtime.small_gate import FakeLink, SmallGate


class Doorstep:
    def __init__(self) -> None:
        self.node = SmallNode()
        self.gate = SmallGate(self.node)
        self.user = self.node.add_user("ann")
        self.door = FrontDoor(self.gate.gate, lambda: "req_1")

    def knock(self, authorization: str | None = None, *subprotocols: str) -> Admitted | Refused:
        headers = {} if authorization is None else {b"authorization": authorization.encode("latin-1")}
        return self.door.upgrade(UpgradeRequest("/ws", "", headers, "192.0.2.1", subprotocols))


def seated(admitted: Admitted | Refused) -> Session:
    assert isinstance(admitted, Admitted)
    session = admitted.seat(FakeLink())
    assert isinstance(session, Session)
    return session


async def test_without_a_credential_everybody_may_say_hello(autojump_clock: object) -> None:
    admitted = Doorstep().knock()
    assert seated(admitted).claims is None
    assert isinstance(admitted, Admitted)
    assert not admitted.authenticated


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   ", " Bearer "])
async def test_a_good_token_is_known_from_the_start(autojump_clock: object, scheme: str) -> None:
    step = Doorstep()
    admitted = step.knock(scheme + step.gate.token(step.user))
    assert isinstance(admitted, Admitted)
    assert admitted.authenticated
    assert seated(admitted).user_id == step.user


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer not.a.token", "Bearer \xff", "token"]
)
async def test_a_bad_credential_is_refused_in_plain_http(autojump_clock: object, header: str) -> None:
    refused = Doorstep().knock(header)
    assert isinstance(refused, Refused)
    body = json.loads(refused.body)
    assert (refused.status, body["error"]["code"], body["request_id"]) == (401, "INVALID_TOKEN", "req_1")
    assert body.keys() == {"error", "request_id", "timestamp"}
    assert body["error"].keys() == {"code", "message", "details"}
    headers = dict(refused.headers)
    assert headers == {
        "www-authenticate": "Bearer",
        "x-request-id": "req_1",
    }


@pytest.mark.parametrize("query", ["", "ticket=forged"])
async def test_bad_credentials_of_one_address_are_soon_told_to_stop(autojump_clock: object, query: str) -> None:
    """Each costs a signature, and nobody paid: tokens could be guessed here as often as the handshakes allow."""
    step = Doorstep()
    paid = step.gate.gate.limiter.bucket(Limit.UNAUTHENTICATED, "192.0.2.1")
    headers = {} if query else {b"authorization": b"Bearer not.a.token"}
    knock = UpgradeRequest("/ws", query, headers, "192.0.2.1")
    paid.tokens = 1
    answers = [step.door.upgrade(knock), step.door.upgrade(knock)]
    assert [answer.status for answer in answers if isinstance(answer, Refused)] == [401, 429]
    refused = answers[1]
    assert isinstance(refused, Refused)
    assert json.loads(refused.body)["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert dict(refused.headers) == {"retry-after": "1", "x-request-id": "req_1"}
    # Nobody else behind this address is locked out: a good one is let in, and pays nothing.
    left = paid.tokens
    assert isinstance(step.knock(f"Bearer {step.gate.token(step.user)}"), Admitted)
    assert paid.tokens == left
    await trio.sleep(0.1)
    assert isinstance(answer := step.door.upgrade(knock), Refused)
    assert answer.status == 401


async def test_an_expired_and_a_revoked_token_are_told_apart(autojump_clock: object) -> None:
    step = Doorstep()
    token = step.gate.token(step.user, lifetime=1)
    await trio.sleep(2)
    login = LoginId(step.node.new_id())
    step.node.revocations.add([login])
    codes = []
    for bad in (token, step.gate.token(step.user, login)):
        refused = step.knock(f"Bearer {bad}")
        assert isinstance(refused, Refused)
        codes.append(json.loads(refused.body)["error"]["code"])
    assert codes == ["TOKEN_EXPIRED", "INVALID_TOKEN"]


@pytest.mark.parametrize(
    ("offered", "selected"),
    [((), None), (("kith.v1",), "kith.v1"), (("chat", "kith.v1"), "kith.v1"), (("chat",), None), (("KITH.V1",), None)],
)
async def test_the_subprotocol_is_selected_when_it_is_offered(
    autojump_clock: object, offered: tuple[str, ...], selected: str | None
) -> None:
    admitted = Doorstep().knock(None, *offered)
    assert isinstance(admitted, Admitted)
    assert admitted.subprotocol == selected
