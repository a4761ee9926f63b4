"""The session: every (state, frame) pair, and bad input of every kind, against real actors and a transport that is a
list."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actors.limiter import DEFAULT_LIMITS, Limit, LimiterOptions, LimitSpec
from actors.rules.bucket import Rate
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId
from actors.shapes.users import Ending
from realtime.inbound import COMMANDS
from realtime.link import LostReason
from realtime.session import BAD_PAYLOADS, EARLY_BYTES, EARLY_FRAMES, ENDINGS, State
from realtime.wire.close import CloseCode
from tests.actors.small_node import settled, small_node
from tests.realtime.small_gate import EPOCH, Client, SmallGate

PING = {"type": "ping", "ref": "p"}
PONG = {"type": "ok", "ref": "p", "payload": {}}


class Scene:
    """A gate, two people, their conversation."""

    def __init__(self, gate: SmallGate) -> None:
        self.gate, self.node = gate, gate.node
        self.ann, self.bob = self.node.add_user("ann"), self.node.add_user("bob")
        self.talk = self.node.add_direct(self.ann, self.bob)

    def hello(self, token: str | None, **more: Any) -> dict[str, Any]:
        return {"type": "hello", "ref": "h", "payload": {"token": token, **more}}

    async def send(self, client: Client, text: str = "hello", **more: Any) -> Any:
        payload = {"conversation_id": self.talk, "client_id": self.node.new_id(), "text": text, **more}
        return await client.command("message.send", **payload)


@pytest.fixture
async def scene(autojump_clock: object, nursery: trio.Nursery) -> Any:
    async with small_node() as node:
        yield Scene(SmallGate(node))


def error_of(frame: Any) -> tuple[Any, str]:
    assert frame["type"] == "error", frame
    return frame["ref"], frame["error"]["code"]


# -- hello ------------------------------------------------------------------------------------------------------------


async def test_hello_is_answered_and_everything_is_told(autojump_clock: object, scene: Scene) -> None:
    login = LoginId(scene.node.new_id())
    client = scene.gate.stranger()
    told = await client.ask(scene.hello(scene.gate.token(scene.ann, login)))
    assert [frame["type"] for frame in told] == ["connected", "caught_up"]
    connected = told[0]["payload"]
    assert told[0]["ref"] == "h"
    assert connected.pop("server_time").endswith("Z")
    assert connected == {
        "user_id": scene.ann,
        "session_id": login,
        "epoch": EPOCH,
        "unread_notifications": 0,
        "heartbeat_seconds": 25.0,
        "resumed": False,
        "cursor": None,
    }
    assert told[1]["payload"] == {
        "cursor": None,
        "epoch": EPOCH,
        "heads": {scene.talk: 1},
        "user_rev": 0,
        "reload": [],
    }
    assert (client.link.signed_in, client.link.closed, client.session.state) == (1, [], State.READY)


async def expired(scene: Scene) -> str:
    token = scene.gate.token(scene.ann, lifetime=1)
    await trio.sleep(2)
    return token


async def revoked(scene: Scene) -> str:
    login = LoginId(scene.node.new_id())
    scene.node.revocations.add([login])
    return scene.gate.token(scene.ann, login)


async def nonsense(scene: Scene) -> str:
    return "not.a.token"


async def empty(scene: Scene) -> str:
    return ""


async def missing(scene: Scene) -> None:
    return None


async def of_nobody(scene: Scene) -> str:
    return scene.gate.token(scene.node.new_id())  # type: ignore[arg-type]


Token = Callable[[Scene], Awaitable[str | None]]


@pytest.mark.parametrize(
    ("token", "close", "code"),
    [
        (nonsense, CloseCode.INVALID_TOKEN, "INVALID_TOKEN"),
        (empty, CloseCode.INVALID_TOKEN, "INVALID_TOKEN"),
        (missing, CloseCode.INVALID_TOKEN, "INVALID_TOKEN"),
        (expired, CloseCode.NO_HELLO, "TOKEN_EXPIRED"),
        (revoked, CloseCode.REVOKED, "INVALID_TOKEN"),
    ],
)
async def test_a_hello_that_is_not_good_enough(
    autojump_clock: object, scene: Scene, token: Token, close: CloseCode, code: str
) -> None:
    client = scene.gate.stranger()
    told = await client.ask(scene.hello(await token(scene)))
    assert [error_of(frame) for frame in told] == [("h", code)]
    assert (client.link.code, client.link.signed_in, client.session.state) == (close, 0, State.ENDED)


@pytest.mark.parametrize("token", [nonsense, empty, missing, expired, revoked])
async def test_bad_hellos_of_one_address_are_soon_told_to_come_later(
    autojump_clock: object, scene: Scene, token: Token
) -> None:
    """Each costs a signature, and nobody paid: tokens could be guessed here as often as the handshakes allow."""
    bad = await token(scene)
    paid = scene.gate.gate.limiter.bucket(Limit.UNAUTHENTICATED, "192.0.2.1")
    paid.tokens = 0
    client = scene.gate.stranger()
    (told,) = await client.ask(scene.hello(bad))
    assert error_of(told) == ("h", "RATE_LIMIT_EXCEEDED")
    assert told["error"]["retry_after"] == pytest.approx(0.1, abs=0.01)
    assert client.link.code == CloseCode.OVERLOADED
    # A good one from the same address is let in, and pays nothing.
    left = paid.tokens
    assert (await scene.gate.ready(scene.ann)).link.code is None
    assert paid.tokens == left


async def test_a_token_of_an_account_that_is_gone(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.stranger()
    assert await client.ask(scene.hello(await of_nobody(scene))) == []
    assert client.link.code == CloseCode.REVOKED


@pytest.mark.parametrize(
    "frame",
    [
        PING,
        {"type": "message.send", "ref": "p"},
        {"type": "dance", "ref": "p"},
        {"ref": "p"},
        {"type": "hello", "ref": "p", "payload": {"token": 7}},
        {"type": "hello", "ref": "p", "payload": []},
        b"{",
        b"",
        b"[]",
        b"[" * 200_000,
    ],
)
async def test_a_stranger_says_hello_first_or_goes(autojump_clock: object, scene: Scene, frame: Any) -> None:
    client = scene.gate.stranger()
    (told,) = await client.ask(frame)
    assert error_of(told)[0] == ("p" if isinstance(frame, dict) else None)
    assert (client.link.code, client.session.state) == (CloseCode.INVALID_TOKEN, State.ENDED)


async def test_silence_of_a_stranger_is_not_a_hello(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.stranger()
    client.session.idle_hello()
    await settled()
    assert (client.session.state, client.link.take()) == (State.WAITING, [])


async def test_silence_of_who_is_known_is_a_hello(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.known(scene.ann)
    client.session.idle_hello()
    client.session.idle_hello()
    await settled()
    assert [frame["type"] for frame in client.link.take()] == ["connected", "caught_up"]
    client.session.idle_hello()
    await settled()
    assert client.link.take() == []


async def test_who_is_known_may_begin_with_anything(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.known(scene.ann)
    told = await client.ask(PING)
    assert [frame["type"] for frame in told] == ["connected", "caught_up", "ok"]
    assert "ref" not in told[0]
    assert told[2] == PONG


@pytest.mark.parametrize("frame", [b"{", b"[]", b'{"type":7}', b'{"type":"hello","payload":{"attempt":"x"}}'])
async def test_a_bad_first_frame_of_who_is_known_is_answered_like_any_other(
    autojump_clock: object, scene: Scene, frame: bytes
) -> None:
    """It closed with 4500, `sign in again`, although the upgrade's token was good."""
    client = scene.gate.known(scene.ann)
    told = await client.ask(frame)
    assert [said["type"] for said in told] == ["connected", "caught_up", "error"]
    assert error_of(told[2]) == (None, "INVALID_PAYLOAD")
    assert (client.link.code, client.session.state) == (None, State.READY)


