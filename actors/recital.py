"""What a conversation lets its members read: who may is decided from memory, the rows are read beside the actor."""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, structs

from actors.mailbox import Envelope
from actors.ports import ConversationStore
from actors.reading import Readers
from actors.rules.conversation import access
from actors.shapes.conversations import (
    ConversationState,
    Member,
    OpenConversation,
    OpenedConversation,
    PresenceView,
    ReadHistory,
    ReadMessage,
    ReadRange,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.messages import MessagePage, MessageView
from actors.shapes.times import iso

MEMBERS_SHOWN = 200

Read = Callable[[], Awaitable[object]]


class Library(Struct, frozen=True):
    """Where the rows are, who reads them, and who is online."""

    store: ConversationStore
    readers: Readers
    is_online: Callable[[UserId], bool]


def recite(library: Library, state: ConversationState | None, envelope: Envelope[Any]) -> None:
    """Answer a read, or refuse it exactly as if the conversation did not exist."""
    granted = access(state, envelope.command.reader)
    if isinstance(granted, KithError):
        envelope.refuse(granted)
        return
    conversation, member = granted
    library.readers.start(envelope.hand_over(), _read(library, conversation, member, envelope.command))


def _read(library: Library, state: ConversationState, member: Member, command: object) -> Read:
    store = library.store
    if isinstance(command, ReadHistory):
        return lambda: _history(store, state, member, command)
    if isinstance(command, ReadRange):
        return lambda: store.changes(state.id, member.joined_rev, command.after_rev, command.limit)
    if isinstance(command, ReadMessage):
        return lambda: _message(store, state, member, command)
    assert isinstance(command, OpenConversation), command
    return lambda: _open(library, state, member, command)


async def _history(
    store: ConversationStore, state: ConversationState, member: Member, command: ReadHistory
) -> MessagePage:
    page = await store.history(state.id, member.joined_rev, command.before_seq, command.after_seq, command.limit)
    return MessagePage(page.messages[::-1], page.has_more) if command.ascending else page


async def _message(
    store: ConversationStore, state: ConversationState, member: Member, command: ReadMessage
) -> MessageView:
    found = await store.message(state.id, member.joined_rev, command.message_id)
    if found is None:
        raise KithError(ErrorCode.MESSAGE_NOT_FOUND)
    return found


async def _open(
    library: Library, state: ConversationState, member: Member, command: OpenConversation
) -> OpenedConversation:
    store = library.store
    # The view is read first: everything after it is at least as new, so its rev promises nothing that is not shown.
    view, my = await store.view(state.id, command.reader)
    messages: list[MessageView] = []
    if command.messages:
        page = await store.history(state.id, member.joined_rev, None, None, command.messages)
        messages = page.messages
    members = await store.members(state.id, MEMBERS_SHOWN) if command.members else []
    presence = await _presence(library, state, command.reader, [member.user_id for member in members])
    unread, _ = (await store.unread(command.reader, [state.id])).get(state.id, (0, state.seq))
    seen_by_him = structs.replace(view, my=my, unread_count=unread)
    return OpenedConversation(seen_by_him, my, view.rev, messages, members, presence)


async def _presence(
    library: Library, state: ConversationState, reader: UserId, users: list[UserId]
) -> list[PresenceView]:
    """Across a block nobody is ever seen online, nor when he was. Who is online has no last time."""
    online = {user for user in users if library.is_online(user) and not state.blocks}
    away = [user for user in users if user not in online and user != reader]
    seen = await library.store.last_seen(reader, away) if away else {}
    return [
        PresenceView(user, "online" if user in online else "offline", iso(seen[user]) if user in seen else None)
        for user in users
    ]
