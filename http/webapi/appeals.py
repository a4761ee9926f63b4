"""Measures against oneself, and appeals: for who is signed in, and for who cannot sign in any more."""

from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from actors.appeal_tokens import AppealTokens
from actors.limiter import Limit
from actors.rules.moderation import check_reason
from actors.rules.payloads import id_of
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import LoginId
from actors.shapes.moderation import (
    APPEAL_TEXT_LIMIT,
    ActionId,
    AppealFilter,
    AppealId,
    AppealView,
    FileAppeal,
    FiledAppeal,
    Measure,
)
from actors.tokens import Claims
from webapi.answers import Answer
from webapi.call import Call
from webapi.idempotency import once
from webapi.paging import CURSOR, LIMIT, Page, limit_of, place_cursor, place_of
from webapi.routing import Access, Route
from webapi.sign_in.auth import bearer


class NewAppeal(Struct, frozen=True):
    """Against `measure_id`, or the measure that `report_id` led to, or the latest; who is suspended sends the
    `appeal_token` of his refused login instead of signing in, and it says which."""

    text: str
    appeal_token: str | None = None
    report_id: str | None = None
    measure_id: str | None = None


async def file_appeal(call: Call) -> Answer:
    """201, and 200 with the first appeal while one is open; with `appeal_token` nobody need be signed in."""
    body = await call.body(NewAppeal)
    services = call.services
    if body.appeal_token is not None:
        right = AppealTokens(services.seals).open(body.appeal_token, call.now)
        # For this call he is who the token says; it is a login's only in that.
        call.claims = Claims(right.user_id, LoginId(right.measure_id), call.now, right.expires_at)
    else:
        right = None
        call.claims = _claims(call)
    call.pay_by_user(Limit.REPORTS)
    text = check_reason(body.text, "text", APPEAL_TEXT_LIMIT)
    measure = await _measure(call, body) if right is None else right.measure_id
    command = FileAppeal(AppealId(services.new_id()), measure, text, call.now)

    async def do(keyed: Keyed | None) -> FiledAppeal:
        asked = replace(command, keyed=keyed)
        filed: FiledAppeal = await services.users.ask(call.me, asked, services.options.ask_timeout)
        return filed

    # Another login gives another token for the same right.
    filed = await once(call, FiledAppeal, do, unread=("appeal_token",))
    return filed.answer(_own(filed.value.appeal), 201 if filed.value.new else 200)


async def list_appeals(call: Call) -> Answer:
    """The caller's own appeals and their outcome, newest first."""
    wanted = AppealFilter(status=None, user=call.me)
    found, place = await call.services.moderation.appeals.appeals(wanted, place_of(call.query), limit_of(call.query))
    return Answer(Page[AppealView]([_own(appeal) for appeal in found], place_cursor(place)))


async def list_measures(call: Call) -> Answer:
    """What was decided against the caller: warnings, removed messages, suspensions; the latest 100."""
    return Answer(Page[Measure](await call.services.moderation.appeals.measures(call.me), None))


def _claims(call: Call) -> Claims:
    claims = call.services.tokens.verify(bearer(call), call.now)
    if claims.login_id in call.services.revocations:
        raise KithError(ErrorCode.INVALID_TOKEN)
    return claims


async def _measure(call: Call, body: NewAppeal) -> ActionId:
    report = None if body.report_id is None else id_of(body.report_id, "report_id")
    named = None if body.measure_id is None else id_of(body.measure_id, "measure_id")
    for measure in await call.services.moderation.appeals.measures(call.me):
        if report in (None, measure.report_id) and named in (None, measure.id):
            return measure.id
    raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such measure against you")


def _own(appeal: AppealView) -> AppealView:
    """Who decided is not the appellant's to know."""
    return replace(appeal, decided_by=UNSET)


_C = ErrorCode
ROUTES: Final = (
    Route(
        "POST",
        "/appeals",
        file_appeal,
        Access.ANONYMOUS,
        takes=NewAppeal,
        gives=((201, AppealView), (200, AppealView)),
        refuses=(
            _C.MISSING_AUTH_HEADER,
            _C.INVALID_TOKEN,
            _C.TOKEN_EXPIRED,
            _C.CONTENT_TOO_LONG,
            _C.CONTENT_NOT_FOUND,
            _C.USER_NOT_FOUND,
            _C.IDEMPOTENCY_CONFLICT,
        ),
    ),
    Route(
        "GET",
        "/appeals",
        list_appeals,
        gives=((200, Page[AppealView]),),
        query=(LIMIT, CURSOR),
        refuses=(_C.INVALID_CURSOR,),
    ),
    Route("GET", "/measures", list_measures, gives=((200, Page[Measure]),)),
)
