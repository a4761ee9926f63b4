"""docs/protocol.md: its tables are the code's, its routes are the routes, its examples happen; and each of that is
noticed when it stops being true."""

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

import realtime.protocol_tables as generator
from actors.limiter import DEFAULT_LIMITS, Limit
from actors.shapes.errors import TABLE, ErrorCode, ErrorRow
from actors.shapes.messages import MessageView
from actors.shapes.payloads import HistoryPayload
from realtime import later
from realtime.gateway.options import GatewayOptions
from realtime.inbound import ALIASES, COMMANDS, Command
from realtime.protocol_tables import ANSWERS, CLIENT, EVENTS, PAGE, SHAPES, filled, main, tables
from realtime.session import BAD_PAYLOADS, EARLY_BYTES, EARLY_FRAMES
from realtime.wire.close import CloseCode
from realtime.wire.frames import MESSAGE_LIMIT_BYTES
from tests.actors.small_node import settled, small_node
from tests.realtime.small_gate import Client, SmallGate
from webapi.app import ROUTES

ROOT = PAGE.parent.parent
_TOKENS = {"user": "yes", "admin": "admin"}  # what the page says of a route's access


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


# -- the tables -------------------------------------------------------------------------------------------------------


def test_the_page_agrees_with_the_code() -> None:
    assert page() == filled(page()), "python -m realtime.protocol_tables --write"


