"""WebSockets whose frames somebody else's code speaks (trio-websocket, hypercorn): the same Link and the same
promises as the epoll edge, by two tasks per connection."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

import trio

from actors.shapes.frames import Frame
from realtime.gateway.admission import Unknown
from realtime.gateway.deadlines import NOT_SET, Deadlines
from realtime.gateway.doorway import Doorway
from realtime.gateway.ending import LAGGING, State
from realtime.gateway.wakeup import WakeUp
from realtime.link import Admitted, LostReason, Peer
from realtime.outbox import Outbox, Pushed
from realtime.wire.close import Close, CloseCode, Violation
from realtime.wire.frames import FROM_STRANGER

_log = logging.getLogger("kith.gateway")

_OPEN = State.OPEN


class Pipe(Protocol):
    """A WebSocket, message by message. Raises trio.BrokenResourceError when it is gone."""

    remote: str
    can_ping: bool  # and learn of the pong

    async def receive(self) -> bytes | Close | Violation | None:
        """The next text message; how it ended; None: without a goodbye."""

    async def send(self, payload: bytes) -> None: ...

    async def ping(self) -> None:
        """Returns when the pong has come."""

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye and wait for the other's."""


class PumpedSide:
    """What the pumped links of a node share. Its task tells sessions of their end, never from inside their calls."""

    def __init__(
        self,
        doorway: Doorway,
        deadlines: Deadlines,
        clock: Callable[[], float],
        observe: Callable[[float], None],
    ) -> None:
        self.options = doorway.options
        self.counters = doorway.counters
        self.admission = doorway.admission
        self.deadlines = deadlines
        self.clock = clock
        self.observe = observe
        self._links: set[PumpedLink] = set()
        self._ended: list[tuple[PumpedLink, LostReason]] = []
        self._wake = WakeUp()

    async def run(self) -> None:
        """Tell of ends, for ever."""
        while True:
            await self._wake.wait()
            self.settle()

    def settle(self) -> None:
        while self._ended:
            link, reason = self._ended.pop(0)
            link.tell_lost(reason)

    def ended(self, link: "PumpedLink", reason: LostReason) -> None:
        self.counters.lost[reason.value] += 1
        self._ended.append((link, reason))
        self._wake.ring()

    def peer_failed(self) -> None:
        """Called where the exception was caught."""
        self.counters.peer_errors += 1
        _log.exception("a session raised; its connection is closed")

    def links(self) -> Iterable["PumpedLink"]:
        return list(self._links)

    async def serve(self, admitted: Admitted, pipe: Pipe, stranger: Unknown | None = None) -> bool:
        """One connection, from its 101 until it is gone. False: it did not take our goodbye, so it deserves a reset."""
        link = PumpedLink(self, pipe, self.clock() if stranger is None else stranger.arrived_at)
        room = True
        if stranger is not None:
            self.admission.becomes(stranger, link)
        elif not admitted.authenticated:
            room = self.admission.meet(link)
        self._links.add(link)
        self.counters.websockets += 1
        try:
            await link.run(admitted, room=room)
        finally:
            self._links.discard(link)
            self.counters.websockets -= 1
        return not link.gave_up


