"""The sends of one drain: what each becomes, and after the commit, what its asker and every member is told."""

from collections.abc import Callable, Collection
from typing import Any, Final

from actors.envelopes import event_frame, ok_frame
from actors.mailbox import Envelope
from actors.recent import RecentSends, SendKey
from actors.rules.conversation import decide_send
from actors.shapes.conversations import ConversationState, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, MessageId, UserId
from actors.shapes.messages import MessageSent, MessageView, StoredMessage
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Deliver

Outcome = StoredMessage | MessageSent | KithError

# What the database told of sends that memory has forgotten: the outcome and the text.
Known = dict[SendKey, tuple[MessageSent, str]]

CONFLICT: Final = "This client_id was used for another message"


class SendBatch:
    """Idempotency is looked at first, before membership, blocks and body: an author always gets the first outcome."""

    __slots__ = ("_in_batch", "_known", "_outcomes", "_quotes", "_recent", "after", "messages", "refused")

    def __init__(
        self, state: ConversationState | None, recent: RecentSends, known: Known, quotes: Collection[MessageId] = ()
    ) -> None:
        self.after = state  # the state once this batch is committed
        self.messages: list[StoredMessage] = []
        self.refused: list[SendMessage] = []
        self._recent = recent
        self._known = known
        self._quotes = quotes  # messages that were asked for and found to be of this conversation
        self._in_batch: dict[SendKey, StoredMessage] = {}
        self._outcomes: list[Outcome] = []

    def decide(self, envelopes: list[Envelope[Any]], now: WallTime, new_id: Callable[[], MessageId]) -> None:
        for envelope in envelopes:
            outcome = self._one(envelope.command, now, new_id)
            self._outcomes.append(outcome)
            if type(outcome) is KithError and outcome.code is not ErrorCode.IDEMPOTENCY_CONFLICT:
                self.refused.append(envelope.command)

    def in_doubt(self) -> list[SendKey]:
        """The sends that memory would refuse, and nobody has asked the database about: it may know them as repeats."""
        keys = [(command.sender, command.client_id) for command in self.refused]
        keys += [(command.sender, command.after) for command in self.refused if command.after is not None]
        return [key for key in dict.fromkeys(keys) if key not in self._known]

    def unknown_quotes(self) -> list[MessageId]:
        """What refused sends reply to and nobody has looked for yet."""
        asked = [command.reply_to for command in self.refused if command.reply_to is not None]
        return [id for id in dict.fromkeys(asked) if id not in self._quotes]

    def _one(self, command: SendMessage, now: WallTime, new_id: Callable[[], MessageId]) -> Outcome:
        key = (command.sender, command.client_id)
        sent = self._recent.find(key)
        if sent is None and self._known:
            told = self._known.get(key)
            sent = None if told is None else (told[0], hash(told[1]))
        if sent is not None:
            if sent[1] != hash(command.text):
                return KithError(ErrorCode.IDEMPOTENCY_CONFLICT, CONFLICT, details={"field": "client_id"})
            return sent[0]
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
        if command.reply_to is not None and command.reply_to not in self._quotes:  # after access: strangers get no hint
            return KithError(ErrorCode.MESSAGE_NOT_FOUND, details={"field": "reply_to", "value": command.reply_to})
        self.after, message = decided
        self.messages.append(message)
        self._in_batch[key] = message
        return message

    def _knows(self, sender: UserId, client_id: ClientId) -> bool:
        key = (sender, client_id)
        return self._recent.find(key) is not None or key in self._in_batch or key in self._known

    def answer_without_rows(self, envelopes: list[Envelope[Any]]) -> None:
        """Nothing of this batch is new: repeats and refusals only."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            tell_asker(envelope, outcome)

    def withdraw(self, envelopes: list[Envelope[Any]], refusal: KithError) -> None:
        """The journal took nothing: who waits for its rows is refused, and the others hear what they would have."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            command = envelope.command
            if (command.sender, command.client_id) in self._in_batch:
                envelope.refuse(refusal)
            else:
                tell_asker(envelope, outcome)

    def publish(self, envelopes: list[Envelope[Any]], tell_members: Callable[[Deliver], None]) -> None:
        """The batch is on disk: remember it, answer, and pass each message to everybody in order."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            if type(outcome) is StoredMessage:
                sent = outcome_of(outcome)
                self._recent.note((outcome.sender_id, outcome.client_id), (sent, hash(outcome.text)))
                tell_members(self._delivery(envelope, outcome, sent))
            else:
                tell_asker(envelope, outcome)

    def _delivery(self, envelope: Envelope[Any], message: StoredMessage, sent: MessageSent) -> Deliver:
        """The event for everybody; the `ok` of a connection travels with it, so that revs arrive in order there too."""
        assert self.after is not None
        origin = envelope.command.origin
        view = view_of(message, self.after.members[message.sender_id].name, sent.created_at)
        if origin is None:
            envelope.answer(sent)
            return Deliver(
                event_frame("message.created", view), message.conversation_id, message.seq, message.sender_id
            )
        envelope.settled = True
        frame = event_frame("message.created", view, origin.read_at)
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


def view_of(message: StoredMessage, sender_name: str, created_at: str) -> MessageView:
    return MessageView(
        message.id,
        message.conversation_id,
        message.seq,
        message.rev,
        message.sender_id,
        sender_name,
        message.client_id,
        created_at,
        message.text,
        reply_to=message.reply_to,
        mentions=message.mentions,
    )
