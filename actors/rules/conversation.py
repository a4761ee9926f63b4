"""What a conversation decides: who may read it, who may write, and what a sent message becomes."""

from typing import Literal

from msgspec import structs

from actors.shapes.conversations import ConversationState, DeleteMessage, Member, Role, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import MessageId, UserId
from actors.shapes.messages import DeletedMessage, MessageDeleted, MessageFacts, StoredMessage
from actors.shapes.times import WallTime


def not_found() -> KithError:
    """The one answer to everybody who is no member: it says the same whether or not there is a conversation."""
    return KithError(ErrorCode.CONVERSATION_NOT_FOUND)


def access(state: ConversationState | None, user: UserId) -> tuple[ConversationState, Member] | KithError:
    """The only way to a conversation: as one of its members."""
    if state is None:
        return not_found()
    member = state.members.get(user)
    if member is None:
        return not_found()
    return state, member


def blocked(state: ConversationState, sender: UserId) -> Literal["me", "other"] | None:
    """Whether a block stands between a sender and the other one of a direct conversation, and who set it.

    The blocks of the pair are part of the state, so that a send is decided under the same compare-and-set as a block.
    """
    if not state.blocks:
        return None
    return "me" if any(blocker == sender for blocker, _ in state.blocks) else "other"


def decide_send(
    state: ConversationState | None, command: SendMessage, now: WallTime, new_id: MessageId
) -> tuple[ConversationState, StoredMessage] | KithError:
    """The state after this message and the row to be written, or the refusal."""
    granted = access(state, command.sender)
    if isinstance(granted, KithError):
        return granted
    state, _ = granted
    by = blocked(state, command.sender)
    if by is not None:
        return KithError(ErrorCode.USER_BLOCKED, details={"by": "me"} if by == "me" else {})
    if state.privacy_mode != "standard":
        return KithError(ErrorCode.INVALID_PAYLOAD, "This conversation takes ciphertext", details={"field": "text"})
    for user in command.mentions:
        if user not in state.members:
            return KithError(
                ErrorCode.INVALID_PAYLOAD, "Only members can be mentioned", details={"field": "mentions", "value": user}
            )
    seq, rev = state.seq + 1, state.rev + 1
    message = StoredMessage(
        new_id,
        state.id,
        seq,
        rev,
        command.sender,
        command.client_id,
        command.text,
        now,
        command.mentions,
        command.reply_to,
    )
    after = ConversationState(state.id, state.type, state.privacy_mode, seq, rev, state.members, state.blocks)
    return after, message


def decide_delete(
    state: ConversationState | None, command: DeleteMessage, facts: MessageFacts | None, now: WallTime
) -> tuple[ConversationState, DeletedMessage] | MessageDeleted | KithError:
    """The state after this deletion and the tombstone, the revision of the one that is there, or the refusal."""
    if command.as_admin:
        if state is None:
            return not_found()
        refusal = KithError(ErrorCode.MESSAGE_NOT_FOUND) if facts is None else None
    else:
        granted = access(state, command.deleter)
        if isinstance(granted, KithError):
            return granted
        state, member = granted
        refusal = _may_not_delete(member, facts)
    if refusal is not None:
        return refusal
    assert facts is not None
    if facts.deleted:
        return MessageDeleted(facts.rev)
    rev = state.rev + 1
    tombstone = DeletedMessage(facts.id, state.id, facts.seq, rev, facts.created_rev, command.deleter, now)
    return structs.replace(state, rev=rev), tombstone


def _may_not_delete(member: Member, facts: MessageFacts | None) -> KithError | None:
    """Authors may at any time, and so may the conversation's admins, of what they may read."""
    if facts is not None and facts.sender_id == member.user_id:
        return None
    if facts is None or facts.created_rev < member.joined_rev:
        return KithError(ErrorCode.MESSAGE_NOT_FOUND)
    if member.role not in (Role.OWNER, Role.ADMIN):
        return KithError(ErrorCode.FORBIDDEN)
    return None
