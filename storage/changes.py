"""Reads what changed in a conversation since a revision: the answer to `conversation.range`."""

from typing import Final

from actors.shapes.conversations import Change, ChangeRange
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId
from storage.conversation_rows import MEMBER_COLUMNS, OWN_COLUMNS, ConversationFields, MemberRow
from storage.message_rows import MESSAGE_COLUMNS, MessageRow
from storage.postgres import Statements

# Read before the rest: whatever is committed after it lies above its rev and is left for the next range.
_HEAD: Final = f"select {OWN_COLUMNS} from conversations c where c.id = $1::uuid"

_MESSAGES: Final = f"""
select {MESSAGE_COLUMNS}
  from messages m join users s on s.id = m.sender_id
 where m.conversation_id = $1::uuid and m.rev > $2 and m.rev <= $3 and m.created_rev >= $4
 order by m.rev limit $5
"""

_MEMBERS: Final = f"""
select {MEMBER_COLUMNS}
  from conversation_members m join users u on u.id = m.user_id
 where m.conversation_id = $1::uuid and m.rev > $2 and m.rev <= $3 and m.rev >= $4
 order by m.rev, m.user_id limit $5
"""

# A birth makes as many member changes at one revision as the largest group has members.
_LARGEST_GROUP: Final = 500


async def read_changes(
    asked: Statements, id: ConversationId, joined_rev: int, after_rev: int, limit: int
) -> ChangeRange:
    """By revision, every row that changed above `after_rev` and that a member since `joined_rev` may read."""
    head = await asked.fetchrow(ConversationFields, _HEAD, id)
    if head is None:
        raise KithError(ErrorCode.CONVERSATION_NOT_FOUND)
    bounds = (id, after_rev, head.rev, joined_rev)
    messages = await asked.fetch(MessageRow, _MESSAGES, *bounds, limit + 1)
    members = await asked.fetch(MemberRow, _MEMBERS, *bounds, limit + 1 + _LARGEST_GROUP)
    changes = _own_change(head, joined_rev, after_rev)
    changes += [Change(row.rev, member=row.shown) for row in members]
    changes += [Change(row.rev, message=row.shown) for row in messages]
    changes.sort(key=lambda change: change.rev)
    return cut(changes, head.rev, limit)


def _own_change(head: ConversationFields, joined_rev: int, after_rev: int) -> list[Change]:
    """The conversation's own fields; whoever joined after their last change learns them with his joining."""
    rev = max(head.own_rev, joined_rev)
    # Without a last message: a message is a change of its own.
    return [Change(rev, conversation=head.shown(None))] if rev > after_rev else []


def cut(changes: list[Change], head_rev: int, limit: int) -> ChangeRange:
    """End after `limit` changes, but never within a revision: `upto_rev` promises it whole."""
    if len(changes) <= limit:
        return ChangeRange(changes, head_rev, more=False)
    last = changes[limit - 1].rev
    whole = [change for change in changes if change.rev <= last]
    if len(whole) == len(changes):
        return ChangeRange(whole, head_rev, more=False)
    return ChangeRange(whole, last, more=True)
