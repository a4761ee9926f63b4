"""The tables of docs/protocol.md, made from the code that decides: commands, shapes, events, close codes, errors.

`python -m realtime.protocol_tables` says whether the page agrees with the code; `--write` makes it agree.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import FieldInfo, fields

from actors.shapes.conversations import (
    Change,
    ChangeRange,
    ConversationView,
    MemberView,
    MyMembership,
    OpenedConversation,
    PresenceView,
)
from actors.shapes.errors import TABLE, ErrorCode, KithError
from actors.shapes.messages import (
    HISTORY_LIMIT,
    RANGE_LIMIT,
    TEXT_LIMIT,
    MessageDeleted,
    MessagePage,
    MessageSent,
    MessageTombstone,
    MessageView,
    RevMoved,
)
from actors.shapes.payloads import HelloPayload, HistoryPayload, RangePayload, SendPayload
from realtime import later
from realtime.departure import GoingAway
from realtime.dialects import MESSAGING, NOVA
from realtime.field_names import Shapes, say
from realtime.inbound import ALIASES, COMMANDS, TYPING
from realtime.session import CaughtUpPayload, ConnectedPayload
from realtime.wire.close import CloseCode

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "protocol.md"

# The nouns: described once, named everywhere else.
SHAPES: Final[Shapes] = {
    MessageView: "message",
    ConversationView: "conversation",
    MyMembership: "membership",
    MemberView: "member",
    PresenceView: "presence",
    Change: "change",
}

# What rules/payloads.py and rules/texts.py check beyond the type.
RULES: Final[Mapping[tuple[type[Struct], str], str]] = {
    (SendPayload, "text"): f" of 1 to {TEXT_LIMIT:,} characters (code points after NFC), without U+0000",
    (SendPayload, "ciphertext"): " (of strict conversations, which cannot be made yet: refused)",
    (SendPayload, "media_ids"): " (media cannot be uploaded yet: every id is refused with MEDIA_NOT_FOUND)",
    (SendPayload, "mentions"): ": members",
    (SendPayload, "after"): ": the `client_id` of your previous send here",
    (HistoryPayload, "before_seq"): "; not beside `after_seq`",
    (HistoryPayload, "limit"): f"; more than {HISTORY_LIMIT} counts as {HISTORY_LIMIT}",
    (HistoryPayload, "order"): ": `desc` (newest first) or `asc`",
    (RangePayload, "limit"): f"; more than {RANGE_LIMIT} counts as {RANGE_LIMIT}",
    (HelloPayload, "token"): ": an access token; not needed when the upgrade carried one",
    (HelloPayload, "attempt"): ", raised with each connection of the device",
    (HelloPayload, "cursor"): " (cursors are not given out yet: any is answered with `resumed: false`)",
}

# What `ok` carries. `hello` is the one command that is answered with an event of its own.
ANSWERS: Final[Mapping[str, type[Struct] | None]] = {
    "hello": ConnectedPayload,
    "ping": None,
    "message.send": MessageSent,
    "message.delete": MessageDeleted,
    "message.history": MessagePage,
    "conversation.range": ChangeRange,
    "conversation.open": OpenedConversation,
}

# Every event there is (tests/test_protocol_doc.py looks for others in the code): its payload, and who receives it when.
EVENTS: Final[Mapping[str, tuple[type[Struct] | None, str]]] = {
    "connected": (ConnectedPayload, "the connection, in answer to `hello`"),
    "caught_up": (CaughtUpPayload, "the connection, after `connected`: from here on events are live"),
    "pong": (None, "the connection, in answer to a `ping` without `ref`"),
    "message.created": (MessageView, "every connection of every member but the sending one"),
    "message.deleted": (MessageTombstone, "every connection of every member but the sending one"),
    "rev": (RevMoved, "members who may not see what changed, so that its number is no hole"),
    "conversation.created": (ConversationView, "every connection of every member"),
    "lagging": (None, "the connection, before it is closed with 4001"),
    "going_away": (GoingAway, "every connection of a node that stops, before it is closed with 4000"),
}

CLIENT: Final[Mapping[CloseCode, str]] = {
    CloseCode.GOING_AWAY: "Come back after `reconnect_after` seconds, with jitter if there was none.",
    CloseCode.PROTOCOL_ERROR: "A fault of the client: do not come back by yourself.",
    CloseCode.UNSUPPORTED_DATA: "A fault of the client: send text frames.",
    CloseCode.INVALID_TEXT: "A fault of the client: send UTF-8.",
    CloseCode.TOO_BIG: "A fault of the client: a frame or message was larger than 256 KiB.",
    CloseCode.INTERNAL: "A fault of the server: come back.",
    CloseCode.RESTART: "The node, or what it knew of you, began anew: come back.",
    CloseCode.SLOW_CONSUMER: "More was waiting for you than is kept: come back.",
    CloseCode.NO_PONG: "Nothing was heard after a ping: come back.",
    CloseCode.OVERLOADED: "Come back, with your backoff doubled.",
    CloseCode.RESYNC: "Something did not reach you: come back without a cursor and reload.",
    CloseCode.NO_HELLO: "No `hello` in time, an expired token, or a spent ticket: get a new one, then come back.",
    CloseCode.INVALID_TOKEN: "Sign in again.",
    CloseCode.REVOKED: "The session was revoked, or the account suspended or deleted: stop.",
    CloseCode.VIOLATIONS: "Twenty INVALID_PAYLOADs within a minute: stop.",
    CloseCode.REPLACED: "A newer connection of the same device took its place: stop.",
    CloseCode.TOO_MANY_CONNECTIONS: "This user has as many connections as he may: stop.",
}


def tables() -> dict[str, str]:
    """Every table by the name it has in the page's markers."""
    return {
        "commands": _commands(),
        "answers": _answers(),
        "shapes": _shapes(),
        "events": _events(),
        "dialects": _dialects(),
        "other names": _other_names(),
        "later commands": _later_commands(),
        "close codes": _close_codes(),
        "errors": _errors(),
    }


