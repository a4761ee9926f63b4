"""A conversation: orders what its members say, has it written, and tells everybody once it is on disk."""

import random
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import trio
from msgspec import Struct, structs
from msgspec.json import encode

from actors.alone import Alone
from actors.directory import Directory
from actors.envelopes import event_frame
from actors.kinds import Activation
from actors.mailbox import Envelope, StopReason
from actors.ports import (
    Beside,
    BirthUnit,
    Clock,
    Committed,
    ConversationStore,
    Fenced,
    Journal,
    KeysUsed,
    Poisoned,
    Receipt,
    Repeats,
    Sweeper,
    Taken,
)
from actors.recent import RecentSends
from actors.recital import Library, recite
from actors.sending import SendBatch, Told
from actors.shapes.conversations import (
    ChangedElsewhere,
    ConversationCommand,
    ConversationRow,
    ConversationState,
    ConversationView,
    Created,
    CreateDirect,
    DeleteMessage,
    MemberRenamed,
    SendMessage,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.idempotency import KeyRow, KeyUsedError
from actors.shapes.ids import ConversationId, MessageId, UserId
from actors.shapes.times import Seconds, iso
from actors.shapes.users import Deliver, UserCommand, UserState

# How often a fenced batch is decided anew before its askers are asked to try again. Two who write to each other from
# two nodes, each with a message in flight all the time, are fenced at every second attempt: five times in a row once in
# 2,400 messages.
ATTEMPTS: Final = 10
PAUSE: Final = Seconds(0.01)  # at most, after the first; after the fourth and later ones eight times as long

ANY_REV: Final = sys.maxsize  # above whatever is known
_WRITES: Final = (SendMessage, DeleteMessage)

Users = Directory[UserId, UserState, UserCommand]
Conversations = Directory[ConversationId, ConversationState, ConversationCommand]


class ConversationWorld(Struct, frozen=True):
    """What every conversation of a node shares."""

    clock: Clock
    journal: Journal
    store: ConversationStore
    users: Users
    library: Library
    new_id: Callable[[], MessageId]
    sweeper: Sweeper = Alone()


class ConversationActor:
    """The shell around rules/conversation.py. State in memory is never ahead of the database."""

    __slots__ = ("_activation", "_behind", "_recent", "_state", "_world")

    def __init__(
        self,
        world: ConversationWorld,
        activation: Activation[ConversationId, ConversationState, ConversationCommand],
        state: ConversationState | None,
    ) -> None:
        self._world = world
        self._activation = activation
        self._state = state
        self._behind = 0  # the revision that it is known to have reached elsewhere
        self._recent = RecentSends()

    async def run(self) -> StopReason:
        mailbox = self._activation.mailbox
        await self._world.sweeper.told()  # up to the revision that was loaded: what is sent now comes after it
        while batch := await mailbox.drain():
            try:
                if self._behind:
                    await self._catch_up()
                await (self._send(batch) if all_sends(batch) else self._sort(batch))
            except KithError as refusal:  # the world's: the database did not answer a reload or a look-up
                refuse_each(batch, refusal)
            if self._state is None:  # nothing is behind this address: whoever tries out addresses fills no memory
                mailbox.stop(StopReason.NEVER_BORN)
        assert mailbox.stop_reason is not None
        return mailbox.stop_reason

    async def _sort(self, batch: list[Envelope[Any]]) -> None:
        """Writes first: a read that came with them is answered after their commit, so it never shows less than was
        acknowledged."""
        writes = [envelope for envelope in batch if type(envelope.command) in _WRITES]
        try:
            while writes:
                writes = await self._send(writes)
        except KithError as refusal:  # of the writes only: a read, and above all a new name, did not fail with them
            refuse_each(writes, refusal)
        for envelope in batch:
            if type(envelope.command) not in _WRITES:
                await self._handle(envelope)

    async def _catch_up(self) -> None:
        """Another node changed it: to decide on what is remembered here would end at the fence."""
        if self._state is not None and self._state.rev < self._behind:
            self._state = await self._activation.reload()
        self._behind = 0

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _send(self, envelopes: list[Envelope[Any]]) -> list[Envelope[Any]]:
        """Decide, persist, publish; what is left over is for the next unit. A fenced batch is decided again on fresh
        state; nobody hears of lost attempts."""
        world = self._world
        told = Told()
        left: list[Envelope[Any]] = []
        for attempt in range(ATTEMPTS):
            before = self._state
            batch = SendBatch(before, self._recent, told)
            decided = batch.decide(envelopes, world.clock.now(), world.new_id)
            if decided < len(envelopes):
                envelopes, left = envelopes[:decided], envelopes[decided:] + left
            if batch.refused and await self._look_up(batch, told):
                continue
            unit = batch.unit(before)
            if unit is None:
                batch.answer_without_rows(envelopes)
                return left
            try:
                receipt = await world.journal.append(self._activation, unit)
            except KithError as refusal:
                batch.withdraw(envelopes, refusal)
                return left
            if type(receipt) is Committed:
                self._state = batch.after
                try:
                    batch.publish(envelopes, self._tell_members)
                except Exception:  # a bug, and no reason that the members never hear of what is on disk
                    world.sweeper.unpublished(unit.id, unit.old_rev, unit.new_rev)
                    raise
                return left
            if isinstance(receipt, Poisoned):
                await self._find_the_guilty(envelopes)
                return left
            await self._learn(receipt, told, attempt)
        refuse_each(envelopes, KithError(ErrorCode.TRY_AGAIN, retry_after=0.5))
        return left

    async def _learn(self, receipt: Receipt, told: Told, attempt: int) -> None:
        """What the journal found in the database, so that the next attempt decides on it."""
        if isinstance(receipt, Repeats):
            told.sends.update(receipt.found)
        elif isinstance(receipt, KeysUsed):
            told.keys |= receipt.names
        else:
            assert isinstance(receipt, Fenced), receipt
            await self._world.sweeper.told()  # what fenced this batch goes before it
            await trio.sleep(random.random() * PAUSE * min(2**attempt, 8))
            self._state = await self._activation.reload()
            told.messages.clear()  # as old as the state was: somebody else may have deleted one

    async def _look_up(self, batch: SendBatch, told: Told) -> bool:
        """Before somebody is refused the database is asked: memory forgets, and a repeat must hear its first outcome.

        Also about conversations that do not exist: a stranger must not tell by the time whether there is one. True:
        something was found, decide anew.
        """
        store, here = self._world.store, self._activation.id
        keys = batch.in_doubt()
        sends = await store.sent_before(here, keys) if keys else {}
        told.sends.update(sends)
        named = batch.unknown_messages()
        messages = await store.facts(here, named) if named else {}
        told.messages.update(messages)
        return bool(sends or messages)

    async def _find_the_guilty(self, envelopes: list[Envelope[Any]]) -> None:
        """The database refuses a row of this batch: one command per flush shows whose it is."""
        if len(envelopes) > 1:
            for envelope in envelopes:
                await self._send([envelope])
            return
        refuse_each(envelopes, KithError(ErrorCode.INVALID_PAYLOAD, "The database cannot store this"))

    def _tell_members(self, deliver: Deliver, members: Iterable[UserId] | None = None) -> None:
        if members is None:
            assert self._state is not None
            members = self._state.members
        pass_on = self._world.users.pass_on
        for user in members:
            try:
                pass_on(user, deliver)
            except KithError:
                # His mailbox is full: it notes the hole, and his actor closes his connections with `resync`.
                continue

    # -- everything else ----------------------------------------------------------------------------------------------

    async def _handle(self, envelope: Envelope[Any]) -> None:
        command = envelope.command
        if isinstance(command, CreateDirect):
            await self._create(envelope, command)
        elif isinstance(command, MemberRenamed):
            self._rename(command)
        elif isinstance(command, ChangedElsewhere):
            self._behind = max(self._behind, command.rev or ANY_REV)
        else:
            recite(self._world.library, self._state, envelope)

    def _rename(self, command: MemberRenamed) -> None:
        state = self._state
        if state is not None and command.user_id in state.members:
            renamed = structs.replace(state.members[command.user_id], name=command.name)
            self._state = structs.replace(state, members={**state.members, command.user_id: renamed})

    async def _create(self, envelope: Envelope[Any], command: CreateDirect) -> None:
        """Be born, unless the pair has its conversation already; then this address stays empty."""
        if self._state is not None:
            envelope.answer(Created(self._state.id, created=False))
            return
        id, now = self._activation.id, self._world.clock.now()
        pair = (command.creator, command.other)
        row = ConversationRow(id, "direct", command.privacy_mode, command.creator, now, pair)
        made = Created(id, created=True)
        beside = None if command.keyed is None else Beside(keys=(KeyRow(command.keyed, encode(made).decode()),))
        try:
            receipt = await self._world.journal.append(self._activation, BirthUnit(row, beside))
        except KithError as refusal:
            envelope.refuse(refusal)
            return
        if isinstance(receipt, KeysUsed) or (isinstance(receipt, Taken) and command.keyed is not None):
            # Of a pair that was faster, too, it may have been the same request: whoever asks looks at the key again.
            envelope.refuse(KeyUsedError())
            self._activation.mailbox.stop(StopReason.NEVER_BORN)
        elif isinstance(receipt, Taken) and receipt.by is not None:
            envelope.answer(Created(receipt.by, created=False))
            self._activation.mailbox.stop(StopReason.NEVER_BORN)
        elif isinstance(receipt, Poisoned):
            envelope.refuse(KithError(ErrorCode.INVALID_PAYLOAD, "The database cannot store this"))
        elif type(receipt) is not Committed:
            envelope.refuse(KithError(ErrorCode.TRY_AGAIN, outcome="none"))
        else:
            try:
                await self._live_on(row)
            except Exception:
                self._world.sweeper.unpublished(id, 0, 1)
                raise
            envelope.answer(made)

    async def _live_on(self, row: ConversationRow) -> None:
        """It is on disk: take over what is there now, and tell its members."""
        try:
            self._state = await self._activation.reload()
        except KithError:
            # This actor would deny what it has just written: the next command wakes one that has read it.
            self._activation.mailbox.stop(StopReason.LOAD_FAILED)
        at = iso(row.created_at)
        view = ConversationView(
            row.id, "direct", None, None, row.privacy_mode, 0, len(row.members), None, 1, at, at,
            from_rev=1, conversation_id=row.id,
        )  # fmt: skip
        born = Deliver(event_frame("conversation.created", view), row.id, 0, row.created_by, rev=1)
        self._tell_members(born, row.members)


def all_sends(batch: list[Envelope[Any]]) -> bool:
    for envelope in batch:  # noqa: SIM110 - the generator of all() costs more than the rest of a batch of one
        if type(envelope.command) is not SendMessage:
            return False
    return True


def refuse_each(envelopes: list[Envelope[Any]], error: KithError) -> None:
    for envelope in envelopes:
        envelope.refuse(error)
