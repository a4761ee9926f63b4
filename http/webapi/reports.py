"""Reports of what somebody finds wrong, and what became of them."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.limiter import Limit
from actors.rules.moderation import check_reason
from actors.rules.payloads import id_of
from actors.shapes.conversations import OpenConversation, OpenedConversation
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ConversationId, MessageId, UserId
from actors.shapes.moderation import (
    REPORT_TEXT_LIMIT,
    ConversationSnapshot,
    FiledReport,
    FileReport,
    QuotedMessage,
    ReportFilter,
    ReportId,
    ReportKind,
    ReportReason,
    ReportView,
    Snapshot,
    UserSnapshot,
)
from webapi.answers import Answer
from webapi.call import Call
from webapi.idempotency import once
from webapi.paging import CURSOR, LIMIT, Page, limit_of, place_cursor, place_of
from webapi.routing import Route

_QUOTED: Final = 20  # messages of a reported conversation


class NewReport(Struct, frozen=True):
    kind: ReportKind
    id: str
    reason: ReportReason
    text: str | None = None


async def file_report(call: Call) -> Answer:
    """201, and 200 with the first report while the same is open; what the reporter cannot see does not exist."""
    body = await call.body(NewReport)
    target = id_of(body.id, "id")
    text = None if body.text is None or not body.text.strip() else check_reason(body.text, "text", REPORT_TEXT_LIMIT)
    about: UserId | None
    match body.kind:
        case "user":
            about, snapshot = await _user(call, UserId(target))
        case "message":
            about, snapshot = await _message(call, MessageId(target))
        case "conversation":
            about, snapshot = await _conversation(call, ConversationId(target))
        case _:
            raise KithError(ErrorCode.NOT_IMPLEMENTED)
    id = ReportId(call.services.new_id())
    command = FileReport(id, body.kind, target, about, body.reason, text, snapshot, call.now)

    async def do(keyed: Keyed | None) -> FiledReport:
        options = call.services.options
        filed: FiledReport = await call.services.users.ask(call.me, replace(command, keyed=keyed), options.ask_timeout)
        return filed

    filed = await once(call, FiledReport, do)
    return filed.answer(filed.value.report, 201 if filed.value.new else 200)


async def list_reports(call: Call) -> Answer:
    """The caller's own reports and their outcome, newest first."""
    wanted = ReportFilter(status=None, reporter=call.me)
    found, place = await call.services.moderation.reports.reports(wanted, place_of(call.query), limit_of(call.query))
    return Answer(Page[ReportView]([report.shown for report in found], place_cursor(place)))


async def _user(call: Call, user: UserId) -> tuple[UserId, Snapshot]:
    """Whom one has blocked can be reported: that is when one does. Who has blocked the reporter does not exist."""
    if user == call.me:
        raise invalid("id", "Nobody reports himself")
    blocks = await call.services.user_store.block_between(call.me, user)
    profile = await call.services.profiles.load(user)
    hidden = bool(blocks) and (call.me, user) not in blocks
    if profile is None or hidden:
        raise KithError(ErrorCode.USER_NOT_FOUND)
    seen = UserSnapshot(user, profile.username, profile.display_name, profile.avatar_url, profile.bio)
    return user, Snapshot(user=seen)


async def _message(call: Call, message: MessageId) -> tuple[UserId, Snapshot]:
    seen = await call.services.moderation.reports.message_for(call.me, message)
    if seen is None:
        raise KithError(ErrorCode.MESSAGE_NOT_FOUND)
    if seen.sender_id == call.me:
        raise invalid("id", "Nobody reports himself")
    return seen.sender_id, Snapshot(message=seen)


async def _conversation(call: Call, conversation: ConversationId) -> tuple[UserId | None, Snapshot]:
    command = OpenConversation(call.me, messages=_QUOTED, members=True)
    opened: OpenedConversation = await call.services.conversations.ask(
        conversation, command, call.services.options.ask_timeout
    )
    view = opened.conversation
    members = [member.user_id for member in opened.members]
    others = [member for member in members if member != call.me]
    quoted = [
        QuotedMessage(said.id, said.sender_id, said.sender_name, said.seq, said.text or None, said.created_at)
        for said in (opened.messages if view.privacy_mode == "standard" else [])
    ]
    seen = ConversationSnapshot(view.id, view.type, view.privacy_mode, view.name, view.description, members, quoted)
    # Of a direct conversation the other one is meant; of a group nobody in particular.
    return (others[0] if view.type == "direct" and others else None), Snapshot(conversation=seen)


_C = ErrorCode
ROUTES: Final = (
    Route(
        "POST",
        "/reports",
        file_report,
        limit=Limit.REPORTS,
        takes=NewReport,
        gives=((201, ReportView), (200, ReportView)),
        refuses=(
            _C.CONTENT_TOO_LONG,
            _C.USER_NOT_FOUND,
            _C.MESSAGE_NOT_FOUND,
            _C.CONVERSATION_NOT_FOUND,
            _C.NOT_IMPLEMENTED,
        ),
    ),
    Route(
        "GET",
        "/reports",
        list_reports,
        gives=((200, Page[ReportView]),),
        query=(LIMIT, CURSOR),
        refuses=(_C.INVALID_CURSOR,),
    ),
)
