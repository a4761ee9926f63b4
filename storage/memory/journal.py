"""The journal's twin in memory: the same receipts, with a gate that a test can close to act as a slow database."""

import outcome
import trio
from msgspec import UNSET, convert

from actors.ports import (
    BirthUnit,
    Committed,
    ConversationUnit,
    Fenced,
    KeysUsed,
    Poisoned,
    ProfileUnit,
    Receipt,
    Repeats,
    Taken,
    Unit,
    WriteToken,
)
from actors.rules.accounts import username_key
from actors.shapes.messages import DeletedMessage
from actors.shapes.moderation import ActionDetails, AdminAction
from actors.shapes.times import iso
from storage.journal.journal import StaleTokenError
from storage.journal.waiting import closed_error, full_error
from storage.memory.tables import ConversationTable, FlushRow, MembershipRow, MemoryTables


def _stay(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class MemoryJournal:
    """Implements actors.ports.Journal."""

    def __init__(self, tables: MemoryTables, bound: int = 20_000, node: str = "node") -> None:
        self.tables = tables
        self.node = node
        self.appended: list[Unit] = []  # every unit ever handed in, for tests that ask what an actor wrote
        self.tokens: list[WriteToken] = []
        self._bound = bound
        self._gate_open = True
        self._waiting: list[tuple[Unit, trio.lowlevel.Task]] = []
        self._closed = False

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        if not token.valid:
            raise StaleTokenError(f"{token.actor} has ended and may not write")
        if self._closed:
            raise closed_error()
        if len(self._waiting) >= self._bound:
            raise full_error()
        self.appended.append(unit)
        self.tokens.append(token)
        if self._gate_open:
            receipt = self._write(unit)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return receipt
        self._waiting.append((unit, trio.lowlevel.current_task()))
        parked: Receipt = await trio.lowlevel.wait_task_rescheduled(_stay)
        return parked

    def hold(self) -> None:
        """From now on nothing is decided: PostgreSQL is slow or away."""
        self._gate_open = False

    def release(self) -> None:
        """Decide what waits, in its order, and go on."""
        self._gate_open = True
        waiting, self._waiting = self._waiting, []
        for unit, task in waiting:
            trio.lowlevel.reschedule(task, outcome.Value(self._write(unit)))

    def _write(self, unit: Unit) -> Receipt:
        """One unit, one flush: the twin does not gather."""
        known = len(self.tables.heads)
        receipt = _store(self.tables, unit)
        if heads := self.tables.heads[known:]:
            self.tables.flushes.append(FlushRow(self.node, heads))
        return receipt

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """The node stops: what waits ends with its outcome unknown."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for _, task in waiting:
            trio.lowlevel.reschedule(task, outcome.Error(closed_error(unknown=True)))


def _store(tables: MemoryTables, unit: Unit) -> Receipt:
    if isinstance(unit, ConversationUnit):
        return _store_messages(tables, unit)
    if isinstance(unit, BirthUnit):
        return _store_birth(tables, unit)
    return _store_profile(tables, unit)


def _refusal(*texts: object) -> Poisoned | None:
    """What PostgreSQL and its driver would say to these texts."""
    for text in texts:
        if not isinstance(text, str):
            continue  # absent or unset
        if "\0" in text:
            return Poisoned("22P05")
        if any("\ud800" <= character <= "\udfff" for character in text):
            return Poisoned("22021")
    return None


def _store_messages(tables: MemoryTables, unit: ConversationUnit) -> Receipt:
    table = tables.conversations.get(unit.id)
    refusal = _refusal(*(message.text for message in unit.messages))
    if refusal is not None:
        return refusal
    if table is None or table.rev != unit.old_rev:
        return Fenced()
    repeated = table.sent_before((message.sender_id, message.client_id) for message in unit.messages)
    if repeated:
        return Repeats(repeated)
    if len({(message.sender_id, message.client_id) for message in unit.messages}) < len(unit.messages):
        return Poisoned("23505")
    refused = _refused_beside(tables, unit)
    if refused is not None:
        return refused
    table.messages.extend(unit.messages)
    table.rev, table.seq = unit.new_rev, unit.new_seq
    if unit.messages:
        table.updated_at = unit.messages[-1].created_at
    _store_beside(tables, unit)
    tables.heads.append(("c", unit.id, unit.old_rev, unit.new_rev))
    return Committed()


def _refused_beside(tables: MemoryTables, unit: Unit) -> Receipt | None:
    """What a flush of this unit would meet among the rows beside it."""
    if unit.beside is None:
        return None
    names = [(row.keyed.owner, row.keyed.key) for row in unit.beside.keys]
    used = {name for name, row in zip(names, unit.beside.keys, strict=True) if tables.uses(row.keyed)}
    if used:
        return KeysUsed(frozenset(used))
    if len(set(names)) < len(names) or not all(_can_be_wiped(tables, row) for row in unit.beside.deleted):
        return Poisoned("23505")
    return None


def _can_be_wiped(tables: MemoryTables, row: DeletedMessage) -> bool:
    table = tables.conversations[row.conversation_id]
    return row.id not in table.deleted and any(stored.id == row.id for stored in table.messages)


def _store_beside(tables: MemoryTables, unit: Unit) -> None:
    if unit.beside is not None:
        for row in unit.beside.deleted:
            tables.conversations[row.conversation_id].deleted[row.id] = row
        for key in unit.beside.keys:
            tables.keys[key.keyed.owner, key.keyed.key] = key
        for audit in unit.beside.audits:
            fields = {name: getattr(audit, name) for name in audit.__struct_fields__}
            fields |= {"at": iso(audit.at), "actor": "admin", "details": ActionDetails()}
            tables.actions.append((audit.at, convert(fields, AdminAction)))


def _store_birth(tables: MemoryTables, unit: BirthUnit) -> Receipt:
    row = unit.row
    refusal = _refusal(row.name, row.description)
    if refusal is not None:
        return refusal
    if row.type == "direct":
        a, b = row.members
        existing = tables.direct_between(a, b, row.privacy_mode)
        if existing is not None:
            return Taken(existing.id)
    if row.id in tables.conversations:
        return Fenced()
    refused = _refused_beside(tables, unit)
    if refused is not None:
        return refused
    _store_beside(tables, unit)
    table = ConversationTable(
        row.id, row.type, row.privacy_mode, row.created_at, row.created_at, row.name, row.description
    )
    owner = row.created_by if row.type == "group" else None
    table.members = [
        MembershipRow(user, "owner" if user == owner else "member", 1, row.created_at, 1) for user in row.members
    ]
    tables.conversations[row.id] = table
    tables.heads.append(("c", row.id, 0, 1))
    return Committed()


def _store_profile(tables: MemoryTables, unit: ProfileUnit) -> Receipt:
    user = tables.users.get(unit.id)
    changes = unit.changes
    refusal = _refusal(changes.username, changes.display_name, changes.avatar_url, changes.bio)
    if refusal is not None:
        return refusal
    if changes.username is not UNSET:
        key = username_key(changes.username)
        if any(username_key(other.username) == key for other in tables.users.values() if other.id != unit.id):
            return Taken(None)
    if user is None or user.rev != unit.old_rev:
        return Fenced()
    refused = _refused_beside(tables, unit)
    if refused is not None:
        return refused
    _store_beside(tables, unit)
    for name in ("username", "display_name", "avatar_url", "bio", "interests"):
        value = getattr(changes, name)
        if value is not UNSET:
            setattr(user, name, value)
    user.rev = unit.new_rev
    tables.heads.append(("u", unit.id, unit.old_rev, unit.new_rev))
    return Committed()
