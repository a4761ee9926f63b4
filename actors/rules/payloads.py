"""From what a client sent to the command it means: ids in canonical form, texts within their bounds."""

import re
from typing import Final

from msgspec import UNSET

from actors.rules.texts import check_text
from actors.shapes.conversations import DeleteMessage, OpenConversation, Origin, ReadHistory, ReadRange, SendMessage
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId, canonical
from actors.shapes.messages import TEXT_LIMIT
from actors.shapes.payloads import (
    HISTORY_DEFAULT,
    DeletePayload,
    HistoryPayload,
    OpenPayload,
    RangePayload,
    SendPayload,
)

_AT: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`")
_NO_ID: Final = re.compile(r"Expected `str` of length [<>]= 36$").match
_NAMED: Final = re.compile(r"field `(?P<name>[^`]+)`")


def fault(problem: str, whole: str = "") -> KithError:
    """What msgspec found wrong, as an answer that names the field; `whole` names what the decoded part stands in."""
    at, named = _AT.search(problem), _NAMED.search(problem)
    path = [at["path"]] if at is not None and at["path"] else []
    field = ".".join([*path, *([named["name"]] if named is not None else [])]) or whole
    message = problem[: at.start()] if at is not None else problem
    if _NO_ID(message):  # the one length that msgspec counts for us is that of an id
        message = f"`{field}` must be a UUID"
    return KithError(ErrorCode.INVALID_PAYLOAD, message, details={"field": field} if field else {})


def id_of(text: str, field: str) -> str:
    found = canonical(text)
    if found is None:
        raise invalid(field, f"`{field}` must be a UUID")
    return found


def conversation_of(text: str) -> ConversationId:
    return ConversationId(canonical(text) or id_of(text, "conversation_id"))


def send_command(
    payload: SendPayload, sender: UserId, origin: Origin | None = None, keyed: Keyed | None = None
) -> SendMessage:
    if payload.text is UNSET:
        field = "text" if payload.ciphertext is UNSET else "ciphertext"
        raise invalid(field, "A standard conversation takes `text`")
    if payload.ciphertext is not UNSET:  # one of the two would be dropped without a word
        raise invalid("ciphertext", "Give `text` or `ciphertext`, not both")
    check_text(payload.text, TEXT_LIMIT, "text")
    if payload.media_ids:
        raise KithError(ErrorCode.MEDIA_NOT_FOUND, details={"field": "media_ids", "value": payload.media_ids[0]})
    client_id = ClientId(canonical(payload.client_id) or id_of(payload.client_id, "client_id"))
    if payload.after is None and payload.reply_to is None and not payload.mentions and keyed is None:
        return SendMessage(sender, client_id, payload.text, origin)
    return SendMessage(
        sender,
        client_id,
        payload.text,
        origin,
        None if payload.after is None else ClientId(id_of(payload.after, "after")),
        None if payload.reply_to is None else MessageId(id_of(payload.reply_to, "reply_to")),
        tuple(dict.fromkeys(UserId(id_of(user, "mentions")) for user in payload.mentions)),
        keyed,
    )


def delete_command(payload: DeletePayload, deleter: UserId, origin: Origin | None = None) -> DeleteMessage:
    return DeleteMessage(deleter, MessageId(id_of(payload.message_id, "message_id")), origin)


def history_command(payload: HistoryPayload, reader: UserId) -> ReadHistory:
    if payload.before_seq is not None and payload.after_seq is not None:
        raise invalid("after_seq", "Give `before_seq` or `after_seq`, not both")
    if payload.order not in ("asc", "desc"):
        raise invalid("order", "`order` is asc or desc")
    return ReadHistory(reader, payload.clamped, payload.before_seq, payload.after_seq, payload.order == "asc")


def range_command(payload: RangePayload, reader: UserId) -> ReadRange:
    return ReadRange(reader, payload.after_rev, payload.clamped)


def open_command(_payload: OpenPayload, reader: UserId) -> OpenConversation:
    return OpenConversation(reader, messages=HISTORY_DEFAULT, members=True)
