"""The writes of one drain: what each becomes, and after the commit, what its asker and every member is told."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.json import encode

from actors.deleting import Deletions, Tell, publish_deletion
from actors.envelopes import event_frame, ok_frame
from actors.mailbox import Envelope
from actors.ports import Beside, ConversationUnit
from actors.recent import RecentSends, SendKey
from actors.rules.conversation import decide_send
from actors.shapes.conversations import ConversationState, DeleteMessage, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.idempotency import Keyed, KeyName, KeyRow, KeyUsedError
from actors.shapes.ids import ClientId, MessageId, UserId
from actors.shapes.messages import (
    DeletedMessage,
    KeptSend,
    MessageDeleted,
    MessageFacts,
    MessageSent,
    MessageView,
    StoredMessage,
)
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Deliver

Outcome = StoredMessage | MessageSent | DeletedMessage | MessageDeleted | KithError

# What the database told of sends that memory has forgotten: the outcome, and the text unless it was deleted since.
Known = dict[SendKey, tuple[MessageSent, str | None]]

# A repeat that is another message, and a key that somebody else was faster with: nothing is left to look for.
_ASKED_ALREADY: Final = (ErrorCode.IDEMPOTENCY_CONFLICT, ErrorCode.TRY_AGAIN)
CONFLICT: Final = "This client_id was used for another message"


class Told(Struct):
    """What the database told about the commands of one drain, asked for only when memory would refuse one of them."""

    sends: Known = {}
    messages: dict[MessageId, MessageFacts] = {}
    keys: set[KeyName] = set()  # in use


class SendBatch:
    """Idempotency is looked at first, before membership, blocks and body: an author always gets the first outcome."""

    __slots__ = (
        "_deletions", "_in_batch", "_keys", "_outcomes", "_recent", "_told", "after", "messages", "refused",
    )  # fmt: skip

    def __init__(self, state: ConversationState | None, recent: RecentSends, told: Told) -> None:
        self.after = state  # the state once this batch is committed
        self.messages: list[StoredMessage] = []
        self.refused: list[SendMessage | DeleteMessage] = []
        self._recent = recent
        self._told = told
        self._in_batch: dict[SendKey, StoredMessage] = {}
        self._outcomes: list[Outcome] = []
        self._deletions: Deletions | None = None
        self._keys: dict[KeyName, KeyRow] | None = None

    def decide(self, envelopes: list[Envelope[Any]], now: WallTime, new_id: Callable[[], MessageId]) -> int:
        """How many were decided: what deletes a message of this very batch waits for the next one."""
        for envelope in envelopes:
            command = envelope.command
            if type(command) is SendMessage:
                outcome = self._one(command, now, new_id)
            elif any(message.id == command.message_id for message in self.messages):
                break
            else:
                outcome = self._delete(command, now)
            self._outcomes.append(outcome)
            if (
                type(outcome) is not StoredMessage
                and isinstance(outcome, KithError)
                and outcome.code not in _ASKED_ALREADY
            ):
                self.refused.append(command)
        return len(self._outcomes)

    def unit(self, before: ConversationState | None) -> ConversationUnit | None:
        """What is to be written, if anything."""
        after = self.after
        if before is None or after is None or before.rev == after.rev:
            return None
        return ConversationUnit(after.id, before.rev, after.rev, after.seq, self.messages, self._beside())

    def _beside(self) -> Beside | None:
        deletions, keys = self._deletions, self._keys
        if deletions is None and keys is None:
            return None
        tombstones = tuple(deletions.tombstones.values()) if deletions is not None else ()
        audits = tuple(deletions.audits) if deletions is not None else ()
        return Beside(tombstones, tuple(keys.values()) if keys is not None else (), audits)

    def in_doubt(self) -> list[SendKey]:
        """The sends that memory would refuse, and nobody has asked the database about: it may know them as repeats."""
        sends = [command for command in self.refused if isinstance(command, SendMessage)]
        keys = [(command.sender, command.client_id) for command in sends]
        keys += [(command.sender, command.after) for command in sends if command.after is not None]
        return [key for key in dict.fromkeys(keys) if key not in self._told.sends]

    def unknown_messages(self) -> list[MessageId]:
        """What refused commands reply to or delete, and nobody has looked for yet."""
        named = [
            command.reply_to if isinstance(command, SendMessage) else command.message_id for command in self.refused
        ]
        return [id for id in dict.fromkeys(named) if id is not None and id not in self._told.messages]

    def _delete(self, command: DeleteMessage, now: WallTime) -> Outcome:
        if self._deletions is None:
            self._deletions = Deletions(self._told.messages)
        self.after, outcome = self._deletions.decide(self.after, command, now)
        return outcome

    def _one(self, command: SendMessage, now: WallTime, new_id: Callable[[], MessageId]) -> Outcome:
        key = (command.sender, command.client_id)
        sent = self._recent.find(key)
        if sent is None and self._told.sends:
            told = self._told.sends.get(key)
            # A text that was deleted cannot be told from another one: its author hears the first outcome.
            sent = None if told is None else (told[0], hash(command.text if told[1] is None else told[1]))
        if sent is not None:
            if sent[1] != hash(command.text):
                return KithError(ErrorCode.IDEMPOTENCY_CONFLICT, CONFLICT, details={"field": "client_id"})
            return sent[0]
        first = self._in_batch.get(key)
        if first is not None:  # a repeat of a message that waits for the same commit
            if first.text != command.text:
                return KithError(ErrorCode.IDEMPOTENCY_CONFLICT, CONFLICT, details={"field": "client_id"})
            return outcome_of(first, duplicate=True)
        if command.keyed is not None and self._is_used(command.keyed):
            return KeyUsedError()
        if command.after is not None and not self._knows(command.sender, command.after):
            return KithError(ErrorCode.OUT_OF_ORDER, details={"after": command.after}, retry_after=0.1)
        decided = decide_send(self.after, command, now, new_id())
        if isinstance(decided, KithError):
            return decided
        # After access, so that strangers get no hint. A tombstone will do: a reply that was under way finds its place.
        if command.reply_to is not None and command.reply_to not in self._told.messages:
            return KithError(ErrorCode.MESSAGE_NOT_FOUND, details={"field": "reply_to", "value": command.reply_to})
        self.after, message = decided
        self.messages.append(message)
        self._in_batch[key] = message
        if command.keyed is not None:
            self._keep_key(command.keyed, message)
        return message

    def _is_used(self, keyed: Keyed) -> bool:
        """Also by another command of this batch: it is told after the commit, and finds the first one's answer then."""
        name = keyed.owner, keyed.key
        return name in self._told.keys or (self._keys is not None and name in self._keys)

    def _keep_key(self, keyed: Keyed, message: StoredMessage) -> None:
        if self._keys is None:
            self._keys = {}
        kept = KeptSend(outcome_of(message), message.client_id)
        self._keys[keyed.owner, keyed.key] = KeyRow(keyed, encode(kept).decode())

    def _knows(self, sender: UserId, client_id: ClientId) -> bool:
        key = (sender, client_id)
        return self._recent.find(key) is not None or key in self._in_batch or key in self._told.sends

    def answer_without_rows(self, envelopes: list[Envelope[Any]]) -> None:
        """Nothing of this batch is new: repeats and refusals only."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            tell_asker(envelope, outcome)

    def withdraw(self, envelopes: list[Envelope[Any]], refusal: KithError) -> None:
        """The journal took nothing: who waits for its rows is refused, and the others hear what they would have."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            if self._waits_for_rows(envelope.command):
                envelope.refuse(refusal)
            else:
                tell_asker(envelope, outcome)

    def _waits_for_rows(self, command: SendMessage | DeleteMessage) -> bool:
        if isinstance(command, SendMessage):
            return (command.sender, command.client_id) in self._in_batch
        return self._deletions is not None and command.message_id in self._deletions.tombstones

    def publish(self, envelopes: list[Envelope[Any]], tell_members: Tell) -> None:
        """The batch is on disk: remember it, answer, and pass each event to everybody in order."""
        for envelope, outcome in zip(envelopes, self._outcomes, strict=True):
            if type(outcome) is StoredMessage:
                sent = outcome_of(outcome)
                self._recent.note((outcome.sender_id, outcome.client_id), (sent, hash(outcome.text)))
                tell_members(self._delivery(envelope, outcome, sent))
            elif type(outcome) is DeletedMessage:
                assert self.after is not None
                publish_deletion(envelope, outcome, self.after, tell_members)
            else:
                tell_asker(envelope, outcome)

    def _delivery(self, envelope: Envelope[Any], message: StoredMessage, sent: MessageSent) -> Deliver:
        """The event for everybody; the `ok` of a connection travels with it, so that revs arrive in order there too."""
        assert self.after is not None
        origin = envelope.command.origin
        view = view_of(message, self.after.members[message.sender_id].name, sent.created_at)
        if origin is None:
            envelope.answer(sent)
            frame = event_frame("message.created", view)
            return Deliver(frame, message.conversation_id, message.seq, message.sender_id, rev=message.rev)
        envelope.settled = True
        frame = event_frame("message.created", view, origin.read_at)
        ok = None if origin.ref is None else ok_frame(origin.ref, sent)
        return Deliver(frame, message.conversation_id, message.seq, message.sender_id, origin.socket, ok, message.rev)


def tell_asker(envelope: Envelope[Any], outcome: Outcome) -> None:
    if isinstance(outcome, KithError):
        envelope.refuse(outcome)
    elif type(outcome) is MessageDeleted:
        envelope.answer(outcome)
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
