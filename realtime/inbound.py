"""The table of socket commands: the type, the payload it takes, and whom it is passed to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.envelopes import Ref
from actors.limiter import Limit
from actors.rules.payloads import (
    conversation_of,
    delete_command,
    history_command,
    open_command,
    range_command,
    send_command,
)
from actors.shapes.conversations import ConversationCommand, Origin
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.frames import Frame
from actors.shapes.payloads import (
    DeletePayload,
    HelloPayload,
    HistoryPayload,
    Nothing,
    OpenPayload,
    RangePayload,
    SendPayload,
)
from realtime import later

if TYPE_CHECKING:
    from realtime.session import Session

P = TypeVar("P")
PONG: Final = b'{"type":"pong"}'
# It is kept while its command waits for a commit, and echoed: a ref of 200 KiB on each of a thousand commands was
# 200 MiB of nothing.
RefText = Annotated[str, Meta(max_length=1_000)]
RefNumber = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Head(msgspec.Struct, gc=False):
    """What every command has; its payload is read once its type is known."""

    type: str
    ref: RefText | RefNumber | None = None
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class LooseHead(msgspec.Struct):
    """To find the ref of a frame whose head is wrong: when it is the rest of the head that is."""

    ref: RefText | RefNumber | None = None


# What a decoder raises at bad input; RecursionError when it is nested a thousand deep.
MALFORMED: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
decode_head: Final = msgspec.json.Decoder(Head).decode
decode_loosely: Final = msgspec.json.Decoder(LooseHead).decode


class Reply(msgspec.Struct, gc=False):
    """Where the answer to one command of one connection goes."""

    session: "Session"
    ref: Ref

    def answer(self, value: object) -> None:
        self.session.reply_ok(self.ref, value)

    def refuse(self, error: KithError) -> None:
        self.session.reply_error(self.ref, error)


class Command(Generic[P]):
    """One row of the table."""

    __slots__ = ("decode", "handle", "payload", "type")

    def __init__(self, type: str, payload: type[P], handle: Callable[["Session", P, Ref], None]) -> None:
        self.type = type
        self.payload = payload
        self.decode = msgspec.json.Decoder(payload).decode
        self.handle = handle

    def run(self, session: "Session", head: Head) -> None:
        session.gate.commands.of(self.type).value += 1
        self.handle(session, self.decode(head.payload), head.ref)


def _hello(session: "Session", payload: HelloPayload, ref: Ref) -> None:
    # 54 us go into each signature: without a bucket one client could keep a core busy with nothing but this.
    session.gate.limiter.take(Limit.REQUESTS, session.user_id, session.limits).check()
    session.hello_again(payload, ref)


def _ping(session: "Session", _payload: Nothing, ref: Ref) -> None:
    if ref is None:
        session.link.send(Frame(PONG))
    else:
        session.reply_ok(ref, {})


def _pay_for_a_message(session: "Session") -> None:
    gate = session.gate
    assert session.bucket is not None
    wait = session.bucket.take(gate.clock.monotonic())
    if wait > 0.0:
        gate.limiter.refused(Limit.MESSAGES)
        raise KithError(ErrorCode.RATE_LIMIT_EXCEEDED, retry_after=round(wait, 3))


def _send(session: "Session", payload: SendPayload, ref: Ref) -> None:
    _pay_for_a_message(session)
    command = send_command(payload, session.user_id, Origin(session.id, ref, session.link.read_at))
    session.gate.conversations.tell(conversation_of(payload.conversation_id), command, Reply(session, ref))


def _delete(session: "Session", payload: DeletePayload, ref: Ref) -> None:
    """It is a write that every member is told of: it pays as a message does."""
    _pay_for_a_message(session)
    command = delete_command(payload, session.user_id, Origin(session.id, ref, session.link.read_at))
    session.gate.conversations.tell(conversation_of(payload.conversation_id), command, Reply(session, ref))


def _read(session: "Session", conversation_id: str, command: ConversationCommand, ref: Ref) -> None:
    """Reads pay the bucket of requests, as their HTTP twins do."""
    gate = session.gate
    gate.limiter.take(Limit.REQUESTS, session.user_id, session.limits).check()
    gate.conversations.tell(conversation_of(conversation_id), command, Reply(session, ref))


def _history(session: "Session", payload: HistoryPayload, ref: Ref) -> None:
    _read(session, payload.conversation_id, history_command(payload, session.user_id), ref)


def _range(session: "Session", payload: RangePayload, ref: Ref) -> None:
    _read(session, payload.conversation_id, range_command(payload, session.user_id), ref)


def _open(session: "Session", payload: OpenPayload, ref: Ref) -> None:
    _read(session, payload.conversation_id, open_command(payload, session.user_id), ref)


_ROWS: Final[tuple[Command[Any], ...]] = (
    Command("hello", HelloPayload, _hello),
    Command("ping", Nothing, _ping),
    Command("message.send", SendPayload, _send),
    Command("message.delete", DeletePayload, _delete),
    Command("message.history", HistoryPayload, _history),
    Command("conversation.range", RangePayload, _range),
    Command("conversation.open", OpenPayload, _open),
)
COMMANDS: Final[dict[str, Command[Any]]] = {row.type: row for row in _ROWS}
# Names that mean the same, in every dialect. `receive` is what a client of 004 says when a message has reached it.
ALIASES: Final = {
    "message.range": "conversation.range",
    "send": "message.send",
    "receive": "receipt.delivered",
    "online_status": "presence.set",
    "add_reaction": "reaction.add",
    "remove_reaction": "reaction.remove",
}
COMMANDS.update({alias: COMMANDS[type] for alias, type in ALIASES.items() if type in COMMANDS})
# One name for two commands: the payload decides between them.
TYPING: Final = "typing"


class _Typing(msgspec.Struct):
    """As it has been called: whether somebody types or has stopped. Saying nothing of it is to type."""

    active: bool | UnsetType = UNSET
    is_typing: bool | UnsetType = UNSET
    typing: bool | UnsetType = UNSET


_decode_typing: Final = msgspec.json.Decoder(_Typing).decode


def meant(head: Head) -> str:
    """The command of ours that a name stands for; the name itself when it stands for none."""
    if head.type != TYPING:
        return ALIASES.get(head.type, head.type)
    said = _decode_typing(head.payload)
    return "typing.stop" if False in (said.active, said.is_typing, said.typing) else "typing.start"


def absent(type: str) -> KithError:
    """Why a command is not done of which there is no row."""
    if type in later.COMMANDS:
        return KithError(ErrorCode.NOT_IMPLEMENTED, details={"type": type})
    return KithError(ErrorCode.UNKNOWN_TYPE, details={"type": type[:100]})
