"""The dialects: every event in the words of each, payloads untouched; each source's own samples and names work."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.envelopes import Ref, error_frame, event_frame, ok_frame
from actors.metrics import Counter
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.frames import COUNTER, EPHEMERAL, Frame
from actors.shapes.payloads import Nothing
from realtime import later
from realtime.dialects import MESSAGING, NOVA, OTHERS, Dialect, agreed
from realtime.inbound import ALIASES, COMMANDS, PONG, Command
from realtime.interpreter import InterpretedLink, InterpretedPeer, Words
from realtime.link import Admitted, UpgradeRequest
from realtime.protocol_tables import EVENTS
from realtime.reception import FrontDoor
from realtime.session import Session
from tests.actors.small_node import SmallNode, settled, small_node
from tests.realtime.small_gate import FakeLink, SmallGate

NOTIFICATIONS = "/api/v1/ws/notifications"
ALL_EVENTS = sorted({*EVENTS, *later.EVENTS})
ANSWERS = ("ok", "error")


def said(dialect: Dialect, frame: Frame) -> Any:
    return json.loads(dialect.outward(frame.payload))


# -- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", OTHERS, ids=lambda dialect: dialect.name)
def test_no_two_events_have_the_same_name(dialect: Dialect) -> None:
    names = [dialect.event(type) for type in (*ALL_EVENTS, *ANSWERS)]
    assert len(set(names)) == len(names)
    assert not any("." in name for name in names)


@pytest.mark.parametrize(
    ("type", "messaging", "nova"),
    [
        ("message.updated", "message_updated", "message_updated"),  # T173
        ("message.deleted", "message_deleted", "message_deleted"),  # T174
        ("member.joined", "member_joined", "member_joined"),  # T078
        ("member.left", "member_left", "member_left"),  # T077
        ("message.created", "message_created", "message_received"),  # 003: MessageReceived
        ("user.followed", "user_followed", "user_followed"),
        ("content.liked", "content_liked", "content_liked"),
        ("content.commented", "content_commented", "content_commented"),
        ("live.started", "live_started", "live_started"),
        ("tip.received", "tip_received", "tip_received"),
        ("key_exchange.requested", "key_exchange_requested", "key_exchange_requested"),
        ("typing", "typing", "typing"),
        ("connected", "connected", "connected"),
        ("going_away", "going_away", "going_away"),
        ("ok", "ok", "ok"),
    ],
)
def test_what_the_sources_call_it(type: str, messaging: str, nova: str) -> None:
    assert (MESSAGING.event(type), NOVA.event(type)) == (messaging, nova)


# -- 003's samples, as they stand there ----------------------------------------------------------------------------

SAMPLES = """
{"event": "connected", "data": {"user_id": "uuid", "unread_notifications": 42}}
{"event": "user_followed", "data": {"follower_id": "uuid", "follower_name": "Alice", "follower_avatar_url": "...", "timestamp": "2025-10-21T10:30:45Z"}}
{"event": "content_liked", "data": {"user_id": "uuid", "user_name": "Bob", "content_id": "uuid", "content_type": "post", "new_like_count": 42, "timestamp": "2025-10-21T10:30:45Z"}}
{"event": "live_started", "data": {"creator_id": "uuid", "creator_name": "Creator", "stream_id": "uuid", "title": "Stream title", "thumbnail_url": "...", "timestamp": "2025-10-21T10:30:45Z"}}
"""  # noqa: E501 - each is one frame


@pytest.mark.parametrize("line", SAMPLES.split("\n")[1:-1], ids=lambda line: line[11:24])
def test_the_samples_of_003_come_out_byte_for_byte(line: str) -> None:
    sample = json.loads(line)
    types = {NOVA.event(type): type for type in ALL_EVENTS}
    frame = event_frame(types[sample["event"]], sample["data"])
    assert NOVA.outward(frame.payload) == json.dumps(sample, separators=(",", ":")).encode()


# -- 001's snippet, line by line ---------------------------------------------------------------------------------


def on_message(text: bytes) -> str | None:
    """Walkthrough 7, in Python."""
    data = json.loads(text)
    if data["type"] == "story.viewed":
        return f"Story {data['payload']['story_id']} viewed by {data['payload']['viewer_id']}"
    if data["type"] == "story.reacted":
        return f"Story {data['payload']['story_id']} reacted with {data['payload']['emoji']}"
    return None


def test_the_snippet_of_001_reads_kith_as_it_is() -> None:
    viewed = event_frame("story.viewed", {"story_id": "s", "viewer_id": "v", "view_count": 3})
    reacted = event_frame("story.reacted", {"story_id": "s", "user_id": "v", "emoji": "🔥", "counts": {"🔥": 1}})
    assert on_message(viewed.payload) == "Story s viewed by v"
    assert on_message(reacted.payload) == "Story s reacted with 🔥"
    assert agreed("/ws", ()) == (None, None)


# -- envelopes ---------------------------------------------------------------------------------


def test_replies_and_the_edge_s_own_words_in_nova() -> None:
    error = error_frame("a", KithError(ErrorCode.UNKNOWN_TYPE, details={"type": "dance"}))
    told = said(NOVA, error)
    assert list(told) == ["ref", "data", "event"]
    assert told["data"] == json.loads(error.payload)["error"]
    assert said(NOVA, ok_frame(7, {"rev": 3})) == {"event": "ok", "ref": 7, "data": {"rev": 3}}
    assert said(NOVA, Frame(PONG)) == {"event": "pong", "data": {}}
    assert said(NOVA, Frame(b'{"type":"lagging","payload":{}}')) == {"event": "lagging", "data": {}}


def test_replies_and_the_edge_s_own_words_in_messaging() -> None:
    for frame in (ok_frame("a", {}), error_frame(None, KithError(ErrorCode.TIMEOUT)), Frame(PONG)):
        assert MESSAGING.outward(frame.payload) == frame.payload


def test_what_an_envelope_may_carry_one_day_is_not_lost() -> None:
    frame = b'{"type":"message.created","payload":{"a":1},"replay":true,"later":[1,{"x":null}]}'
    assert json.loads(NOVA.outward(frame)) == {
        "event": "message_received",
        "data": {"a": 1},
        "replay": True,
        "later": [1, {"x": None}],
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(ALL_EVENTS), st.dictionaries(st.text(), json_values, max_size=5), st.sampled_from(OTHERS))
def test_the_payload_of_any_event_stays_what_it_is(type: str, payload: dict[str, Any], dialect: Dialect) -> None:
    frame = event_frame(type, payload)
    kith, told = msgspec.json.decode(frame.payload, type=dict[str, msgspec.Raw]), dialect.outward(frame.payload)
    other = msgspec.json.decode(told, type=dict[str, msgspec.Raw])
    assert bytes(other[dialect.keys.get("payload", "payload")]) == bytes(kith["payload"])  # not only its value
    assert json.loads(bytes(other[dialect.keys.get("type", "type")])) == dialect.event(type)
    assert len(other) == len(kith) == 2


@given(st.text(), json_values, st.none() | st.integers(-(2**53), 2**53) | st.text())
def test_a_command_in_nova_means_the_same_in_kith(type: str, payload: Any, ref: Any) -> None:
    command = {"type": type, "ref": ref, "payload": payload}
    for envelope in (("event", "data"), ("event", "payload"), ("type", "data"), ("type", "payload")):
        text = json.dumps({envelope[0]: type, "ref": ref, envelope[1]: payload}).encode()
        assert json.loads(NOVA.inward(text)) == command
        assert MESSAGING.inward(text) == text


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b'"event"', b'{"event":', b'{"ref":1}', b"[" * 5_000, b'{"a":' * 5_000, b"{}"]
)
def test_what_is_no_command_is_left_to_the_session(text: bytes) -> None:
    assert NOVA.inward(text) == text


def test_where_both_names_of_a_field_are_there_kith_s_counts() -> None:
    text = b'{"type":"ping","event":"dance","data":{"a":1},"payload":{"b":2}}'
    assert NOVA.inward(text) == text
    assert json.loads(NOVA.inward(b'{"type":"ping","event":"dance","data":{}}'))["type"] == "ping"


# -- which dialect ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "offered", "dialect", "selected"),
    [
        ("/ws", (), None, None),
        ("/api/v1/ws", (), None, None),
        ("/ws", ("kith.v1",), None, "kith.v1"),
        ("/ws", ("messaging.v1",), MESSAGING, "messaging.v1"),
        ("/api/v1/ws", ("chat", "messaging.v1"), MESSAGING, "messaging.v1"),
        ("/ws", ("messaging.v1", "kith.v1"), MESSAGING, "messaging.v1"),
        ("/ws", ("kith.v1", "messaging.v1"), None, "kith.v1"),
        ("/ws", ("MESSAGING.V1", "messaging"), None, None),
        (NOTIFICATIONS, (), NOVA, None),
        ("/ws/notifications", (), NOVA, None),
        (NOTIFICATIONS, ("chat",), NOVA, None),
        (NOTIFICATIONS, ("kith.v1",), None, "kith.v1"),
        (NOTIFICATIONS, ("messaging.v1",), MESSAGING, "messaging.v1"),
    ],
)
def test_the_subprotocol_decides_and_else_the_path(
    path: str, offered: tuple[str, ...], dialect: Dialect | None, selected: str | None
) -> None:
    assert agreed(path, offered) == (dialect, selected)


# -- the frame and its translations ---------------------------------------------------------------------------------


def test_a_frame_is_translated_once_per_dialect_however_many_hear_it() -> None:
    made = {dialect.name: Counter() for dialect in OTHERS}
    words = {dialect.name: Words(dialect, made[dialect.name]) for dialect in OTHERS}
    links = [FakeLink() for _ in range(60)]
    kith, others = links[:20], [InterpretedLink(link, words[OTHERS[n % 2].name]) for n, link in enumerate(links[20:])]
    frame = event_frame("message.created", {"id": "m"})
    for link in kith:
        link.send(frame)
    for other in others:
        other.send(frame)
    assert {name: counter.value for name, counter in made.items()} == {"messaging": 1, "nova": 1}
    assert all(link.frames == [frame] for link in kith)
    assert len({id(link.frames[0]) for link in links[20:]}) == 2  # so that each is framed once for the wire, too


def test_a_frame_that_only_kith_hears_is_not_translated() -> None:
    frame = event_frame("message.created", {"id": "m"})
    FakeLink().send(frame)
    assert frame.others is None


def test_class_key_and_birth_are_those_of_the_original() -> None:
    words = Words(NOVA, Counter())
    counter = Frame(
        b'{"type":"story.counts","payload":{"story_id":"s","view_count":9}}', COUNTER, "story.counts/s", 1.5
    )
    told = words(counter)
    assert (told.frame_class, told.key, told.born) == (COUNTER, "story.counts/s", 1.5)
    assert words(event_frame("typing", {}, frame_class=EPHEMERAL)).frame_class is EPHEMERAL


# -- real sessions ---------------------------------------------------------------------------------


class Guest:
    """A connection of some dialect, through the door."""

    def __init__(self, house: "House", path: str, subprotocol: str | None, token: str | None = None) -> None:
        headers = {} if token is None else {b"authorization": f"Bearer {token}".encode()}
        offered = () if subprotocol is None else (subprotocol,)
        admitted = house.door.upgrade(UpgradeRequest(path, "", headers, "192.0.2.1", offered))
        assert isinstance(admitted, Admitted)
        assert admitted.subprotocol == subprotocol
        self.link = FakeLink(admitted.words)
        self.peer = admitted.seat(self.link)

    async def ask(self, frame: Any) -> list[Any]:
        self.peer.text(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
        await settled()
        return self.link.take()


class House:
    def __init__(self, node: SmallNode) -> None:
        self.node, self.gate = node, SmallGate(node)
        self.ann, self.bob = node.add_user("ann"), node.add_user("bob")
        self.talk = node.add_direct(self.ann, self.bob)
        self.door = FrontDoor(self.gate.gate, lambda: "req_1")

    async def enter(self, path: str = "/ws", subprotocol: str | None = None) -> Guest:
        """Ann, signed in by her upgrade, silent until she was told."""
        guest = Guest(self, path, subprotocol, self.gate.token(self.ann))
        guest.peer.idle_hello()
        await settled()
        assert [frame.get("type", frame.get("event")) for frame in guest.link.take()] == ["connected", "caught_up"]
        return guest


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with small_node() as node:
        yield House(node)


WAYS = [("/ws", None), ("/ws", "messaging.v1"), (NOTIFICATIONS, None)]


async def test_each_hears_the_same_message_in_its_own_words(autojump_clock: object, house: House) -> None:
    guests = [await house.enter(*way) for way in WAYS]
    await house.node.ask(house.talk, house.node.send_command(house.bob, "hi"))
    (kith,), (messaging,), (nova,) = [guest.link.take() for guest in guests]
    assert (kith["type"], messaging["type"], nova["event"]) == (
        "message.created",
        "message_created",
        "message_received",
    )
    assert kith["payload"] == messaging["payload"] == nova["data"]
    assert (kith["payload"]["text"], set(nova)) == ("hi", {"event", "data"})
    assert house.gate.metrics.value("frames_translated_total", "nova") == 3  # connected, caught_up, the message


async def test_003_is_told_connected_first_and_with_its_fields(autojump_clock: object, house: House) -> None:
    guest = Guest(house, NOTIFICATIONS, None, house.gate.token(house.ann))
    guest.peer.idle_hello()
    await settled()
    first = guest.link.take()[0]
    assert list(first) == ["event", "data"]
    assert first["event"] == "connected"
    assert {"user_id": house.ann, "unread_notifications": 0}.items() <= first["data"].items()


async def test_a_conversation_in_nova(autojump_clock: object, house: House) -> None:
    guest = Guest(house, NOTIFICATIONS, None)
    hello = {"event": "hello", "ref": 1, "data": {"token": house.gate.token(house.ann)}}
    connected, caught_up = await guest.ask(hello)
    assert (connected["event"], connected["ref"], connected["data"]["user_id"]) == ("connected", 1, house.ann)
    assert (caught_up["event"], caught_up["data"]["heads"]) == ("caught_up", {house.talk: 1})
    payload = {"conversation_id": house.talk, "client_id": house.node.new_id(), "text": "x"}
    (ok,) = await guest.ask({"event": "message.send", "ref": 2, "data": payload})
    assert (ok["event"], ok["ref"], ok["data"]["seq"]) == ("ok", 2, 1)
    (again,) = await guest.ask({"type": "message.send", "ref": 3, "payload": payload})
    assert (again["data"]["duplicate"], again["ref"]) == (True, 3)
    (refused,) = await guest.ask({"event": "dance", "ref": 4})
    assert (refused["event"], refused["ref"], refused["data"]["code"]) == ("error", 4, "UNKNOWN_TYPE")
    (broken,) = await guest.ask(b"{")
    assert (broken["event"], broken["ref"], broken["data"]["code"]) == ("error", None, "INVALID_PAYLOAD")
    assert await guest.ask({"event": "ping"}) == [{"event": "pong", "data": {}}]


async def test_last_words_are_in_the_dialect_too(autojump_clock: object, house: House) -> None:
    guest = Guest(house, NOTIFICATIONS, None)
    (refused,) = await guest.ask({"event": "hello", "ref": 1, "data": {"token": "nonsense"}})
    assert (refused["event"], refused["data"]["code"], guest.link.code) == ("error", "INVALID_TOKEN", 4500)


@pytest.mark.parametrize(("path", "subprotocol"), WAYS)
@pytest.mark.parametrize(
    ("name", "payload", "meant"),
    [
        ("online_status", {"status": "online"}, "presence.set"),
        ("typing", {"conversation_id": "$TALK"}, "typing.start"),
        ("typing", {"conversation_id": "$TALK", "is_typing": True}, "typing.start"),
        ("typing", {"conversation_id": "$TALK", "is_typing": False}, "typing.stop"),
        ("typing", {"conversation_id": "$TALK", "active": False}, "typing.stop"),
        ("typing", {"conversation_id": "$TALK", "typing": False}, "typing.stop"),
        ("add_reaction", {"message_id": "m", "emoji": "🔥"}, "reaction.add"),
        ("remove_reaction", {"message_id": "m", "emoji": "🔥"}, "reaction.remove"),
        ("receive", {"conversation_id": "$TALK", "seq": 1}, "receipt.delivered"),
    ],
)
async def test_004_s_names_are_understood_in_every_dialect(
    autojump_clock: object, house: House, path: str, subprotocol: str | None, name: str, payload: Any, meant: str
) -> None:
    guest = await house.enter(path, subprotocol)
    (reply,) = await guest.ask({"type": name, "ref": "r", "payload": payload})
    error = reply.get("error") or reply["data"]
    assert (error["code"], error["details"]) == ("NOT_IMPLEMENTED", {"type": meant})
    assert (reply["ref"], error["outcome"]) == ("r", "none")


@pytest.mark.parametrize(("path", "subprotocol"), WAYS)
async def test_004_s_send_sends(autojump_clock: object, house: House, path: str, subprotocol: str | None) -> None:
    guest = await house.enter(path, subprotocol)
    payload = {"conversation_id": house.talk, "client_id": house.node.new_id(), "text": "from 004"}
    (ok,) = await guest.ask({"type": "send", "ref": 1, "payload": payload})
    assert ok.get("type", ok.get("event")) == "ok"
    assert [message.text for message in house.node.tables.conversations[house.talk].messages] == ["from 004"]


async def test_typing_that_says_neither_is_told_which_field(autojump_clock: object, house: House) -> None:
    guest = await house.enter()
    (reply,) = await guest.ask({"type": "typing", "ref": 1, "payload": {"is_typing": "yes"}})
    assert (reply["error"]["code"], reply["error"]["details"]) == ("INVALID_PAYLOAD", {"field": "is_typing"})


async def test_typing_finds_its_two_commands_once_they_are_built(
    autojump_clock: object, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def start(_session: Session, _payload: Nothing, _ref: Ref) -> None:
        heard.append("start")

    def stop(_session: Session, _payload: Nothing, _ref: Ref) -> None:
        heard.append("stop")

    monkeypatch.setitem(COMMANDS, "typing.start", Command("typing.start", Nothing, start))
    monkeypatch.setitem(COMMANDS, "typing.stop", Command("typing.stop", Nothing, stop))
    guest = await house.enter()
    for payload in ({}, {"is_typing": False}):
        assert await guest.ask({"type": "typing", "payload": payload}) == []
    assert heard == ["start", "stop"]


# -- what comes later ---------------------------------------------------------------------------------


def test_what_comes_later_is_not_there_yet() -> None:
    assert later.COMMANDS.isdisjoint(COMMANDS)
    assert len(set(later.EVENTS)) == len(later.EVENTS)
    assert set(later.EVENTS).isdisjoint(EVENTS), "take what is built out of realtime/later.py"
    assert set(ALIASES.values()) <= later.COMMANDS | COMMANDS.keys()


@pytest.mark.parametrize("type", sorted(later.COMMANDS))
async def test_a_command_that_comes_later_says_so(autojump_clock: object, house: House, type: str) -> None:
    guest = await house.enter()
    (reply,) = await guest.ask({"type": type, "ref": 1, "payload": {"anything": [1]}})
    assert (reply["error"]["code"], reply["error"]["details"]) == ("NOT_IMPLEMENTED", {"type": type})


async def test_asking_for_what_comes_later_pays_a_request(autojump_clock: object, house: House) -> None:
    guest = await house.enter()
    codes = [(await guest.ask({"type": "sync", "ref": n}))[0]["error"]["code"] for n in range(101)]
    assert codes == ["NOT_IMPLEMENTED"] * 100 + ["RATE_LIMIT_EXCEEDED"]
    assert guest.link.closed == []


async def test_kith_pays_nothing_for_the_others(autojump_clock: object, house: House) -> None:
    """Its session stands behind the transport itself, with nobody in between."""
    guest = await house.enter()
    assert type(guest.peer) is Session
    assert guest.peer.link is guest.link
    assert type((await house.enter(NOTIFICATIONS)).peer) is InterpretedPeer
