"""Conversations: making, listing, opening, and what changed in one."""

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from actors.rules.payloads import id_of
from actors.shapes.conversations import (
    ChangeRange,
    ConversationView,
    Created,
    CreateDirect,
    MemberView,
    OpenConversation,
    OpenedConversation,
    ReadRange,
)
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import RANGE_LIMIT, MessageView
from actors.shapes.payloads import HISTORY_DEFAULT
from actors.shapes.users import CountUnread
from webapi.answers import Answer
from webapi.call import Call
from webapi.idempotency import once
from webapi.later import not_built
from webapi.paging import (
    CURSOR,
    LIMIT,
    AtLeastOne,
    Page,
    WholeNumber,
    activity_cursor,
    bad_query,
    limit_of,
    number_of,
    read_activity_cursor,
)
from webapi.routing import Parameter, Route
from webapi.users import check_no_block


class NewConversation(Struct, frozen=True):
    """Older clients name the members in other ways; all of them are read."""

    type: Literal["direct", "group"] = "direct"
    member_ids: list[str] | UnsetType = UNSET
    initial_members: list[str] | UnsetType = UNSET
    user_ids: list[str] | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    recipient_id: str | UnsetType = UNSET
    privacy_mode: Literal["standard", "strict_e2e"] = "standard"


class OpenedView(ConversationView, frozen=True):
    """A conversation with what `include` asked for."""

    members: list[MemberView] | UnsetType = UNSET
    messages: list[MessageView] | UnsetType = UNSET


async def create_conversation(call: Call) -> Answer:
    """The conversation with somebody: 201 when it was made, 200 when it was there."""
    body = await call.body(NewConversation)
    done = await once(call, Created, lambda keyed: _create(call, body, keyed), made=lambda found: found.created)
    view = await _open(call, done.value.conversation_id, OpenConversation(call.me))
    return done.answer(view, 201 if done.value.created else 200)


async def _create(call: Call, body: NewConversation, keyed: Keyed | None) -> Created:
    if body.type != "direct":
        raise not_built("groups")
    if body.privacy_mode != "standard":
        raise not_built("encryption")
    other = _the_other(call.me, body)
    # All is asked before anything is answered: a blocker takes as long as somebody who does not exist.
    known = await call.services.user_store.load([other])
    await check_no_block(call, other)
    if other not in known or known[other].status == "deleted":
        raise KithError(ErrorCode.USER_NOT_FOUND)
    return await _find_or_make(call, other, body.privacy_mode, keyed)


async def list_conversations(call: Call) -> Answer:
    """The caller's conversations, last activity first."""
    limit = limit_of(call.query)
    cursor = call.query.get("cursor")
    before = read_activity_cursor(cursor) if cursor else None
    views, following = await call.services.conversation_store.page_of(call.me, before, limit)
    unread = await _unread(call, [view.id for view in views])
    items = [msgspec.structs.replace(view, unread_count=unread.get(view.id, 0)) for view in views]
    return Answer(Page[ConversationView](items, activity_cursor(following) if following else None))


async def open_conversation(call: Call) -> Answer:
    """One conversation; `include=members,messages` adds those."""
    include = {part for part in call.query.get("include", "").split(",") if part}
    if include - {"members", "messages"}:
        raise bad_query("include", "`include` is `members`, `messages` or both")
    command = OpenConversation(
        call.me, messages=HISTORY_DEFAULT if "messages" in include else 0, members="members" in include
    )
    return Answer(await _open(call, call.conversation(), command))


async def list_changes(call: Call) -> Answer:
    """Everything that changed after a revision: the twin of `conversation.range`."""
    command = ReadRange(
        call.me,
        after_rev=number_of(call.query, "after_rev") or 0,
        limit=limit_of(call.query, RANGE_LIMIT, RANGE_LIMIT),
    )
    options = call.services.options
    changes: ChangeRange = await call.services.conversations.ask(call.conversation(), command, options.ask_timeout)
    return Answer(changes)


def _the_other(me: UserId, body: NewConversation) -> UserId:
    for field in ("member_ids", "initial_members", "user_ids", "user_id", "recipient_id"):
        given = getattr(body, field)
        if given is UNSET:
            continue
        members = {id_of(member, field) for member in ([given] if isinstance(given, str) else given)}
        others = members - {me}
        if len(others) != 1:
            raise invalid(field, "a direct conversation is with one other user")
        return UserId(others.pop())
    raise invalid("member_ids", "`member_ids` names the other user")


async def _find_or_make(call: Call, other: UserId, privacy_mode: str, keyed: Keyed | None) -> Created:
    """The conversation of the pair. Two who make it at once meet in the database, and get the same one."""
    services = call.services
    known = await services.conversation_store.direct_between(call.me, other, privacy_mode)
    if known is not None:
        return Created(known, created=False)
    command = CreateDirect(call.me, other, "standard", keyed)
    id = ConversationId(services.new_id())
    created: Created = await services.conversations.ask(id, command, services.options.ask_timeout)
    return created


async def _open(call: Call, id: ConversationId, command: OpenConversation) -> OpenedView:
    services = call.services
    opened: OpenedConversation = await services.conversations.ask(id, command, services.options.ask_timeout)
    unread = await _unread(call, [id])
    view = opened.conversation
    fields = {name: getattr(view, name) for name in view.__struct_fields__}
    fields |= {"my": opened.my, "unread_count": unread.get(id, 0)}
    return OpenedView(
        **fields,
        members=opened.members if command.members else UNSET,
        messages=opened.messages if command.messages else UNSET,
    )


async def _unread(call: Call, ids: list[ConversationId]) -> dict[ConversationId, int]:
    """His own actor counts them, because it sees every message that reaches him."""
    if not ids:
        return {}
    options = call.services.options
    counts: dict[ConversationId, int] = await call.services.users.ask(
        call.me, CountUnread(tuple(ids)), options.ask_timeout
    )
    return counts


ROUTES: Final = (
    Route(
        "POST",
        "/conversations",
        create_conversation,
        takes=NewConversation,
        gives=((201, OpenedView), (200, OpenedView)),
        refuses=(
            ErrorCode.USER_NOT_FOUND,
            ErrorCode.USER_BLOCKED,
            ErrorCode.IDEMPOTENCY_CONFLICT,
            ErrorCode.NOT_IMPLEMENTED,
        ),
    ),
    Route(
        "GET",
        "/conversations",
        list_conversations,
        gives=((200, Page[ConversationView]),),
        query=(LIMIT, CURSOR),
        refuses=(ErrorCode.INVALID_CURSOR,),
    ),
    Route(
        "GET",
        "/conversations/{conversation_id}",
        open_conversation,
        gives=((200, OpenedView),),
        query=(Parameter("include", "`members`, `messages`, or both with a comma between them"),),
        refuses=(ErrorCode.CONVERSATION_NOT_FOUND,),
    ),
    Route(
        "GET",
        "/conversations/{conversation_id}/changes",
        list_changes,
        gives=((200, ChangeRange),),
        query=(
            Parameter("after_rev", "The revision you know; 0 is from the beginning", WholeNumber),
            Parameter("limit", f"How many changes at most: {RANGE_LIMIT} by default, and no more", AtLeastOne),
        ),
        refuses=(ErrorCode.CONVERSATION_NOT_FOUND, ErrorCode.RESYNC),
    ),
)
