"""People, for platform admins: found, looked at, suspended, restored, signed out."""

from typing import Final, Literal

from msgspec import Struct

from actors.rules.moderation import check_reason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.moderation import (
    ActionFilter,
    ActionId,
    AdminAction,
    AdminReport,
    NoteAction,
    ReportFilter,
    Restore,
    SignOut,
    StandingChanged,
    Suspend,
    UserCounts,
    UserFilter,
    UserStatus,
    UserSummary,
)
from actors.shapes.times import Moment, iso
from actors.shapes.users import LoginView, Profile
from webapi.admin.acts import StandingView, act_of, end_of, reason_or_none
from webapi.answers import Answer
from webapi.call import Call
from webapi.paging import CURSOR, LIMIT, Page, bad_query, choice_of, limit_of, place_cursor, place_of
from webapi.routing import Access, Parameter, Route

_SHOWN: Final = 20  # reports and actions of one user; the rest is in their own lists
_SHORTEST_QUERY: Final = 2
_LONGEST_QUERY: Final = 254
_STATUSES: Final = ("active", "suspended", "deleted")


class SuspendUser(Struct, frozen=True):
    """Without `until` it lasts until somebody restores him."""

    reason: str
    until: Moment | None = None


class WithReason(Struct, frozen=True):
    reason: str | None = None


class SuspensionView(Struct, frozen=True):
    measure_id: ActionId | None
    reason: str | None
    until: str | None


class AdminUser(Struct, frozen=True):
    """Everything about one user; `profile` is null when the account is deleted. Latest reports and actions only."""

    user: UserSummary
    profile: Profile | None
    suspension: SuspensionView | None
    counts: UserCounts
    sessions: list[LoginView]
    reports: list[AdminReport]
    actions: list[AdminAction]


async def list_users(call: Call) -> Answer:
    """Newest first; `q` is the beginning of a username, an e-mail or a display name, or a whole id."""
    text = (call.query.get("q") or "").strip()
    # One letter is the beginning of a tenth of all names: at a million users that took a second and more.
    if (text and not _SHORTEST_QUERY <= len(text) <= _LONGEST_QUERY) or "\x00" in text:
        raise bad_query("q", f"`q` has {_SHORTEST_QUERY} to {_LONGEST_QUERY} characters and no U+0000")
    status = choice_of(call.query, "status", (*_STATUSES, "any"), "any")
    wanted = UserFilter(
        q=text or None,
        status=None if status == "any" else _status(status),
        admins=choice_of(call.query, "admins", ("true", "false"), "false") == "true",
    )
    found, place = await call.services.moderation.people.find(wanted, place_of(call.query), limit_of(call.query))
    return Answer(Page[UserSummary](found, place_cursor(place)))


async def show_user(call: Call) -> Answer:
    """Everything about one user; that somebody looked is in the audit log."""
    user, stores = call.user(), call.services.moderation
    summary = await stores.people.summary(user)
    if summary is None:
        raise KithError(ErrorCode.USER_NOT_FOUND)
    await _tell(call, call.me, NoteAction(act_of(call), "view_user", "user", user, user))
    suspension = await stores.standing.suspension_of(user)
    reports, _ = await stores.reports.reports(ReportFilter(status=None, about=user), None, _SHOWN)
    actions, _ = await stores.audit.actions(ActionFilter(about=user), None, _SHOWN)
    return Answer(
        AdminUser(
            user=summary,
            profile=await call.services.profiles.load(user),
            suspension=None
            if suspension is None
            else SuspensionView(
                suspension.measure_id, suspension.reason, None if suspension.until is None else iso(suspension.until)
            ),
            counts=await stores.people.counts(user),
            sessions=await call.services.accounts.logins(user),
            reports=reports,
            actions=actions,
        )
    )


async def suspend_user(call: Call) -> Answer:
    """Ends all logins and lets none be opened; an admin cannot be suspended."""
    body = await call.body(SuspendUser)
    command = Suspend(act_of(call), check_reason(body.reason, "reason"), end_of(call, body.until))
    changed: StandingChanged = await _tell(call, call.user(), command)
    return Answer(StandingView(call.user(), "suspended", len(changed.ended), command.by.id))


async def restore_user(call: Call) -> Answer:
    """Ends a suspension; who is not suspended stays as he is."""
    body = await call.optional_body(WithReason)
    command = Restore(act_of(call), reason_or_none(body.reason))
    changed: StandingChanged = await _tell(call, call.user(), command)
    return Answer(StandingView(call.user(), "active", 0, None if changed.status is None else command.by.id))


async def sign_out_user(call: Call) -> Answer:
    """Ends all logins of somebody, who may sign in again."""
    body = await call.optional_body(WithReason)
    command = SignOut(act_of(call), reason_or_none(body.reason))
    changed: StandingChanged = await _tell(call, call.user(), command)
    summary = await call.services.moderation.people.summary(call.user())
    status: UserStatus = "active" if summary is None else summary.status
    return Answer(StandingView(call.user(), status, len(changed.ended), command.by.id))


async def _tell(call: Call, user: UserId, command: Suspend | Restore | SignOut | NoteAction) -> StandingChanged:
    changed: StandingChanged = await call.services.users.ask(user, command, call.services.options.ask_timeout)
    return changed


def _status(text: str) -> UserStatus:
    statuses: dict[str, UserStatus] = {"active": "active", "suspended": "suspended", "deleted": "deleted"}
    return statuses[text]


_QUERY: Final = (
    Parameter("q", "The beginning (2 characters or more) of a username, an e-mail or a display name, or a whole id"),
    Parameter("status", "Only these; `any` by default", Literal["active", "suspended", "deleted", "any"]),
    Parameter("admins", "Only platform admins", Literal["true", "false"]),
    LIMIT,
    CURSOR,
)
_C = ErrorCode
ROUTES: Final = (
    Route(
        "GET",
        "/admin/users",
        list_users,
        Access.ADMIN,
        gives=((200, Page[UserSummary]),),
        query=_QUERY,
        refuses=(_C.INVALID_CURSOR,),
    ),
    Route(
        "GET",
        "/admin/users/{user_id}",
        show_user,
        Access.ADMIN,
        gives=((200, AdminUser),),
        refuses=(_C.USER_NOT_FOUND,),
        secret=True,
    ),
    Route(
        "POST",
        "/admin/users/{user_id}/suspend",
        suspend_user,
        Access.ADMIN,
        takes=SuspendUser,
        gives=((200, StandingView),),
        refuses=(_C.USER_NOT_FOUND, _C.CONTENT_TOO_LONG),
    ),
    Route(
        "POST",
        "/admin/users/{user_id}/restore",
        restore_user,
        Access.ADMIN,
        takes=WithReason,
        needs_body=False,
        gives=((200, StandingView),),
        refuses=(_C.USER_NOT_FOUND, _C.CONTENT_TOO_LONG),
    ),
    Route(
        "POST",
        "/admin/users/{user_id}/sign-out",
        sign_out_user,
        Access.ADMIN,
        takes=WithReason,
        needs_body=False,
        gives=((200, StandingView),),
        refuses=(_C.USER_NOT_FOUND, _C.CONTENT_TOO_LONG),
    ),
)
