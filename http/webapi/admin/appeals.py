"""Appeals, for platform admins: read, and decided once."""

from typing import Final, Literal

from msgspec import Struct

from actors.rules.moderation import check_reason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.moderation import AppealFilter, AppealId, AppealStatus, AppealView, DecideAppeal, Ruling
from webapi.admin.acts import act_of
from webapi.answers import Answer
from webapi.call import Call
from webapi.paging import CURSOR, LIMIT, Page, choice_of, limit_of, place_cursor, place_of
from webapi.routing import Access, Parameter, Route

_STATUSES: Final[dict[str, AppealStatus | None]] = {
    "open": "open",
    "upheld": "upheld",
    "granted": "granted",
    "any": None,
}


class DecideOnAppeal(Struct, frozen=True):
    """The note is shown to who appealed."""

    decision: Ruling
    note: str


async def list_appeals(call: Call) -> Answer:
    """Oldest first, the open ones unless asked otherwise."""
    wanted = AppealFilter(status=_STATUSES[choice_of(call.query, "status", tuple(_STATUSES), "open")])
    found, place = await call.services.moderation.appeals.appeals(wanted, place_of(call.query), limit_of(call.query))
    return Answer(Page[AppealView](found, place_cursor(place)))


async def decide_appeal(call: Call) -> Answer:
    """`grant` withdraws the measure, and restores whom it suspends; `uphold` leaves it. Once, as with reports."""
    body = await call.body(DecideOnAppeal)
    note = check_reason(body.note, "note")
    appeal = await _appeal(call)
    command = DecideAppeal(act_of(call), appeal.id, body.decision, note)
    await call.services.users.ask(appeal.user_id, command, call.services.options.ask_timeout)
    return Answer(await _appeal(call))


async def _appeal(call: Call) -> AppealView:
    appeal = await call.services.moderation.appeals.appeal(AppealId(call.params["appeal_id"]))
    if appeal is None:
        raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such appeal")
    return appeal


_C = ErrorCode
ROUTES: Final = (
    Route(
        "GET",
        "/admin/appeals",
        list_appeals,
        Access.ADMIN,
        gives=((200, Page[AppealView]),),
        query=(
            Parameter("status", "Only these; `open` by default", Literal["open", "upheld", "granted", "any"]),
            LIMIT,
            CURSOR,
        ),
        refuses=(_C.INVALID_CURSOR,),
    ),
    Route(
        "POST",
        "/admin/appeals/{appeal_id}/decide",
        decide_appeal,
        Access.ADMIN,
        takes=DecideOnAppeal,
        gives=((200, AppealView),),
        refuses=(_C.CONTENT_NOT_FOUND, _C.IDEMPOTENCY_CONFLICT, _C.CONTENT_TOO_LONG, _C.USER_NOT_FOUND),
    ),
)
