"""What a conversation lets its members read: who may is decided from memory, the rows are read beside the actor."""

from collections.abc import Awaitable, Callable
from typing import Any

from actors.mailbox import Envelope
from actors.ports import ConversationStore
from actors.reading import Readers
from actors.rules.conversation import access
from actors.shapes.conversations import (
    ConversationState,
    Member,
    OpenConversation,
    OpenedConversation,
    ReadHistory,
    ReadRange,
)
from actors.shapes.errors import KithError
from actors.shapes.messages import MessagePage, MessageView

MEMBERS_SHOWN = 200

Read = Callable[[], Awaitable[object]]


def recite(
    store: ConversationStore, readers: Readers, state: ConversationState | None, envelope: Envelope[Any]
) -> None:
    """Answer a read, or refuse it exactly as if the conversation did not exist."""
    granted = access(state, envelope.command.reader)
    if isinstance(granted, KithError):
        envelope.refuse(granted)
        return
    conversation, member = granted
    readers.start(envelope, _read(store, conversation, member, envelope.command))


def _read(store: ConversationStore, state: ConversationState, member: Member, command: object) -> Read:
    if isinstance(command, ReadHistory):
        return lambda: _history(store, state, member, command)
    if isinstance(command, ReadRange):
        return lambda: store.changes(state.id, member.joined_rev, command.after_rev, command.limit)
    assert isinstance(command, OpenConversation), command
    return lambda: _open(store, state, member, command)


async def _history(
    store: ConversationStore, state: ConversationState, member: Member, command: ReadHistory
) -> MessagePage:
    page = await store.history(state.id, member.joined_rev, command.before_seq, command.after_seq, command.limit)
    return MessagePage(page.messages[::-1], page.has_more) if command.ascending else page


async def _open(
    store: ConversationStore, state: ConversationState, member: Member, command: OpenConversation
) -> OpenedConversation:
    # The view is read first: everything after it is at least as new, so its rev promises nothing that is not shown.
    view, my = await store.view(state.id, command.reader)
    messages: list[MessageView] = []
    if command.messages:
        page = await store.history(state.id, member.joined_rev, None, None, command.messages)
        messages = page.messages
    members = await store.members(state.id, MEMBERS_SHOWN) if command.members else []
    return OpenedConversation(view, my, view.rev, messages, members, [])
