"""Profiles: one's own to read and change, those of others to read."""

from typing import Final

import msgspec
from msgspec import UNSET

from actors.rules.accounts import check_profile
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.users import Profile, UpdateProfile
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Route


async def show_user(call: Call) -> Answer:
    """A profile; `me` and one's own id show the e-mail, too."""
    user = call.user()
    if user != call.me:
        await check_no_block(call, user)
    return Answer(await _profile(call, user))


async def update_user(call: Call) -> Answer:
    """Changes of one's own profile: what is named changes, null empties."""
    if call.user() != call.me:
        raise KithError(ErrorCode.FORBIDDEN)
    changes = check_profile(await call.body(UpdateProfile))
    if any(getattr(changes, field) is not UNSET for field in changes.__struct_fields__):
        await call.services.users.ask(call.me, changes, call.services.options.ask_timeout)
    return Answer(await _profile(call, call.me))


async def check_no_block(call: Call, other: UserId) -> None:
    """A blocker does not exist for whom he blocks. Who blocks is told so, whether or not he is blocked in turn:
    any other order would tell him that he is."""
    blocks = await call.services.user_store.block_between(call.me, other)
    if (call.me, other) in blocks:
        raise KithError(ErrorCode.USER_BLOCKED, details={"by": "me"})
    if blocks:
        raise KithError(ErrorCode.USER_NOT_FOUND)


async def _profile(call: Call, user: UserId) -> Profile:
    """Only its owner sees the e-mail of a profile."""
    profile = await call.services.profiles.load(user)
    if profile is None:
        raise KithError(ErrorCode.USER_NOT_FOUND)
    return profile if user == call.me else msgspec.structs.replace(profile, email=UNSET)


ROUTES: Final = (
    Route(
        "GET",
        "/users/{user_id}",
        show_user,
        gives=((200, Profile),),
        refuses=(ErrorCode.USER_NOT_FOUND, ErrorCode.USER_BLOCKED),
    ),
    Route(
        "PATCH",
        "/users/{user_id}",
        update_user,
        takes=UpdateProfile,
        gives=((200, Profile),),
        refuses=(
            ErrorCode.FORBIDDEN,
            ErrorCode.INVALID_USERNAME,
            ErrorCode.CONTENT_TOO_LONG,
            ErrorCode.INVALID_MEDIA,
            ErrorCode.USERNAME_TAKEN,
            ErrorCode.USER_NOT_FOUND,
        ),
    ),
)
