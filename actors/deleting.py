"""The deletions of one drain: what each becomes, and after the commit, what its asker and the members are told."""

from collections.abc import Iterable
from typing import Any, Protocol

from msgspec.structs import replace

from actors.envelopes import event_frame, ok_frame
from actors.mailbox import Envelope
from actors.rules.conversation import decide_delete
from actors.shapes.audit import AuditRow
from actors.shapes.conversations import ConversationState, DeleteMessage
from actors.shapes.errors import KithError
from actors.shapes.ids import MessageId, UserId
from actors.shapes.messages import DeletedMessage, MessageDeleted, MessageFacts, MessageTombstone, RevMoved
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Deliver


class Tell(Protocol):
    """Pass an event on: to all members, or to these."""

    def __call__(self, deliver: Deliver, members: Iterable[UserId] | None = None, /) -> None: ...


class Deletions:
    """Made when the first deletion of a batch is met: a batch of sends has none."""

    __slots__ = ("_facts", "audits", "tombstones")

    def __init__(self, facts: dict[MessageId, MessageFacts]) -> None:
        self._facts = facts
        self.tombstones: dict[MessageId, DeletedMessage] = {}
        self.audits: list[AuditRow] = []

    def decide(
        self, state: ConversationState | None, command: DeleteMessage, now: WallTime
    ) -> tuple[ConversationState | None, DeletedMessage | MessageDeleted | KithError]:
        """The state after it, and its outcome. Deleted twice in one batch, the second waits for the same commit."""
        facts = self._facts.get(command.message_id)
        earlier = self.tombstones.get(command.message_id)
        if facts is not None and earlier is not None:
            facts = replace(facts, rev=earlier.rev, deleted=True)
        decided = decide_delete(state, command, facts, now)
        if not isinstance(decided, tuple):
            return state, decided
        after, tombstone = decided
        self.tombstones[tombstone.id] = tombstone
        if command.audit is not None:
            self.audits.append(command.audit)
        return after, tombstone


def publish_deletion(
    envelope: Envelope[Any], tombstone: DeletedMessage, state: ConversationState, tell_members: Tell
) -> None:
    """Whoever joined after the message was written never saw it: he learns that the revision moved, and no more."""
    deleted = MessageDeleted(tombstone.rev)
    late = {member.user_id for member in state.members.values() if member.joined_rev > tombstone.created_rev}
    late.discard(tombstone.deleted_by)  # an author who came back
    if late:
        moved = RevMoved(tombstone.conversation_id, tombstone.rev)
        frame = event_frame("rev", moved)
        tell_members(Deliver(frame, moved.conversation_id, 0, tombstone.deleted_by, rev=moved.rev), late)
    others = None if not late else [user for user in state.members if user not in late]
    tell_members(_delivery(envelope, tombstone, deleted), others)


def _delivery(envelope: Envelope[Any], tombstone: DeletedMessage, deleted: MessageDeleted) -> Deliver:
    """As of a send: the `ok` of a connection travels with the event, so that revisions arrive in order there too."""
    origin = envelope.command.origin
    view = MessageTombstone(
        tombstone.conversation_id,
        tombstone.id,
        tombstone.seq,
        tombstone.rev,
        tombstone.deleted_by,
        iso(tombstone.deleted_at),
    )
    # A negative seq: whoever counted this message as unread counts anew.
    where = tombstone.conversation_id, -tombstone.seq, tombstone.deleted_by
    if origin is None:
        envelope.answer(deleted)
        return Deliver(event_frame("message.deleted", view), *where, rev=tombstone.rev)
    envelope.settled = True
    frame = event_frame("message.deleted", view, origin.read_at)
    ok = None if origin.ref is None else ok_frame(origin.ref, deleted)
    return Deliver(frame, *where, origin.socket, ok, tombstone.rev)