def filled(page: str) -> str:
    """The page with its tables as the code has them now."""
    for name, table in tables().items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended or begin in after:
            raise ValueError(f"the page has not exactly one place for the table of {name}")
        page = f"{before}{begin}\n{table}\n{end}{after}"
    return page


def _commands() -> str:
    rows = []
    for type, command in _own_names():
        names = [f"`{type}`", *(f"(also `{alias}`)" for alias, meant in ALIASES.items() if meant == type)]
        rows += _field_rows(" ".join(names), command.payload, "nothing")
    return _table(("command", "field", "what it is", "when left out"), rows)


def _answers() -> str:
    rows = []
    for type, _ in _own_names():
        rows += [row[:3] for row in _field_rows(f"`{type}`", ANSWERS[type], "nothing")]
    return _table(("command", "field", "what it is"), rows)


def _shapes() -> str:
    rows = []
    for shape, name in SHAPES.items():
        rows += [(*row[:3], "no" if row[3] == "not given" else "yes") for row in _field_rows(f"**{name}**", shape, "")]
    return _table(("shape", "field", "what it is", "always there"), rows)


def _events() -> str:
    rows = []
    for type, (payload, to) in EVENTS.items():
        carried = (
            "" if payload is None else SHAPES.get(payload) or ", ".join(f"`{f.encode_name}`" for f in fields(payload))
        )
        rows.append((f"`{type}`", to, carried if payload not in SHAPES else f"the **{carried}**"))
    return _table(("event", "who receives it", "payload"), rows)


def _dialects() -> str:
    """Every name there is or will be: a dialect is settled before its events are."""
    now = [(type, "") for type in ("ok", "error", *EVENTS)]
    rows = [
        (f"`{type}`", f"`{MESSAGING.event(type)}`", f"`{NOVA.event(type)}`", comes)
        for type, comes in (*now, *((type, "later") for type in later.EVENTS))
    ]
    return _table(("kith", "messaging.v1", "notifications (nova)", ""), rows)


def _other_names() -> str:
    rows = [(f"`{alias}`", f"`{type}`") for alias, type in ALIASES.items()]
    stop = "`typing.stop` when `active`, `is_typing` or `typing` is false, else `typing.start`"
    return _table(("a client may say", "and means"), [*rows, (f"`{TYPING}`", stop)])


def _later_commands() -> str:
    return ", ".join(f"`{type}`" for type in sorted(later.COMMANDS)) + "\n"


def _close_codes() -> str:
    rows = [(str(int(code)), code.name.lower().replace("_", " "), text) for code, text in CLIENT.items()]
    return _table(("code", "name", "what the client does"), rows)


def _errors() -> str:
    rows = []
    for code, row in TABLE.items():
        outcome = KithError(code).outcome
        rows.append((f"`{code}`", str(row.status), row.text, "yes" if row.retryable else "no", outcome))
    return _table(("code", "HTTP status", "text", "try again", "outcome"), rows)


def _own_names() -> list[tuple[str, Any]]:
    return [(type, command) for type, command in COMMANDS.items() if type not in ALIASES]


def _field_rows(subject: str, payload: type[Struct] | None, nothing: str) -> list[tuple[str, str, str, str]]:
    """One row per field; the subject stands in the first one only."""
    rows = []
    for field in fields(payload) if payload is not None else ():
        rows.append((subject, f"`{field.encode_name}`", _meaning(payload, field), _absent(field)))
        subject = ""
    return rows or [(subject, nothing, "", "")]


def _meaning(payload: type[Struct] | None, field: FieldInfo) -> str:
    name = field.encode_name
    return say(name, field.type, SHAPES) + (RULES.get((payload, name), "") if payload is not None else "")


def _absent(field: FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is UNSET:
        return "not given"
    if field.default is None:
        return "null"
    return "empty" if field.default in ((), {}, []) or field.default_factory in (dict, list) else f"{field.default}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m realtime.protocol_tables", description=__doc__)
    parser.add_argument("--write", action="store_true", help="bring docs/protocol.md up to date")
    write: bool = parser.parse_args(arguments).write
    page = PAGE.read_text(encoding="utf-8")
    current = filled(page)
    if write:
        PAGE.write_text(current, encoding="utf-8")
    elif current != page:
        sys.stderr.write(f"docs/{PAGE.name} differs from the code: python -m realtime.protocol_tables --write\n")
        return 1
    return 0


# Errors a client of today can meet are all in the table; a code without a row would be a bug found at import.
assert set(TABLE) == set(ErrorCode)

if __name__ == "__main__":
    sys.exit(main())
