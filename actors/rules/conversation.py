"""What a conversation decides: who may read it, who may write, and what a sent message becomes."""

from typing import Literal

from actors.shapes.conversations import ConversationState, Member, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import MessageId, UserId
from actors.shapes.messages import StoredMessage
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