def _new_field(monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(HistoryPayload):
        surprise: int = 0

    changed = Command("message.history", Another, COMMANDS["message.history"].handle)
    monkeypatch.setitem(COMMANDS, "message.history", changed)


def _other_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(HistoryPayload):
        limit: int = 51

    changed = Command("message.history", Another, COMMANDS["message.history"].handle)
    monkeypatch.setitem(COMMANDS, "message.history", changed)


def _new_answer_field(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pong(Struct):
        at: str

    monkeypatch.setitem(ANSWERS, "ping", Pong)


def _new_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(MessageView, frozen=True):
        surprise: int = 0

    shapes: dict[type[Struct], str] = dict(SHAPES) | {Another: "another"}
    monkeypatch.setattr(generator, "SHAPES", shapes)


FLIPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a field of a command": _new_field,
    "a default": _other_default,
    "a field of an answer": _new_answer_field,
    "a shape": _new_shape,
    "a command": lambda m: m.setitem(COMMANDS, "message.edit", COMMANDS["message.send"]),
    "an alias": lambda m: m.setitem(ALIASES, "say", "message.send"),
    "an event": lambda m: m.setitem(EVENTS, "message.deleted", (None, "members")),
    "a close code": lambda m: m.setitem(CLIENT, CloseCode.REPLACED, "Come back."),
    "a status": lambda m: m.setitem(TABLE, ErrorCode.TOKEN_EXPIRED, ErrorRow(403, "The token has expired")),
    "a text": lambda m: m.setitem(TABLE, ErrorCode.TOKEN_EXPIRED, ErrorRow(401, "Expired")),
    "what may be tried again": lambda m: m.setitem(
        TABLE, ErrorCode.TOKEN_EXPIRED, ErrorRow(401, "The token has expired", retryable=True)
    ),
}


@pytest.mark.parametrize("flip", FLIPS)
def test_a_change_of_the_code_is_noticed(flip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FLIPS[flip](monkeypatch)
    if flip == "a command":  # it is documented as soon as somebody says what it answers
        monkeypatch.setitem(ANSWERS, "message.edit", None)
    assert filled(page()) != page()


def test_a_command_without_a_documented_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "message.edit", COMMANDS["message.send"])
    with pytest.raises(KeyError):
        tables()


def test_a_change_of_any_line_of_any_table_is_noticed() -> None:
    whole = page()
    for table in tables().values():
        for line in table.splitlines():
            assert whole.count(line) >= 1
            assert filled(whole.replace(line, line.replace("|", "| x", 1), 1)) == whole


@pytest.mark.parametrize("name", list(tables()))
def test_a_page_that_lost_a_mark_is_refused(name: str) -> None:
    for mark in (f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"):
        with pytest.raises(ValueError, match=name):
            filled(page().replace(mark, ""))


def test_the_command_line_tells_and_mends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "protocol.md"
    copy.write_text(page().replace("| `INVALID_TOKEN` | 401 |", "| `INVALID_TOKEN` | 403 |"), encoding="utf-8")
    monkeypatch.setattr(generator, "PAGE", copy)
    assert main([]) == 1
    assert "--write" in capsys.readouterr().err
    assert main(["--write"]) == 0
    assert main([]) == 0
    assert copy.read_text(encoding="utf-8") == page()


# -- what the generator is told by hand -------------------------------------------------------------------------------


def events_in_code() -> set[str]:
    found = {"connected"}  # the one that carries a ref: realtime/session.py makes it by itself
    for path in sources("actors", "realtime"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"""b'\{"type":"([a-z_.]+)\"""", text))
        for node in ast.walk(ast.parse(text)):
            made_by = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if made_by in ("event_frame", "Telling"):
                assert isinstance(node, ast.Call)
                name = node.args[0 if made_by == "event_frame" else 1]
                if isinstance(name, ast.Constant):
                    found.add(str(name.value))
                else:  # what the sweep tells was named where it was made, as a Telling
                    assert path.name == "sweep.py", f"{path.name}: name the event where it is made"
    return found - {""}  # a Telling without a name is a change for which there is no event


def test_every_event_in_the_code_is_in_the_table() -> None:
    """The sweep can tell already of a changed message, which nothing makes yet."""
    assert events_in_code() - set(later.EVENTS) == EVENTS.keys()


def test_every_close_code_in_the_code_is_in_the_table() -> None:
    used = set()
    for path in sources("realtime"):
        if path.name not in ("close.py", "protocol_tables.py"):
            used |= set(re.findall(r"\bCloseCode\.([A-Z_]+)", path.read_text(encoding="utf-8")))
    # Not closes of ours: a client may use the first, and the other two stand for what it did not say.
    silent = {"NORMAL", "NO_STATUS", "ABNORMAL"}
    wire = {"PROTOCOL_ERROR", "UNSUPPORTED_DATA", "INVALID_TEXT", "TOO_BIG"}
    assert (used | wire) - silent == {code.name for code in CLIENT}


def test_what_to_do_follows_from_the_hundreds() -> None:
    for code, text in CLIENT.items():
        if 4000 <= code < 4500:
            assert "ome back" in text, code
        if code >= 4500:
            assert "stop" in text or "Sign in again" in text, code


def test_the_numbers_in_the_prose() -> None:
    text, options = page(), GatewayOptions()
    for said in (
        f"at most {MESSAGE_LIMIT_BYTES // 1024} KiB",
        f"within {options.idle_hello_seconds * 1000:.0f} ms",
        f"saying nothing for {options.hello_seconds:.0f} s",
        f"after {options.heartbeat_seconds:.0f} s of silence and gives up {options.pong_timeout_seconds:.0f} s later",
        f"more than {EARLY_FRAMES}, or more than {EARLY_BYTES // 2**20} MiB, close 4003",
        f"a bucket of {DEFAULT_LIMITS[Limit.MESSAGES].rate.capacity:,} that fills with 10 a",
        f"one of {DEFAULT_LIMITS[Limit.REQUESTS].rate.capacity} that fills with 100 a minute",
    ):
        assert said in text, said
    assert (BAD_PAYLOADS, "twenty of them" in text) == (20, True)
    assert (DEFAULT_LIMITS[Limit.MESSAGES].rate.per_second, DEFAULT_LIMITS[Limit.REQUESTS].rate.per_second) == (
        10,
        100 / 60,
    )
    assert set(re.findall(r"`(/[a-z0-9/]*ws)`", text)) <= set(options.websocket_paths)


def test_every_route_is_on_the_page() -> None:
    written = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (yes|admin|-) \|", page(), re.MULTILINE)
    routes = [(f"{route.method} {route.path}", _TOKENS.get(route.access.value, "-")) for route in ROUTES]
    assert sorted(written) == sorted(routes)


# -- the examples -----------------------------------------------------------------------------------------------------


def transcripts() -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```", page(), re.MULTILINE | re.DOTALL)
    return [[line for line in block.splitlines() if line] for block in blocks if block.startswith(("->", "<-"))]


def same(expected: Any, told: Any) -> bool:
    """`…` stands for any value."""
    if expected == "…":
        return True
    if isinstance(expected, dict) and isinstance(told, dict):
        return expected.keys() == told.keys() and all(same(value, told[key]) for key, value in expected.items())
    return type(expected) is type(told) and bool(expected == told)


class Stage:
    """Plays the page from top to bottom as one connection of Ann's; what only the server says, Bob has caused."""

    def __init__(self, gate: SmallGate) -> None:
        self.node, self.gate = gate.node, gate
        ann, self.bob = self.node.add_user("ann"), self.node.add_user("bob")
        self.talk = self.node.add_direct(ann, self.bob)
        self.client: Client = gate.stranger()
        self.names = {"ME": ann, "PEER": self.bob, "CONVERSATION": self.talk, "TOKEN": gate.token(ann)}
        self._ids = (self.node.new_id() for _ in itertools.count())

    def meant(self, line: str) -> Any:
        def name(match: re.Match[str]) -> str:
            return self.names.setdefault(match[1], next(self._ids))

        return json.loads(re.sub(r"\$([A-Z]+[0-9]*)", name, line[3:]))

    async def play_all(self, blocks: list[list[str]]) -> None:
        for lines in blocks:
            await self.play(lines)

    async def play(self, lines: list[str]) -> None:
        if lines[0].startswith("<-"):
            await self.node.ask(self.talk, self.node.send_command(self.bob, "hi"))
        for line in lines:
            if line.startswith("->"):
                assert self.client.link.take() == [], f"the page is silent about what came before {line}"
                self.client.say(self.meant(line))
                await settled()
                continue
            assert line.startswith("<- ")
            assert self.client.link.frames, f"nothing came for {line}"
            told = json.loads(self.client.link.frames.pop(0).payload)
            assert same(self.meant(line), told), f"{line}\nbut came\n{json.dumps(told)}"
        assert self.client.link.take() == []


async def test_the_examples_happen(autojump_clock: object) -> None:
    async with small_node() as node:
        stage = Stage(SmallGate(node))
        assert len(transcripts()) >= 4
        await stage.play_all(transcripts())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('"seq":2,"rev":3', '"seq":2,"rev":4'), ('"duplicate":true', '"duplicate":1'), ('"media":[],', "")],
)
async def test_an_example_that_does_not_happen_is_noticed(autojump_clock: object, right: str, wrong: str) -> None:
    async with small_node() as node:
        stage = Stage(SmallGate(node))
        changed = [[line.replace(right, wrong) for line in lines] for lines in transcripts()]
        assert changed != transcripts()
        with pytest.raises(AssertionError):
            await stage.play_all(changed)
