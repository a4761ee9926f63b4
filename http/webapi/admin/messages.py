"""Messages, for platform admins: deleted, never read."""

from typing import Final

from msgspec import Struct

from actors.shapes.audit import AuditRow
from actors.shapes.conversations import DeleteMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import MessageId
from actors.shapes.messages import MessageDeleted
from webapi.admin.acts import act_of, reason_or_none
from webapi.admin.users import WithReason
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Access, Route


class DeletedByAdmin(Struct, frozen=True):
    message_id: MessageId
    rev: int


async def delete_message(call: Call) -> Answer:
    """Wipes a message; of one that is deleted already the answer is the same, and nothing is noted."""
    body = await call.optional_body(WithReason)
    message = MessageId(call.params["message_id"])
    deleted = await wipe(call, message, reason_or_none(body.reason), audited=True)
    return Answer(DeletedByAdmin(message, deleted.rev))


async def wipe(call: Call, message: MessageId, reason: str | None, *, audited: bool) -> MessageDeleted:
    """`audited`: the deletion is an action of its own, whose row is written with the tombstone."""
    services = call.services
    conversation = await services.conversation_store.where_is(message)
    if conversation is None:
        raise KithError(ErrorCode.MESSAGE_NOT_FOUND)
    audit = None
    if audited:
        facts = (await services.conversation_store.facts(conversation, [message])).get(message)
        by = act_of(call)
        audit = AuditRow(
            id=by.id,
            at=by.at,
            admin_id=call.me,
            action="delete_message",
            target_kind="message",
            target_id=message,
            user_id=None if facts is None else facts.sender_id,
            reason=reason,
            request_id=by.request_id,
            address=by.address,
        )
    command = DeleteMessage(call.me, message, as_admin=True, audit=audit)
    deleted: MessageDeleted = await services.conversations.ask(conversation, command, services.options.ask_timeout)
    return deleted


ROUTES: Final = (
    Route(
        "DELETE",
        "/admin/messages/{message_id}",
        delete_message,
        Access.ADMIN,
        takes=WithReason,
        needs_body=False,
        gives=((200, DeletedByAdmin),),
        refuses=(ErrorCode.MESSAGE_NOT_FOUND, ErrorCode.CONTENT_TOO_LONG),
    ),
)
