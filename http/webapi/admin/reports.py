"""Reports, for platform admins: read, and decided once."""

from typing import Final, Literal

from msgspec import Struct

from actors.rules.moderation import check_reason
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.ids import MessageId
from actors.shapes.moderation import AdminReport, DecideReport, Decision, ReportFilter, ReportId, ReportKind
from actors.shapes.moderation import ReportStatus as Status
from actors.shapes.times import Moment
from webapi.admin.acts import act_of, end_of
from webapi.admin.messages import wipe
from webapi.answers import Answer
from webapi.call import Call
from webapi.paging import CURSOR, LIMIT, Page, choice_of, limit_of, place_cursor, place_of
from webapi.routing import Access, Parameter, Route

_STATUSES: Final[dict[str, Status | None]] = {
    "open": "open",
    "dismissed": "dismissed",
    "content_removed": "content_removed",
    "user_suspended": "user_suspended",
    "user_warned": "user_warned",
    "any": None,
}
_KINDS: Final[dict[str, ReportKind | None]] = {
    "user": "user",
    "message": "message",
    "conversation": "conversation",
    "any": None,
}


class DecideOnReport(Struct, frozen=True):
    """`until` goes with `suspend_user` only. The note is shown to whom a measure strikes."""

    decision: Decision
    note: str
    until: Moment | None = None


async def list_reports(call: Call) -> Answer:
    """Oldest first, the open ones unless asked otherwise."""
    wanted = ReportFilter(
        status=_STATUSES[choice_of(call.query, "status", tuple(_STATUSES), "open")],
        kind=_KINDS[choice_of(call.query, "kind", tuple(_KINDS), "any")],
    )
    found, place = await call.services.moderation.reports.reports(wanted, place_of(call.query), limit_of(call.query))
    return Answer(Page[AdminReport](found, place_cursor(place)))


async def show_report(call: Call) -> Answer:
    """One report, with what was reported as it was then."""
    return Answer(await _report(call))


async def decide_report(call: Call) -> Answer:
    """Does what it says, once: who comes second is told IDEMPOTENCY_CONFLICT and what became of it."""
    body = await call.body(DecideOnReport)
    note, until = check_reason(body.note, "note"), end_of(call, body.until)
    if until is not None and body.decision != "suspend_user":
        raise invalid("until", "`until` goes with `suspend_user`")
    report = await _report(call)
    # A removal that was decided and broke off before the message was gone is finished by whoever decides so again.
    if not (body.decision == "remove_content" and report.status == "content_removed" and await _is_there(call, report)):
        command = DecideReport(act_of(call), report.id, body.decision, note, until)
        # Whoever is suspended by it has to be told by his own actor.
        actor = report.user_id if body.decision == "suspend_user" and report.user_id is not None else call.me
        await call.services.users.ask(actor, command, call.services.options.ask_timeout)
    if body.decision == "remove_content":
        await wipe(call, MessageId(report.target_id), note, audited=False)
    return Answer(await _report(call))


async def _report(call: Call) -> AdminReport:
    report = await call.services.moderation.reports.report(ReportId(call.params["report_id"]))
    if report is None:
        raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such report")
    return report


async def _is_there(call: Call, report: AdminReport) -> bool:
    message, store = MessageId(report.target_id), call.services.conversation_store
    conversation = await store.where_is(message)
    facts = {} if conversation is None else await store.facts(conversation, [message])
    return message in facts and not facts[message].deleted


_C = ErrorCode
ROUTES: Final = (
    Route(
        "GET",
        "/admin/reports",
        list_reports,
        Access.ADMIN,
        gives=((200, Page[AdminReport]),),
        query=(
            Parameter(
                "status",
                "Only these; `open` by default",
                Literal["open", "dismissed", "content_removed", "user_suspended", "user_warned", "any"],
            ),
            Parameter("kind", "Only these; `any` by default", Literal["user", "message", "conversation", "any"]),
            LIMIT,
            CURSOR,
        ),
        refuses=(_C.INVALID_CURSOR,),
    ),
    Route(
        "GET",
        "/admin/reports/{report_id}",
        show_report,
        Access.ADMIN,
        gives=((200, AdminReport),),
        refuses=(_C.CONTENT_NOT_FOUND,),
    ),
    Route(
        "POST",
        "/admin/reports/{report_id}/decide",
        decide_report,
        Access.ADMIN,
        takes=DecideOnReport,
        gives=((200, AdminReport),),
        refuses=(
            _C.CONTENT_NOT_FOUND,
            _C.IDEMPOTENCY_CONFLICT,
            _C.CONTENT_TOO_LONG,
            _C.USER_NOT_FOUND,
            _C.MESSAGE_NOT_FOUND,
        ),
    ),
)
