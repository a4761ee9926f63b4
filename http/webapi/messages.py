"""Messages of one conversation: sending, reading back, and deleting."""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from actors.limiter import Limit
from actors.rules.payloads import id_of, send_command
from actors.shapes.conversations import ConversationCommand, DeleteMessage, ReadHistory, ReadMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ClientId, ConversationId, MessageId
from actors.shapes.messages import (
    HISTORY_LIMIT,
    MENTIONS_LIMIT,
    KeptSend,
    MessageDeleted,
    MessagePage,
    MessageSent,
    MessageView,
)
from actors.shapes.payloads import MEDIA_LIMIT, SendPayload
from webapi.answers import Answer
from webapi.call import Call
from webapi.idempotency import once
from webapi.paging import (
    CURSOR,
    AtLeastOne,
    WholeNumber,
    bad_query,
    choice_of,
    limit_of,
    number_of,
    read_seq_cursor,
    seq_cursor,
)
from webapi.routing import Parameter, Route


class NewMessage(Struct, frozen=True):
    """The payload of `message.send` without what the path says; `idempotency_key` is another name of `client_id`."""

    text: str | UnsetType = UNSET
    ciphertext: str | UnsetType = UNSET
    client_id: str | None = None
    idempotency_key: str | None = None
    after: str | None = None
    reply_to: str | None = None
    media_ids: Annotated[tuple[str, ...], Meta(max_length=MEDIA_LIMIT)] = ()
    mentions: Annotated[tuple[str, ...], Meta(max_length=MENTIONS_LIMIT)] = ()


class SentView(Struct, frozen=True):
    """The `ok` of `message.send`, and what a caller who named neither would like to know."""

    message_id: MessageId
    id: MessageId
    conversation_id: ConversationId
    client_id: ClientId
    seq: int
    rev: int
    created_at: str
    duplicate: bool


class DeletedView(Struct, frozen=True):
    """The `ok` of `message.delete`, and what it was about."""

    message_id: MessageId
    conversation_id: ConversationId
    rev: int


class MessageList(Struct, frozen=True):
    items: list[MessageView]
    next_cursor: str | None
    has_more: bool


async def send_message(call: Call) -> Answer:
    """The twin of `message.send`: 201, and 200 with `duplicate` when it was sent before."""
    body = await call.body(NewMessage)
    done = await once(call, KeptSend, lambda keyed: _send(call, body, keyed))
    sent = done.value.sent
    view = SentView(
        sent.message_id,
        sent.message_id,
        call.conversation(),
        done.value.client_id,
        sent.seq,
        sent.rev,
        sent.created_at,
        sent.duplicate,
    )
    return done.answer(view, 200 if sent.duplicate else 201)


async def _send(call: Call, body: NewMessage, keyed: Keyed | None) -> KeptSend:
    payload = SendPayload(
        conversation_id=call.conversation(),
        client_id=_client_id(call, body),
        text=body.text,
        ciphertext=body.ciphertext,
        reply_to=body.reply_to,
        media_ids=body.media_ids,
        mentions=body.mentions,
        after=body.after,
    )
    command = send_command(payload, call.me, keyed=keyed)
    options = call.services.options
    sent: MessageSent = await call.services.conversations.ask(call.conversation(), command, options.ask_timeout)
    return KeptSend(sent, command.client_id)


async def list_messages(call: Call) -> Answer:
    """Newest first; `order=asc` turns the page. The cursor goes on in the direction the list began."""
    before, after = number_of(call.query, "before_seq"), number_of(call.query, "after_seq")
    cursor = call.query.get("cursor")
    if cursor:
        direction, seq = read_seq_cursor(cursor)
        before, after = (seq, None) if direction == "before" else (None, seq)
    if before is not None and after is not None:
        raise bad_query("after_seq", "`before_seq` or `after_seq`, not both")
    command = ReadHistory(
        reader=call.me,
        limit=limit_of(call.query, most=HISTORY_LIMIT),
        before_seq=before,
        after_seq=after,
        ascending=choice_of(call.query, "order", ("asc", "desc"), "desc") == "asc",
    )
    options = call.services.options
    page: MessagePage = await call.services.conversations.ask(call.conversation(), command, options.ask_timeout)
    return Answer(MessageList(page.messages, _next(page, forwards=after is not None), page.has_more))


