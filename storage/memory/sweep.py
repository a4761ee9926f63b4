"""The flush log's twin in memory: it sees the flushes of other journals on the same tables."""

from collections.abc import Callable, Sequence

from actors.ports import Clock
from actors.shapes.flushes import Changed, Head, Interval, Position, Swept, SweptMessage, Window
from actors.shapes.ids import ConversationId, UserId
from storage.memory.conversations import MemoryConversations, fields_of
from storage.memory.tables import ConversationTable, MemoryTables
from storage.sweep import BOUNDS, SweepBounds


class MemoryFlushLog:
    """Implements actors.ports.FlushLog. A flush's place in the list stands for its transaction's number."""

    def __init__(self, tables: MemoryTables, clock: Clock, node: str = "node", bounds: SweepBounds = BOUNDS) -> None:
        self._tables = tables
        self._clock = clock
        self._node = node
        self._bounds = bounds
        self._reads = MemoryConversations(tables)
        self.failures: list[Exception] = []  # raised by the next calls, one each

    async def position(self) -> Position:
        self._fail()
        flushes = self._tables.flushes
        pending = tuple(number for number, row in enumerate(flushes) if not row.committed)
        return Position(len(flushes), pending, self._clock.now())

    async def since(self, position: Position) -> Swept:
        reached = await self.position()
        rows = [
            row
            for number, row in enumerate(self._tables.flushes)
            if row.committed and (number >= position.upto or number in position.open) and row.node != self._node
        ]
        heads = [Head(*head) for row in rows for head in row.heads]
        too_long = reached.at - position.at > self._bounds.remembered_ms
        if too_long or len(rows) > self._bounds.flushes or len(heads) > self._bounds.heads:
            return Swept(reached, [], whole=False)
        return Swept(reached, heads)

    async def changed(self, windows: Sequence[Window], is_here: Callable[[UserId], bool]) -> list[Changed]:
        self._fail()
        found = [self._changed(window, is_here) for window in windows if window.id in self._tables.conversations]
        return [changed for changed in found if changed.audience]

    def _changed(self, window: Window, is_here: Callable[[UserId], bool]) -> Changed:
        table = self._tables.conversations[window.id]
        audience = [
            Interval(m.user_id, m.joined_rev, m.left_rev)
            for m in table.members
            if is_here(m.user_id)
            and m.joined_rev <= window.upto_rev
            and (m.left_rev is None or m.left_rev > window.after_rev)
        ]
        rows = [SweptMessage(m.rev, self._tables.message_row(m).shown) for m in table.messages]
        messages = [m for m in rows if _within(window, m.view.rev) or _within(window, m.created_rev)]
        revs = {m.created_rev for m in messages} | {m.view.rev for m in messages}
        changed = Changed(window.id, audience, sorted(messages, key=lambda message: message.view.rev))
        if sum(_within(window, rev) for rev in revs) == window.upto_rev - window.after_rev:
            return changed
        return self._with_the_rest(changed, window, table)

    def _with_the_rest(self, changed: Changed, window: Window, table: ConversationTable) -> Changed:
        own = fields_of(table) if window.after_rev == 0 or _within(window, table.own_rev) else None
        return Changed(
            changed.id,
            changed.audience,
            changed.messages,
            [self._reads.member_view(m) for m in table.members if _within(window, m.rev)],
            None if own is None else own.shown(None),
            0 if own is None else own.own_rev,
        )

    async def conversations_of(self, users: Sequence[UserId]) -> list[ConversationId]:
        self._fail()
        return list({table.id for user in users for table, _ in self._tables.of_member(user)})

    async def renew(self) -> int:
        self._tables.nodes.add(self._node)
        return len(self._tables.nodes) - 1

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def _within(window: Window, rev: int) -> bool:
    return window.after_rev < rev <= window.upto_rev