async def test_who_is_known_may_say_hello_without_a_token(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.known(scene.ann)
    told = await client.ask({"type": "hello", "ref": 1, "payload": {"device_id": "phone", "attempt": 3}})
    assert [(said["type"], said.get("ref")) for said in told] == [("connected", 1), ("caught_up", None)]
    late = scene.gate.known(scene.ann)
    await late.ask({"type": "hello", "payload": {"device_id": "phone", "attempt": 3}})
    assert late.link.code == CloseCode.REPLACED


async def test_a_hello_cannot_make_somebody_else_of_who_is_known(autojump_clock: object, scene: Scene) -> None:
    """The token of the first hello silently took the place of the one in the upgrade, whosever it was."""
    client = scene.gate.known(scene.ann)
    told = await client.ask(scene.hello(scene.gate.token(scene.bob)))
    assert [error_of(said) for said in told] == [("h", "INVALID_TOKEN")]
    assert client.link.code == CloseCode.INVALID_TOKEN


async def test_hello_again_is_answered_without_a_replay(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    login = LoginId(scene.node.new_id())
    told = await client.ask(scene.hello(scene.gate.token(scene.ann, login)))
    assert [(said["type"], said["ref"], said["payload"]["session_id"]) for said in told] == [("connected", "h", login)]
    assert (await scene.send(client))["type"] == "ok"


@pytest.mark.parametrize(
    ("token", "close", "code"),
    [
        (nonsense, CloseCode.INVALID_TOKEN, "INVALID_TOKEN"),
        (missing, CloseCode.INVALID_TOKEN, "INVALID_TOKEN"),
        (expired, CloseCode.NO_HELLO, "TOKEN_EXPIRED"),
        (revoked, CloseCode.REVOKED, "INVALID_TOKEN"),
    ],
)
async def test_a_bad_hello_again_ends_the_connection(
    autojump_clock: object, scene: Scene, token: Token, close: CloseCode, code: str
) -> None:
    client = await scene.gate.ready(scene.ann)
    told = await client.ask(scene.hello(await token(scene)))
    assert [error_of(said) for said in told] == [("h", code)]
    assert client.link.code == close
    await settled()
    assert not scene.node.users.is_pinned(scene.ann)


async def test_hello_again_as_somebody_else_ends_the_connection(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    told = await client.ask(scene.hello(scene.gate.token(scene.bob)))
    assert [error_of(said) for said in told] == [("h", "INVALID_TOKEN")]
    assert client.link.code == CloseCode.INVALID_TOKEN


# -- joining ----------------------------------------------------------------------------------------------------------


async def test_frames_that_come_too_early_are_done_in_order_afterwards(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.stranger()
    client.say(scene.hello(scene.gate.token(scene.ann)))
    for number in range(EARLY_FRAMES - 2):
        client.say({"type": "ping", "ref": number})
    client.say(b"{")
    client.say(scene.hello(scene.gate.token(scene.ann)))
    assert (client.session.state, client.link.take()) == (State.JOINING, [])
    await settled()
    told = client.link.take()
    assert [said["type"] for said in told[:2]] == ["connected", "caught_up"]
    assert [said["ref"] for said in told[2:-2]] == list(range(EARLY_FRAMES - 2))
    assert [said["type"] for said in told[-2:]] == ["error", "connected"]


@pytest.mark.parametrize(("size", "count"), [(30, EARLY_FRAMES), (250_000, EARLY_BYTES // 250_000)])
async def test_so_many_early_frames_at_most(autojump_clock: object, scene: Scene, size: int, count: int) -> None:
    """Only their number was bounded: a hundred frames of 256 KiB waited for every connection that was joining."""
    client = scene.gate.stranger()
    client.say(scene.hello(scene.gate.token(scene.ann)))
    frame = json.dumps({"type": "ping", "x": "y" * (size - 24)}).encode()
    for _ in range(count):
        client.say(frame)
    assert client.link.code is None
    client.say(frame)
    assert client.link.closed == [(CloseCode.OVERLOADED, "OVERLOADED")]
    assert [error_of(said) for said in client.link.take()] == [(None, "OVERLOADED")]
    await settled()
    assert client.link.take() == []
    assert not scene.node.users.is_pinned(scene.ann)


async def test_who_is_lost_while_joining_leaves_nothing_behind(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.stranger()
    client.say(scene.hello(scene.gate.token(scene.ann)))
    client.say(PING)
    client.lose()
    await settled()
    assert (client.link.take(), client.session.state) == ([], State.ENDED)
    assert not scene.node.users.is_pinned(scene.ann)


async def test_when_the_world_does_not_let_it_join_it_comes_back_later(autojump_clock: object, scene: Scene) -> None:
    scene.node.user_store.failures.append(KithError(ErrorCode.UNAVAILABLE))
    client = scene.gate.stranger()
    told = await client.ask(scene.hello(scene.gate.token(scene.ann)))
    assert [error_of(said) for said in told] == [("h", "UNAVAILABLE")]
    assert client.link.code == CloseCode.OVERLOADED
    client.lose()
    await settled()
    assert not scene.node.users.is_pinned(scene.ann)


async def test_when_the_node_stops_nobody_joins_any_more(autojump_clock: object, scene: Scene) -> None:
    await scene.node.system.stop()
    client = scene.gate.stranger()
    told = await client.ask(scene.hello(scene.gate.token(scene.ann)))
    assert [error_of(said) for said in told] == [("h", "UNAVAILABLE")]
    assert client.link.code == CloseCode.OVERLOADED


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", list(Ending))
async def test_every_ending_has_its_close_code(autojump_clock: object, scene: Scene, ending: Ending) -> None:
    client = await scene.gate.ready(scene.ann)
    client.session.end(ending)
    client.session.end(ending)
    assert client.link.closed == [(ENDINGS[ending], ending.value)]
    assert await client.ask(PING) == []


@pytest.mark.parametrize("reason", list(LostReason))
async def test_whoever_is_lost_is_taken_off_the_list(autojump_clock: object, scene: Scene, reason: LostReason) -> None:
    client = await scene.gate.ready(scene.ann)
    assert scene.node.users.is_pinned(scene.ann)
    client.session.lost(reason)
    await settled()
    assert not scene.node.users.is_pinned(scene.ann)
    assert await client.ask(PING) == []
    assert client.session.state is State.ENDED


async def test_an_ended_session_takes_and_tells_nothing(autojump_clock: object, scene: Scene) -> None:
    client = scene.gate.stranger()
    await client.ask(PING)
    for frame in (PING, scene.hello(scene.gate.token(scene.ann)), b"{"):
        assert await client.ask(frame) == []
    client.session.idle_hello()
    client.session.end(Ending.RESTART)
    client.lose()
    assert client.link.code == CloseCode.INVALID_TOKEN


async def test_an_answer_that_comes_after_the_end_goes_nowhere(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    scene.node.journal.hold()
    payload = {"conversation_id": scene.talk, "client_id": scene.node.new_id(), "text": "x"}
    await client.ask({"type": "message.send", "ref": 1, "payload": payload})
    client.lose()
    scene.node.journal.release()
    await settled()
    assert client.link.take() == []
    assert len(scene.node.tables.conversations[scene.talk].messages) == 1


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [1, -5, 2**63 - 1, -(2**63), 0, "", "r", "😀" * 1_000, "\u0000😀"])
async def test_a_ref_comes_back_as_it_was_given(autojump_clock: object, scene: Scene, ref: Any) -> None:
    client = await scene.gate.ready(scene.ann)
    assert await client.ask({"type": "ping", "ref": ref}) == [{"type": "ok", "ref": ref, "payload": {}}]
    (error,) = await client.ask({"type": "dance", "ref": ref})
    assert error_of(error) == (ref, "UNKNOWN_TYPE")
    payload = {"conversation_id": scene.talk, "client_id": scene.node.new_id(), "text": "x"}
    (ok,) = await client.ask({"type": "message.send", "ref": ref, "payload": payload})
    assert (ok["type"], ok["ref"]) == ("ok", ref)


@pytest.mark.parametrize("frame", [b'{"type":"ping"}', b'{"type":"ping","ref":null}'])
async def test_without_a_ref_a_ping_is_a_pong(autojump_clock: object, scene: Scene, frame: bytes) -> None:
    client = await scene.gate.ready(scene.ann)
    assert await client.ask(frame) == [{"type": "pong"}]


async def test_without_a_ref_only_errors_are_told(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    payload = {"conversation_id": scene.talk, "client_id": scene.node.new_id(), "text": "x"}
    assert await client.ask({"type": "message.send", "payload": payload}) == []
    (error,) = await client.ask({"type": "message.send", "payload": {**payload, "text": "another"}})
    assert error == {
        "type": "error",
        "ref": None,
        "error": {
            "code": "IDEMPOTENCY_CONFLICT",
            "message": "This client_id was used for another message",
            "details": {"field": "client_id"},
            "outcome": "none",
        },
    }


async def test_a_message_on_its_way(autojump_clock: object, scene: Scene) -> None:
    ann, other, bob = [await scene.gate.ready(user) for user in (scene.ann, scene.ann, scene.bob)]
    ok = (await scene.send(ann, "hello"))["payload"]
    assert ok.keys() == {"message_id", "seq", "rev", "created_at", "duplicate"}
    (event,) = bob.link.take()
    assert other.link.take() == [event]
    assert event["type"] == "message.created"
    shown = event["payload"]
    assert (shown["id"], shown["seq"], shown["rev"], shown["created_at"]) == (
        ok["message_id"],
        ok["seq"],
        ok["rev"],
        ok["created_at"],
    )
    assert (shown["text"], shown["sender_id"], shown["sender_name"]) == ("hello", scene.ann, "ann")
    assert "my_reactions" not in shown


async def test_what_is_read(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    for text in ("1", "2", "3"):
        await scene.send(client, text)
    history = (await client.command("message.history", conversation_id=scene.talk, limit=2))["payload"]
    assert ([m["text"] for m in history["messages"]], history["has_more"]) == (["3", "2"], True)
    for name in ("conversation.range", "message.range"):
        changes = (await client.command(name, conversation_id=scene.talk, after_rev=2))["payload"]
        assert ([c["rev"] for c in changes["changes"]], changes["upto_rev"], changes["more"]) == ([3, 4], 4, False)
    opened = (await client.command("conversation.open", conversation_id=scene.talk))["payload"]
    assert opened.keys() == {"conversation", "my", "rev", "messages", "members", "presence"}
    assert (opened["rev"], len(opened["messages"]), len(opened["members"])) == (4, 3, 2)


async def test_the_old_name_of_send(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    reply = await client.command("send", conversation_id=scene.talk, client_id=scene.node.new_id(), text="x")
    assert reply["payload"]["seq"] == 1
    assert scene.gate.metrics.value("commands_total", "message.send") == 1


@pytest.mark.parametrize("type", sorted(COMMANDS.keys() - {"hello", "ping"}))
async def test_to_a_stranger_every_command_says_what_it_says_of_nothing(
    autojump_clock: object, scene: Scene, type: str
) -> None:
    client = await scene.gate.ready(scene.node.add_user("eve"))
    rest = {"client_id": scene.node.new_id(), "text": "x", "after_rev": 0, "message_id": scene.node.new_id()}
    replies = []
    for place in (scene.talk, scene.node.new_id()):
        (reply,) = await client.ask({"type": type, "ref": 1, "payload": {"conversation_id": place, **rest}})
        replies.append(reply)
    assert error_of(replies[0]) == (1, "CONVERSATION_NOT_FOUND")
    assert replies[0] == replies[1]


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_messages_and_reads_pay_their_buckets(autojump_clock: object) -> None:
    limits = {
        **DEFAULT_LIMITS,
        Limit.MESSAGES: LimitSpec(Rate(2, 0.5)),
        Limit.REQUESTS: LimitSpec(Rate(1, 0.1)),
    }
    async with small_node() as node:
        scene = Scene(SmallGate(node, LimiterOptions(limits=limits)))
        client, second = await scene.gate.ready(scene.ann), await scene.gate.ready(scene.ann)
        assert (await scene.send(client))["type"] == "ok"
        second.link.take()
        assert (await scene.send(second))["type"] == "ok"
        client.link.take()
        refused = (await scene.send(client))["error"]
        assert (refused["code"], refused["retry_after"], refused["outcome"]) == ("RATE_LIMIT_EXCEEDED", 2.0, "none")
        await trio.sleep(2.0)
        assert (await scene.send(client))["type"] == "ok"
        read = {"conversation_id": scene.talk}
        assert (await client.command("message.history", **read))["type"] == "ok"
        refused = (await client.command("message.history", **read))["error"]
        assert (refused["code"], refused["retry_after"]) == ("RATE_LIMIT_EXCEEDED", 10.0)
        assert scene.gate.metrics.value("rate_limited_total", "messages") == 1
        assert scene.gate.metrics.value("command_errors_total", "RATE_LIMIT_EXCEEDED") == 2


async def test_hello_again_pays_too(autojump_clock: object, scene: Scene) -> None:
    """Every `hello` has a signature checked, and nothing bounded them: one client could keep a core busy with it."""
    client = await scene.gate.ready(scene.ann)
    hello = scene.hello(scene.gate.token(scene.ann))
    told = [(await client.ask(hello))[0] for _ in range(101)]
    assert [said["type"] for said in told] == ["connected"] * 100 + ["error"]
    assert error_of(told[-1]) == ("h", "RATE_LIMIT_EXCEEDED")
    assert await client.ask(PING) == [PONG]


async def test_a_load_user_meets_no_limit(autojump_clock: object, scene: Scene) -> None:
    scene.node.tables.users[scene.ann].limits = "load"
    client = await scene.gate.ready(scene.ann)
    for _ in range(12):
        client.say({"type": "message.history", "ref": 1, "payload": {"conversation_id": scene.talk}})
    for _ in range(1_500):
        payload = {"conversation_id": scene.talk, "client_id": scene.node.new_id(), "text": "x"}
        client.say({"type": "message.send", "ref": 1, "payload": payload})
        if scene.node.conversations._cells[scene.talk].mailbox.__len__() > 500:
            await settled()
    await settled()
    assert {said["type"] for said in client.link.take()} == {"ok"}


async def test_a_full_mailbox_is_said_at_once(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    scene.node.journal.hold()
    for _ in range(900):
        payload = {"conversation_id": scene.talk, "client_id": scene.node.new_id(), "text": "x"}
        client.say({"type": "message.send", "ref": 1, "payload": payload})
    await settled()
    scene.node.conversations._cells[scene.talk].mailbox._capacity = 1
    client.say({"type": "message.send", "ref": 2, "payload": payload})
    (told,) = client.link.take()
    assert error_of(told) == (2, "OVERLOADED")
    assert (told["error"]["outcome"], told["error"]["retry_after"]) == ("none", 1.0)
    scene.node.journal.release()
    await settled()


# -- bad input --------------------------------------------------------------------------------------------------------

SEND = {"conversation_id": "0190bbbb-0000-7000-8000-000000000001", "client_id": "0190bbbb-0000-7000-8000-000000000002"}
LONG = "x" * 8_001


def frame_of(type: str, payload: Any) -> bytes:
    return json.dumps({"type": type, "ref": 9, "payload": payload}).encode()


BAD_FRAMES: list[tuple[bytes, Any, dict[str, Any]]] = [
    # (frame, the ref of its answer, the details of its answer)
    (b"", None, {}),
    (b"{", None, {}),
    (b"nonsense", None, {}),
    (b"null", None, {}),
    (b"7", None, {}),
    (b'"text"', None, {}),
    (b"[]", None, {}),
    (b'[{"type":"ping"}]', None, {}),
    (b'{"type":"ping"} {"type":"ping"}', None, {}),
    (b'{"type":"ping",}', None, {}),
    (b"{'type':'ping'}", None, {}),
    (b'\xef\xbb\xbf{"type":"ping"}', None, {}),
    (b'{"type":"ping","ref":NaN}', None, {}),
    (b'{"type":"\\ud800","ref":9}', None, {}),
    (b'{"type":"ping","ref":"\\udfff"}', None, {}),
    (b"{}", None, {"field": "type"}),
    (b'{"ref":9}', 9, {"field": "type"}),
    (b'{"type":null,"ref":9}', 9, {"field": "type"}),
    (b'{"type":7,"ref":9}', 9, {"field": "type"}),
    (b'{"type":["ping"],"ref":9}', 9, {"field": "type"}),
    (b'{"type":"ping","ref":true}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":1.5}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":1.0}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":1e400}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":' + b"9" * 5_000 + b"}", None, {"field": "ref"}),
    (b'{"type":"ping","ref":9223372036854775808}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":-9223372036854775809}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":"' + b"x" * 1_001 + b'"}', None, {"field": "ref"}),
    (b'{"ref":"' + b"x" * 1_001 + b'","type":7}', None, {"field": "ref"}),
    (b'{"type":7,"ref":"' + b"x" * 1_001 + b'"}', None, {"field": "type"}),
    (b'{"type":"ping","ref":[1]}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":{}}', None, {"field": "ref"}),
    (b'{"type":"ping","ref":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, {"field": "ref"}),
    (b'{"type":"ping","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, {}),
    (b'{"type":"ping","payload":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_000 + b"}", None, {}),
    (frame_of("ping", None), 9, {"field": "payload"}),
    (frame_of("ping", 7), 9, {"field": "payload"}),
    (frame_of("ping", []), 9, {"field": "payload"}),
    (frame_of("message.send", "text"), 9, {"field": "payload"}),
    (frame_of("message.send", {}), 9, {"field": "conversation_id"}),
    (frame_of("message.send", {**SEND, "conversation_id": 7, "text": "x"}), 9, {"field": "conversation_id"}),
    (frame_of("message.send", {**SEND, "conversation_id": "no", "text": "x"}), 9, {"field": "conversation_id"}),
    (frame_of("message.send", {**SEND, "conversation_id": "g" * 36, "text": "x"}), 9, {"field": "conversation_id"}),
    (frame_of("message.send", {**SEND, "client_id": None, "text": "x"}), 9, {"field": "client_id"}),
    (frame_of("message.send", {**SEND, "client_id": "urn:" + "a" * 32, "text": "x"}), 9, {"field": "client_id"}),
    (frame_of("message.send", SEND), 9, {"field": "text"}),
    (frame_of("message.send", {**SEND, "text": 7}), 9, {"field": "text"}),
    (frame_of("message.send", {**SEND, "text": None}), 9, {"field": "text"}),
    (frame_of("message.send", {**SEND, "text": ["x"]}), 9, {"field": "text"}),
    (frame_of("message.send", {**SEND, "text": ""}), 9, {"field": "text"}),
    (frame_of("message.send", {**SEND, "text": "a\x00b"}), 9, {"field": "text"}),
    (frame_of("message.send", {**SEND, "ciphertext": "AAAA"}), 9, {"field": "ciphertext"}),
    (frame_of("message.send", {**SEND, "text": "x", "reply_to": 7}), 9, {"field": "reply_to"}),
    (frame_of("message.send", {**SEND, "text": "x", "after": "no"}), 9, {"field": "after"}),
    (frame_of("message.send", {**SEND, "text": "x", "mentions": "you"}), 9, {"field": "mentions"}),
    (frame_of("message.send", {**SEND, "text": "x", "mentions": [7]}), 9, {"field": "mentions[0]"}),
    (frame_of("message.send", {**SEND, "text": "x", "mentions": ["g" * 36]}), 9, {"field": "mentions"}),
    (frame_of("message.send", {**SEND, "text": "x", "mentions": [SEND["client_id"]] * 51}), 9, {"field": "mentions"}),
    (frame_of("message.send", {**SEND, "text": "x", "media_ids": {}}), 9, {"field": "media_ids"}),
    (frame_of("message.history", {**SEND, "limit": 0}), 9, {"field": "limit"}),
    (frame_of("message.history", {**SEND, "limit": "10"}), 9, {"field": "limit"}),
    (frame_of("message.history", {**SEND, "before_seq": -1}), 9, {"field": "before_seq"}),
    (frame_of("message.history", {**SEND, "before_seq": 2**70}), 9, {"field": "before_seq"}),
    (frame_of("message.history", {**SEND, "before_seq": 1, "after_seq": 1}), 9, {"field": "after_seq"}),
    (frame_of("message.history", {**SEND, "order": "up"}), 9, {"field": "order"}),
    (frame_of("conversation.range", SEND), 9, {"field": "after_rev"}),
    (frame_of("conversation.range", {**SEND, "after_rev": 1.5}), 9, {"field": "after_rev"}),
    (frame_of("conversation.open", {"conversation_id": False}), 9, {"field": "conversation_id"}),
    (frame_of("hello", {"token": 7}), 9, {"field": "token"}),
    (frame_of("hello", {"token": "x", "attempt": "soon"}), 9, {"field": "attempt"}),
    (frame_of("hello", {"token": "x", "device_id": ""}), 9, {"field": "device_id"}),
    (frame_of("hello", {"token": "x", "device_id": "d" * 201}), 9, {"field": "device_id"}),
]


@pytest.mark.parametrize(("frame", "ref", "details"), BAD_FRAMES, ids=range(len(BAD_FRAMES)))
async def test_a_bad_frame_is_answered_and_the_connection_stays(
    autojump_clock: object, scene: Scene, frame: bytes, ref: Any, details: dict[str, Any]
) -> None:
    client = await scene.gate.ready(scene.ann)
    (told,) = await client.ask(frame)
    assert error_of(told) == (ref, "INVALID_PAYLOAD")
    assert (told["error"]["details"], told["error"]["outcome"]) == (details, "none")
    assert "retry_after" not in told["error"]
    assert "recursion" not in told["error"]["message"]
    assert await client.ask(PING) == [PONG]
    assert client.link.code is None
    assert scene.node.journal.appended == []


async def test_lone_surrogates_in_a_text_are_no_text(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    for text in (b'"\\ud800"', b'"x\\udfffy"', b'"\\ud83dx"'):
        frame = b'{"type":"message.send","ref":9,"payload":{"text":' + text + b"}}"
        (told,) = await client.ask(frame)
        assert error_of(told)[1] == "INVALID_PAYLOAD"
    sent = await scene.send(client, "😀")  # a pair is one character
    assert sent["type"] == "ok"


async def test_a_text_that_is_too_long_is_no_violation(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    for _ in range(2 * BAD_PAYLOADS):
        (told,) = await client.ask(frame_of("message.send", {**SEND, "text": LONG}))
        assert error_of(told) == (9, "CONTENT_TOO_LONG")
    assert client.link.code is None


async def test_what_is_unknown_in_a_frame_is_ignored_and_the_last_of_two_counts(
    autojump_clock: object, scene: Scene
) -> None:
    client = await scene.gate.ready(scene.ann)
    assert await client.ask(b'{"type":"ping","ref":"p","x":{"y":[1e9]},"payload":{"z":1}}') == [PONG]
    assert await client.ask(b'{"type":"dance","type":"ping","ref":1,"ref":"p"}') == [PONG]


@pytest.mark.parametrize("type", ["dance", "", "PING", "ping ", "typing.begin", "x" * 5_000, "\u0000"])
async def test_unknown_types_are_answered_and_never_counted(autojump_clock: object, scene: Scene, type: str) -> None:
    client = await scene.gate.ready(scene.ann)
    for _ in range(3 * BAD_PAYLOADS):
        (told,) = await client.ask({"type": type, "ref": 1})
        assert error_of(told) == (1, "UNKNOWN_TYPE")
        assert told["error"]["details"] == {"type": type[:100]}
    assert client.link.code is None


async def test_twenty_bad_payloads_in_a_minute_are_too_many(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    for number in range(BAD_PAYLOADS):
        assert client.link.code is None
        (told,) = await client.ask(b"{" if number % 2 else frame_of("message.send", {}))
        assert error_of(told)[1] == "INVALID_PAYLOAD"
        await client.ask(PING)  # good frames in between change nothing
    assert client.link.code == CloseCode.VIOLATIONS
    await settled()
    assert not scene.node.users.is_pinned(scene.ann)


async def test_nineteen_in_each_minute_are_not(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    for _ in range(3):
        for _ in range(BAD_PAYLOADS - 1):
            await client.ask(b"{")
        await trio.sleep(60.1)
    assert client.link.code is None


async def test_payloads_that_only_the_actor_can_refuse_count_too(autojump_clock: object, scene: Scene) -> None:
    """Only what the session refused by itself was counted, so mentions of strangers could be tried without end."""
    client = await scene.gate.ready(scene.ann)
    stranger = scene.node.new_id()
    for _ in range(BAD_PAYLOADS):
        assert error_of(await scene.send(client, mentions=[stranger]))[1] == "INVALID_PAYLOAD"
    assert client.link.code == CloseCode.VIOLATIONS


async def test_every_command_and_every_error_is_counted(autojump_clock: object, scene: Scene) -> None:
    client = await scene.gate.ready(scene.ann)
    await client.ask(PING)
    await client.ask(b"{")
    await client.ask({"type": "dance"})
    await scene.send(client)
    value = scene.gate.metrics.value
    assert (value("commands_total", "ping"), value("commands_total", "message.send")) == (1, 1)
    errors = [value("command_errors_total", code) for code in ("INVALID_PAYLOAD", "UNKNOWN_TYPE")]
    assert errors == [1, 1]