class PumpedLink:
    """The Link above a Pipe: one task reads, one writes; deadlines come from the gateway's sweep."""

    def __init__(self, side: PumpedSide, pipe: Pipe, arrived_at: float) -> None:
        self._side = side
        self._pipe = pipe
        self.remote = pipe.remote
        self.arrived_at = arrived_at
        self.read_at = 0.0
        self.bucket = NOT_SET
        self._outbox = Outbox(side.options.outbox, side.counters.dropped)
        self._peer: Peer | None = None
        self._state = State.OPEN
        self._goodbye = (int(CloseCode.NORMAL), "")
        self.gave_up = False
        self._knows = False
        self._high = False
        self._by = 0.0
        self._heard_at = side.clock()
        self._pinged_at = 0.0
        self._words: Callable[[Frame], Frame] | None = None
        self._wake = WakeUp()
        self._nursery: trio.Nursery | None = None

    # ---- what the session calls ----

    @property
    def queued_bytes(self) -> int:
        return self._outbox.queued_bytes

    @property
    def is_open(self) -> bool:
        return self._state is _OPEN

    def send(self, frame: Frame) -> None:
        if self._state is not _OPEN:
            return
        if self._outbox.push(frame) is Pushed.OVERFLOW:
            self._end(LostReason.SLOW, CloseCode.SLOW_CONSUMER, "too slow", LAGGING)
        elif self._outbox.queued_bytes > self._side.options.outbox.low_water_bytes:
            self._high = True
        self._wake.ring()

    def close(self, code: int, reason: str = "", before: Frame | None = None) -> None:
        if self._state is _OPEN:
            self._end(LostReason.CLOSED, code, reason, before)

    def authenticated(self) -> None:
        if not self._knows:
            self._knows = True
            self._by = 0.0
            self._side.admission.known(self)

    # ---- its tasks ----

    async def run(self, admitted: Admitted, *, room: bool) -> None:
        """Until the connection is gone; without room only to say so."""
        side = self._side
        self._words = admitted.words
        if admitted.authenticated:
            self.authenticated()
            self._by = side.clock() + side.options.idle_hello_seconds
        else:
            self._by = side.clock() + side.options.hello_seconds
        try:
            self._peer = admitted.seat(self)
        except Exception:
            self._peer_failed()
        try:
            async with trio.open_nursery() as self._nursery:
                self._arm()
                if not room:
                    self.shed()
                self._nursery.start_soon(self._write)
                await self._read()
                self._nursery.cancel_scope.cancel()
        finally:
            self._leave_open(LostReason.STOPPED, CloseCode.GOING_AWAY)
            self._state = State.GONE
            self._nursery = None
            side.deadlines.clear(self)

    async def _read(self) -> None:
        """Until the connection is gone. What comes after our own goodbye is thrown away."""
        while True:
            try:
                event = await self._pipe.receive()
            except trio.BrokenResourceError:
                self._leave_open(LostReason.RESET, CloseCode.ABNORMAL)
                return
            if isinstance(event, bytes):
                self._take(event)
            elif isinstance(event, Violation):
                if self._state is _OPEN:
                    self._end(LostReason.VIOLATION, event.code, event.reason)
            elif isinstance(event, Close):
                self._leave_open(LostReason.CLIENT_CLOSED, event.code)
                return
            else:
                self._leave_open(LostReason.ENDED, CloseCode.ABNORMAL)
                return

    def _take(self, text: bytes) -> None:
        self.read_at = perf_counter()
        self._heard_at = self._side.clock()
        counters = self._side.counters
        counters.reads += 1
        counters.bytes_in += len(text)
        if self._state is not _OPEN or self._peer is None:
            return
        counters.frames_in += 1
        if self._knows:
            self._by = 0.0
        elif len(text) > FROM_STRANGER.limit_bytes:
            self._end(LostReason.VIOLATION, CloseCode.TOO_BIG, "larger than the limit before hello")
            return
        try:
            self._peer.text(text)
        except Exception:
            self._peer_failed()

    async def _write(self) -> None:
        outbox, counters = self._outbox, self._side.counters
        try:
            while True:
                await self._wake.wait()
                while (frame := outbox.pop()) is not None:
                    await self._pipe.send(frame.payload)
                    outbox.popped(frame)
                    counters.sends += 1
                    counters.frames_out += 1
                    counters.bytes_out += len(frame.wire)
                    if frame.born:
                        self._side.observe(perf_counter() - frame.born)
                    if self._high and outbox.queued_bytes <= self._side.options.outbox.low_water_bytes:
                        self._call_drained()
                if self._state is State.CLOSING:
                    await self._pipe.close(*self._goodbye)
                    return
        except trio.BrokenResourceError:
            return  # the reader finds out how it ended, and the library may still be answering a goodbye

    async def _ping(self) -> None:
        # A connection that is gone is found by the reader.
        with contextlib.suppress(trio.BrokenResourceError):
            await self._pipe.ping()
            self._heard_at = self._side.clock()

    # ---- deadlines ----

    def due(self, now: float) -> None:
        """Its bucket was swept."""
        if self._state is State.CLOSING and now >= self._by:
            self.stop()
            return
        if self._state is _OPEN:
            if self._by and now >= self._by:
                self._hello_is_late()
            if self._state is _OPEN and self._pipe.can_ping:
                self._look_for_life(now)
        self._arm()

    def _arm(self) -> None:
        options = self._side.options
        when = self._by
        if self._state is _OPEN and self._pipe.can_ping:
            when = self._heard_at + options.heartbeat_seconds
            if self._pinged_at > self._heard_at:
                when = self._pinged_at + options.pong_timeout_seconds
            if self._by:
                when = min(when, self._by)
        if when and self._nursery is not None:
            self._side.deadlines.set(self, when)

    def _hello_is_late(self) -> None:
        self._by = 0.0
        if not self._knows:
            self._end(LostReason.NO_HELLO, CloseCode.NO_HELLO, "no hello in time")
        elif self._peer is not None:
            try:
                self._peer.idle_hello()
            except Exception:
                self._peer_failed()

    def _look_for_life(self, now: float) -> None:
        options = self._side.options
        if self._pinged_at > self._heard_at:
            if now >= self._pinged_at + options.pong_timeout_seconds:
                self._end(LostReason.NO_PONG, CloseCode.NO_PONG, "no pong in time")
        elif now >= self._heard_at + options.heartbeat_seconds and self._nursery is not None:
            self._pinged_at = now
            self._side.counters.pings_sent += 1
            self._nursery.start_soon(self._ping)

    def _call_drained(self) -> None:
        self._high = False
        if self._state is _OPEN and self._peer is not None:
            try:
                self._peer.drained()
            except Exception:
                self._peer_failed()

    # ---- ending ----

    def _peer_failed(self) -> None:
        self._side.peer_failed()
        if self._state is _OPEN:
            self._end(LostReason.FAULT, CloseCode.INTERNAL, "a fault of the server")

    def _end(self, reason: LostReason, code: int, text: str, before: Frame | None = None) -> None:
        self._goodbye = (int(code), text)
        if before is not None and self._words is not None:
            before = self._words(before)
        self._outbox.finish(before, b"")
        self._leave_open(reason, code)
        self._by = self._side.clock() + self._side.options.close_seconds
        self._arm()
        self._wake.ring()

    def _leave_open(self, reason: LostReason, code: int) -> None:
        if self._state is _OPEN:
            self._state = State.CLOSING
            self._side.admission.known(self)
            self._side.counters.closed[int(code)] += 1
            self._side.ended(self, reason)

    def shed(self) -> None:
        """Unauthenticated, and a newcomer needs the room."""
        if self._state is _OPEN:
            self._end(LostReason.SHED, CloseCode.OVERLOADED, "too many unauthenticated connections")

    def stop(self) -> None:
        """No time for goodbyes, or none left."""
        self._leave_open(LostReason.STOPPED, CloseCode.GOING_AWAY)
        self.gave_up = True
        self._side.counters.resets += 1
        self._outbox.drop_all()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def tell_lost(self, reason: LostReason) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            try:
                peer.lost(reason)
            except Exception:
                self._side.peer_failed()
