"""The sweep: gives to the connections of this node what other nodes commit (docs/sweep.md)."""

import logging
from itertools import islice
from typing import Final

import trio

from actors.conversation import Conversations, Users
from actors.envelopes import event_frame
from actors.ports import Clock, FlushLog
from actors.rules.swept import Range, Telling, taken, tellings, windows_of
from actors.shapes.conversations import ChangedElsewhere
from actors.shapes.errors import KithError
from actors.shapes.flushes import Changed, Position, Swept
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import Seconds
from actors.shapes.users import Deliver, Resync, SettleIn, UserChanged
from actors.sweep_notices import SweepNotices

log = logging.getLogger("kith.sweep")

EVERY: Final = Seconds(1.0)  # however silent the bus is
# Woken, it looks at once, but not more often than this: on two busy nodes each look found one flush, and cost as much.
CLOSEST: Final = Seconds(0.005)
LONGEST_PAUSE: Final = Seconds(0.1)
# What is read and handed out in one go: 500 messages take 5 ms, in which nothing else of the node moves.
PAGE: Final = 500
# More revisions than this are not handed out one by one: the connections are closed to reload instead.
PENDING_MOST: Final = 50_000
# So long what is known to have changed may not be read, though the database answers, before nobody is left to believe
# that he has everything: a page that never ends in time would keep back all that is behind it.
STUCK: Final = Seconds(15.0)
# How long a newcomer's heads are remembered: a commit of this node's own is published within milliseconds.
SETTLED_AFTER: Final = Seconds(2.0)