async def show_message(call: Call) -> Answer:
    """One message, or its tombstone."""
    message = MessageId(call.params["message_id"])
    where = await _where_is(call, message)
    view: MessageView = await _ask_about_message(call, where, ReadMessage(call.me, message))
    return Answer(view)


async def delete_message(call: Call) -> Answer:
    """The twin of `message.delete`; again, it answers the same."""
    message = MessageId(call.params["message_id"])
    where = await _where_is(call, message)
    deleted: MessageDeleted = await _ask_about_message(call, where, DeleteMessage(call.me, message))
    return Answer(DeletedView(message, where, deleted.rev))


async def _where_is(call: Call, message: MessageId) -> ConversationId:
    """The conversation of the path, or the one that the message is in. Of a message that does not exist a conversation
    is asked that does not exist either: it takes as long as one that the caller is no member of."""
    if "conversation_id" in call.params:
        return call.conversation()
    return await call.services.conversation_store.where_is(message) or ConversationId(message)


async def _ask_about_message(call: Call, where: ConversationId, command: ConversationCommand) -> Any:
    try:
        return await call.services.conversations.ask(where, command, call.services.options.ask_timeout)
    except KithError as refusal:
        if refusal.code is ErrorCode.CONVERSATION_NOT_FOUND and "conversation_id" not in call.params:
            raise KithError(ErrorCode.MESSAGE_NOT_FOUND) from None
        raise


def _next(page: MessagePage, forwards: bool) -> str | None:
    if not page.has_more or not page.messages:
        return None
    seqs = [message.seq for message in page.messages]
    return seq_cursor("after", max(seqs)) if forwards else seq_cursor("before", min(seqs))


def _client_id(call: Call, body: NewMessage) -> str:
    """The caller's own, or a new one: then a repeat is another message, unless an Idempotency-Key tells it."""
    for field in ("client_id", "idempotency_key"):
        given = getattr(body, field)
        if given is not None:
            return id_of(given, field)
    return call.services.new_id()


ROUTES: Final = (
    Route(
        "POST",
        "/conversations/{conversation_id}/messages",
        send_message,
        limit=Limit.MESSAGES,
        takes=NewMessage,
        gives=((201, SentView), (200, SentView)),
        refuses=(
            ErrorCode.CONVERSATION_NOT_FOUND,
            ErrorCode.MESSAGE_NOT_FOUND,
            ErrorCode.MEDIA_NOT_FOUND,
            ErrorCode.USER_BLOCKED,
            ErrorCode.CONTENT_TOO_LONG,
            ErrorCode.OUT_OF_ORDER,
            ErrorCode.IDEMPOTENCY_CONFLICT,
        ),
    ),
    Route(
        "GET",
        "/conversations/{conversation_id}/messages",
        list_messages,
        gives=((200, MessageList),),
        query=(
            Parameter("limit", f"How many at most: 20 by default, {HISTORY_LIMIT} at most", AtLeastOne),
            CURSOR,
            Parameter("before_seq", "Only messages before this one", WholeNumber),
            Parameter("after_seq", "Only messages after this one", WholeNumber),
            Parameter("order", "`desc` is newest first", Literal["asc", "desc"]),
        ),
        refuses=(ErrorCode.CONVERSATION_NOT_FOUND, ErrorCode.INVALID_CURSOR),
    ),
    Route(
        "GET",
        "/conversations/{conversation_id}/messages/{message_id}",
        show_message,
        gives=((200, MessageView),),
        refuses=(ErrorCode.CONVERSATION_NOT_FOUND, ErrorCode.MESSAGE_NOT_FOUND),
    ),
    Route(
        "DELETE",
        "/conversations/{conversation_id}/messages/{message_id}",
        delete_message,
        limit=Limit.MESSAGES,
        gives=((200, DeletedView),),
        refuses=(ErrorCode.CONVERSATION_NOT_FOUND, ErrorCode.MESSAGE_NOT_FOUND, ErrorCode.FORBIDDEN),
    ),
    Route(
        "GET",
        "/messages/{message_id}",
        show_message,
        gives=((200, MessageView),),
        refuses=(ErrorCode.MESSAGE_NOT_FOUND,),
    ),
    Route(
        "DELETE",
        "/messages/{message_id}",
        delete_message,
        limit=Limit.MESSAGES,
        gives=((200, DeletedView),),
        refuses=(ErrorCode.MESSAGE_NOT_FOUND, ErrorCode.FORBIDDEN),
    ),
)
