"""The sends of one drain: what each becomes, and after the commit, what its asker and every member is told."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from actors.envelopes import event_frame, ok_frame
from actors.mailbox import Envelope
from actors.recent import RecentSends
from actors.rules.conversation import decide_send
from actors.shapes.conversations import ConversationState, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, MessageId, UserId
from actors.shapes.messages import MessageSent, MessageView, StoredMessage
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Deliver

Outcome = StoredMessage | MessageSent | KithError
SendKey = tuple[UserId, ClientId]


class SentBefore(Protocol):
    async def __call__(self, keys: list[SendKey]) -> dict[SendKey, tuple[MessageSent, str]]: ...


CONFLICT: Final = "This client_id was used for another message"


class SendBatch:
    """Idempotency is looked at first, before membership, blocks and body: an author always gets the first outcome."""

    __slots__ = ("_in_batch", "_outcomes", "_recent", "after", "messages")

    def __init__(self, state: ConversationState | None, recent: RecentSends) -> None:
        self.after = state  # the state once this batch is committed
        self.messages: list[StoredMessage] = []
        self._recent = recent
        self._in_batch: dict[SendKey, StoredMessage] = {}
        self._outcomes: list[Outcome] = []

    async def decide(
        self, envelopes: list[Envelope[Any]], now: WallTime, new_id: Callable[[], MessageId], sent_before: SentBefore
    ) -> None:
        for envelope in envelopes:
            outcome = self._one(envelope.command, now, new_id)
            if isinstance(outcome, KithError) and self.after is not None:
                outcome = await self._unless_sent_before(envelope.command, outcome, now, new_id, sent_before)
            self._outcomes.append(outcome)

    def _one(self, command: SendMessage, now: WallTime, new_id: Callable[[], MessageId]) -> Outcome:
        key = (command.sender, command.client_id)
        known = self._recent.find(command.sender, command.client_id)
        if known is not None:
            sent, text_hash = known
            if text_hash != hash(command.text):
                return KithError(ErrorCode.IDEMPOTENCY_CONFLICT, CONFLICT, details={"field": "client_id"})
            return sent
        first = self._in_batch.get(key)
        if first is not None:  # a repeat of a message that waits for the same commit
            if first.text != command.text:
                return KithError(ErrorCode.IDEMPOTENCY_CONFLICT, CONFLICT, details={"field": "client_id"})
            return outcome_of(first, duplicate=True)
        if command.after is not None and not self._knows(command.sender, command.after):
            return KithError(ErrorCode.OUT_OF_ORDER, details={"after": command.after}, retry_after=0.1)
        decided = decide_send(self.after, command, now, new_id())
        if isinstance(decided, KithError):
            return decided
        self.after, message = decided
        self.messages.append(message)
        self._in_batch[key] = message
        return message

    def _knows(self, sender: UserId, client_id: ClientId) -> bool:
        return self._recent.find(sender, client_id) is not None or (sender, client_id) in self._in_batch

    async def _unless_sent_before(
        self,
        command: SendMessage,
        refusal: KithError,
        now: WallTime,
        new_id: Callable[[], MessageId],
        sent_before: SentBefore,
    ) -> Outcome:
        """Before somebody is refused, the database is asked: memory forgets, and a repeat must hear its first outcome."""
        if refusal.code is ErrorCode.IDEMPOTENCY_CONFLICT:
            return refusal
        keys = [(command.sender, command.client_id)]
        if command.after is not None:
            keys.append((command.sender, command.after))
        found = await sent_before(keys)
        for (sender, client_id), (sent, text) in found.items():
            self._recent.note(sender, client_id, (sent, hash(text)))
        return self._one(command, now, new_id) if found else refusal

    def answer_without_rows(self, envelopes: list[Envelope[Any]]) -> None:
        """Nothing of this batch is new: repeats and refusals only."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            tell_asker(envelope, outcome)

    def publish(self, envelopes: list[Envelope[Any]], tell_members: Callable[[Deliver], None]) -> None:
        """The batch is on disk: remember it, answer, and pass each message to everybody in order."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            if type(outcome) is StoredMessage:
                sent = outcome_of(outcome)
                self._recent.note(outcome.sender_id, outcome.client_id, (sent, hash(outcome.text)))
                tell_members(self._delivery(envelope, outcome, sent))
            else:
                tell_asker(envelope, outcome)

    def _delivery(self, envelope: Envelope[Any], message: StoredMessage, sent: MessageSent) -> Deliver:
        """The event for everybody; the `ok` of a connection travels with it, so that revs arrive in order there too."""
        assert self.after is not None
        origin = envelope.command.origin
        name = self.after.members[message.sender_id].name
        if origin is None:
            envelope.answer(sent)
            frame = event_frame("message.created", view_of(message, name))
            return Deliver(frame, message.conversation_id, message.seq, message.sender_id)
        envelope.settled = True
        frame = event_frame("message.created", view_of(message, name), origin.read_at)
        ok = None if origin.ref is None else ok_frame(origin.ref, sent)
        return Deliver(frame, message.conversation_id, message.seq, message.sender_id, origin.socket, ok)


def tell_asker(envelope: Envelope[Any], outcome: Outcome) -> None:
    if isinstance(outcome, KithError):
        envelope.refuse(outcome)
    elif type(outcome) is MessageSent:
        envelope.answer(
            outcome
            if outcome.duplicate
            else MessageSent(outcome.message_id, outcome.seq, outcome.rev, outcome.created_at, duplicate=True)
        )


def outcome_of(message: StoredMessage, *, duplicate: bool = False) -> MessageSent:
    return MessageSent(message.id, message.seq, message.rev, iso(message.created_at), duplicate)


def view_of(message: StoredMessage, sender_name: str) -> MessageView:
    return MessageView(
        message.id,
        message.conversation_id,
        message.seq,
        message.rev,
        message.sender_id,
        sender_name,
        message.client_id,
        iso(message.created_at),
        message.text,
        reply_to=message.reply_to,
        mentions=message.mentions,
    )