class Sweep:
    """Owns the position in the flush log, and what was read from it and not handed out yet.

    A position is adopted together with the heads behind it, without a checkpoint, and heads are taken off together with
    handing out their events, without a checkpoint: whatever fails in between is repeated, and nothing is done twice.
    """

    def __init__(
        self,
        flushes: FlushLog,
        users: Users,
        conversations: Conversations,
        clock: Clock,
        notices: SweepNotices,
    ) -> None:
        self.counters = notices.counters
        self._log = flushes
        self._users = users
        self._conversations = conversations
        self._clock = clock
        self._notices = notices
        self._position: Position | None = None
        self._pending: dict[ConversationId, list[Range]] = {}
        self._changed: dict[ConversationId, int] = {}
        self._renamed: set[UserId] = set()
        self._stuck_since: Seconds | None = None
        self._renewed = Seconds(-EVERY)
        self._troubled = False

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def others(self) -> int:
        """Nodes beside this one, as PostgreSQL saw them last."""
        return self._notices.others

    async def run(
        self, every: Seconds = EVERY, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Look once in `every`, and when woken. It has begun before the first connection is accepted: what was
        committed until then is in the heads that a connection is told."""
        self._position = await self._log.position()
        await self.look(every)
        task_status.started()
        while True:
            with trio.move_on_after(every):
                await self._notices.woken()
            began = self._clock.monotonic()
            await self.look(every)
            took = self._clock.monotonic() - began
            await trio.sleep(min(max(CLOSEST, took), LONGEST_PAUSE))

    async def look(self, every: Seconds = EVERY) -> None:
        """One round. When the database is away the next one takes up where this one stopped."""
        awaited = self._notices.take_awaited()
        try:
            await self._round()
            if self._clock.monotonic() - self._renewed >= every:
                self._notices.others = await self._log.renew()
                self._renewed = self._clock.monotonic()
        except KithError as error:
            self.counters.failures += 1
            if not self._troubled:
                log.warning("what other nodes commit cannot be read", extra={"reason": str(error)})
            self._troubled = True
        except Exception:  # a bug, here or in a row: it must not end the node, nor leave anybody with a hole
            self.counters.failures += 1
            log.exception("the sweep failed")
            self._resync()
        else:
            self._troubled = False
        for over in awaited:
            over.set()

    async def _round(self) -> None:
        assert self._position is not None, "run() has not begun"
        began = self._clock.monotonic()
        try:
            swept = await self._log.since(self._position)
        except KithError:  # the database is away, and nobody commits: this is no time in which something is kept back
            self._stuck_since = None
            raise
        self._position = swept.position
        self.counters.rounds += 1
        if swept.whole:
            self._take(swept)
        else:
            self._resync()
        if self._stuck_since is None:
            self._stuck_since = began
        elif began - self._stuck_since >= STUCK:
            self._resync()
        await self._tell_renamed()
        while self._pending:
            await self._page()
        self._tell_conversations()
        self._stuck_since = None
        self._settle(Seconds(began - SETTLED_AFTER))

    # -- one round ----------------------------------------------------------------------------------------------------

    def _take(self, swept: Swept) -> None:
        if swept.heads:
            self._notices.observe_lag(swept.oldest_ms / 1000)
        self.counters.heads += len(swept.heads)
        for head in swept.heads:
            if head.kind == "c":
                id = ConversationId(head.id)
                self._changed[id] = max(self._changed.get(id, 0), head.new_rev)
                self._pending.setdefault(id, []).append((head.old_rev, head.new_rev))
            else:
                user = UserId(head.id)
                # However much waits there: missed, a suspension would not be known here until he goes to sleep.
                self._users.must_tell(user, UserChanged(head.new_rev))
                self._renamed.add(user)
        for id, missed in self._notices.take_unpublished():
            self._pending.setdefault(id, []).append(missed)
        for ranges in self._pending.values():
            ranges.sort()
        if sum(new - old for ranges in self._pending.values() for old, new in ranges) > PENDING_MOST:
            self._resync()

    def _resync(self) -> None:
        """Nobody is left who believes that he has everything: not a connection, nor an actor that is awake."""
        self.counters.resyncs += 1
        log.warning("what other nodes committed cannot be told one by one: every connection has to reload")
        self._pending.clear()
        self._changed.clear()
        self._renamed.clear()
        self._stuck_since = None
        self._notices.take_unpublished()
        for user in self._users.addresses(len(self._users)):
            self._users.must_tell(user, Resync())
            self._users.must_tell(user, UserChanged())
        for id in self._conversations.addresses(len(self._conversations)):
            self._conversations.must_tell(id, ChangedElsewhere())

    def _tell_conversations(self) -> None:
        """Last: what they decide on the new state is told after what made it."""
        for id, rev in self._changed.items():
            self._conversations.must_tell(id, ChangedElsewhere(rev))
        self._changed.clear()

    async def _tell_renamed(self) -> None:
        """A conversation remembers the names of its members."""
        while self._renamed:
            told = list(islice(self._renamed, PAGE))
            for id in await self._log.conversations_of(told):
                self._conversations.must_tell(id, ChangedElsewhere())
            self._renamed.difference_update(told)

    async def _page(self) -> None:
        windows = windows_of(self._pending, PAGE)
        found = {changed.id: changed for changed in await self._log.changed(windows, self._users.is_awake)}
        for window in windows:
            ranges, rest = taken(self._pending.pop(window.id), window.upto_rev)
            if rest:
                self._pending[window.id] = rest
            changed = found.get(window.id)
            if changed is not None:
                self._hand_out(changed, ranges)

    def _hand_out(self, changed: Changed, ranges: list[Range]) -> None:
        for telling in tellings(changed, ranges):
            if telling.type:
                self._pass_on(changed.id, telling)
            else:
                for user in telling.to:
                    self._users.must_tell(user, Resync())

    def _pass_on(self, id: ConversationId, telling: Telling) -> None:
        frame = event_frame(telling.type, telling.payload)
        deliver = Deliver(frame, id, telling.seq, telling.sender, rev=telling.rev)
        for user in telling.to:
            if not self._users.is_awake(user):  # asleep since: whatever wakes him reads more than this
                continue
            try:
                self._users.pass_on(user, deliver)
            except KithError:
                continue  # his mailbox is full: it notes the hole, and his actor closes his connections with `resync`
            self.counters.events += 1

    def _settle(self, before: Seconds) -> None:
        """Everything that was committed before these came has been handed out."""
        for user in self._notices.take_arrivals(before):
            self._users.tell_awake(user, SettleIn(before))
