"""The places where one is signed in: listed, and ended one by one."""

from typing import Final

import msgspec

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId
from actors.shapes.users import CloseLogins, LoginView
from webapi.answers import Answer
from webapi.call import Call
from webapi.paging import Page
from webapi.routing import Route


async def list_sessions(call: Call) -> Answer:
    """Where the caller is signed in."""
    logins = await call.services.accounts.logins(call.me)
    current = call.caller.login_id
    return Answer(
        Page[LoginView]([msgspec.structs.replace(login, current=login.id == current) for login in logins], None)
    )


async def end_session(call: Call) -> Answer:
    """Signs out one of the caller's places; a session of somebody else's does not exist, one that has ended neither."""
    login = LoginId(call.params["session_id"])
    ended = await call.services.users.ask(call.me, CloseLogins([login]), call.services.options.ask_timeout)
    if not ended:
        raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such session")
    return Answer(None, 204)


ROUTES: Final = (
    Route("GET", "/auth/sessions", list_sessions, gives=((200, Page[LoginView]),), secret=True),
    Route(
        "DELETE",
        "/auth/sessions/{session_id}",
        end_session,
        gives=((204, None),),
        refuses=(ErrorCode.CONTENT_NOT_FOUND,),
    ),
)
