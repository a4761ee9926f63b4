"""What admins did, for platform admins."""

from typing import Final, get_args

from actors.shapes.errors import ErrorCode
from actors.shapes.ids import UserId
from actors.shapes.moderation import ActionFilter, ActionName, AdminAction
from webapi.answers import Answer
from webapi.call import Call
from webapi.paging import (
    CURSOR,
    LIMIT,
    Page,
    choice_of,
    id_in,
    limit_of,
    moment_in,
    place_cursor,
    place_of,
)
from webapi.routing import Access, Parameter, Route

_ACTIONS: Final[dict[str, ActionName]] = {name: name for name in get_args(ActionName)}


async def list_actions(call: Call) -> Answer:
    """The audit log, newest first."""
    query = call.query
    admin, about = id_in(query, "admin_id"), id_in(query, "user_id")
    wanted = ActionFilter(
        admin=None if admin is None else UserId(admin),
        action=_ACTIONS[choice_of(query, "action", tuple(_ACTIONS), "")] if "action" in query else None,
        target=id_in(query, "target_id"),
        about=None if about is None else UserId(about),
        since=moment_in(query, "since"),
        before=moment_in(query, "before"),
    )
    found, place = await call.services.moderation.audit.actions(wanted, place_of(query), limit_of(query))
    return Answer(Page[AdminAction](found, place_cursor(place)))


ROUTES: Final = (
    Route(
        "GET",
        "/admin/audit",
        list_actions,
        Access.ADMIN,
        gives=((200, Page[AdminAction]),),
        query=(
            Parameter("admin_id", "Only what this admin did"),
            Parameter("action", "Only such actions", ActionName),
            Parameter("target_id", "Only what was done to this user, message, report or appeal"),
            Parameter("user_id", "Only what concerns this user: his messages and appeals, too"),
            Parameter("since", "Not before this time"),
            Parameter("before", "Before this time"),
            LIMIT,
            CURSOR,
        ),
        refuses=(ErrorCode.INVALID_CURSOR,),
    ),
)
