"""The outbox: the bounded, classed send queue of one connection, sans-IO. Knows no socket and no clock.

Two bounds, in bytes. At or over the soft one only DURABLE frames queue: waiting EPHEMERAL ones are thrown out, a
COUNTER may take the place of an older value of its key. A frame that comes when the hard one is reached throws
everything out: the connection has to go, and its cursor brings the client back. Bounds are compared before a frame is
added, so one large answer always fits into an empty outbox, and the memory of a connection is at most the hard bound
plus one frame.
"""

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple

from actors.shapes.frames import COUNTER, DURABLE, EPHEMERAL, Frame
from realtime.wire.frames import encode_text

# What one send() is offered at most. The rest stays classed and can still be dropped or replaced.
CHUNK_BYTES: Final = 64 * 1024
PONG_BYTES: Final = 2 * 1024
_NOTHING: Final[Sequence[Frame]] = ()


class Bounds(NamedTuple):
    """Shared by all outboxes of a node."""

    soft_bytes: int = 256 * 1024
    hard_bytes: int = 1024 * 1024
    low_water_bytes: int = 64 * 1024


class Pushed(enum.IntEnum):
    """What became of a frame."""

    QUEUED = 0
    DROPPED = 1  # thrown away, for it is over the soft bound and not durable
    OVERFLOW = 2  # the hard bound: everything queued was thrown away


def wire_of(frame: Frame) -> bytes:
    """Header and payload; made by the first outbox that queues the frame, the same bytes object for all others."""
    wire = frame.wire
    if not wire:
        wire = frame.wire = encode_text(frame.payload)
    return wire


class Outbox:
    """Frames in; chunks of bytes out. Control frames overtake waiting frames, never the rest of a chunk begun.

    `queued_bytes` is everything that the socket has not taken, so zero means empty.
    """

    __slots__ = (
        "_bounds",
        "_chunk",
        "_counters",
        "_drops",
        "_ephemerals",
        "_first",
        "_flying",
        "_frames",
        "_last",
        "_pong",
        "_urgent",
        "queued_bytes",
    )

    def __init__(self, bounds: Bounds, drops: list[int]) -> None:
        self._bounds = bounds
        self._drops = drops  # dropped frames by class, shared by all outboxes of a node
        self._frames: list[Frame] = []
        self._ephemerals = 0  # how many of them are EPHEMERAL
        self._counters: dict[str, int] | None = None  # key -> number of its frame
        self._first = 0  # the number of _frames[0]: numbers stay while frames in front of them leave
        self._chunk: bytes | memoryview = b""  # handed out, not wholly sent
        self._flying = _NOTHING  # the frames of the chunk
        self._urgent = b""  # the 101, a ping
        self._pong = b""
        self._last = b""  # the close frame: nothing comes after it
        self.queued_bytes = 0

    def push(self, frame: Frame) -> Pushed:
        """Queue a frame, by the rules above."""
        size = len(frame.wire) or len(wire_of(frame))
        if frame.frame_class is DURABLE:
            if self.queued_bytes < self._bounds.soft_bytes:
                self._frames.append(frame)
                self.queued_bytes += size
                return Pushed.QUEUED
        elif frame.frame_class is COUNTER and frame.key is not None:
            return self._push_counter(frame, frame.key, size)
        return self._push_when_full(frame, size)

    def _push_counter(self, frame: Frame, key: str, size: int) -> Pushed:
        place = -1 if self._counters is None else self._counters.get(key, -1) - self._first
        if place >= 0:
            self.queued_bytes += size - len(self._frames[place].wire)
            self._frames[place] = frame
            self._drops[COUNTER] += 1
            return Pushed.QUEUED
        verdict = self._push_when_full(frame, size)
        if verdict is Pushed.QUEUED:
            if self._counters is None:
                self._counters = {}
            self._counters[key] = self._first + len(self._frames) - 1
        return verdict

    def _push_when_full(self, frame: Frame, size: int) -> Pushed:
        if self._ephemerals and self.queued_bytes >= self._bounds.soft_bytes:
            self._throw_out_ephemerals()
        frame_class = frame.frame_class
        if self.queued_bytes >= self._bounds.soft_bytes and frame_class is not DURABLE:
            self._drops[frame_class] += 1
            return Pushed.DROPPED
        if self.queued_bytes >= self._bounds.hard_bytes:
            self.drop_all()
            self._drops[frame_class] += 1
            return Pushed.OVERFLOW
        if frame_class is EPHEMERAL:
            self._ephemerals += 1
        self._frames.append(frame)
        self.queued_bytes += size
        return Pushed.QUEUED

    def _throw_out_ephemerals(self) -> None:
        self._drops[EPHEMERAL] += self._ephemerals
        self._ephemerals = 0
        self.queued_bytes -= sum(len(frame.wire) for frame in self._frames if frame.frame_class is EPHEMERAL)
        self._frames = [frame for frame in self._frames if frame.frame_class is not EPHEMERAL]
        self._number_counters()

    def _number_counters(self) -> None:
        numbers = {
            frame.key: number
            for number, frame in enumerate(self._frames, self._first)
            if frame.frame_class is COUNTER and frame.key is not None
        }
        self._counters = numbers or None

    def drop_all(self) -> None:
        """Everything that has not been handed to the socket; what was begun must be finished, or framing is lost."""
        for frame in self._frames:
            self._drops[frame.frame_class] += 1
            self.queued_bytes -= len(frame.wire)
        self._frames = []
        self._ephemerals = 0
        self._counters = None

    def overtake(self, wire: bytes) -> None:
        """Bytes that go before everything queued: the 101, a ping. The caller keeps them few."""
        self._urgent += wire
        self.queued_bytes += len(wire)

    def pong(self, wire: bytes) -> None:
        """Every ping is answered, but a client that pings without reading gets the latest answer only (RFC 6455
        5.5.3)."""
        kept = self._pong if len(self._pong) + len(wire) <= PONG_BYTES else b""
        self.queued_bytes += len(kept) + len(wire) - len(self._pong)
        self._pong = kept + wire

    def finish(self, before: Frame | None, close_frame: bytes) -> None:
        """What is queued, `before`, the close frame, and nothing more; `before` is above every bound."""
        if before is not None:
            self._frames.append(before)
            self.queued_bytes += len(wire_of(before))
        self._last = close_frame
        self.queued_bytes += len(close_frame)

    def chunk(self) -> bytes | memoryview:
        """What to offer to the socket next; the same again until `sent` has been told of all of it."""
        if self._chunk:
            return self._chunk
        frames = self._frames
        if len(frames) == 1 and len(frames[0].wire) == self.queued_bytes:  # the usual tick: one frame, not copied
            self._flying = frames
            self._frames = []
            self._ephemerals = 0
            self._counters = None
            self._chunk = frames[0].wire
            return self._chunk
        return self._join()

    def _join(self) -> bytes:
        taken, size = 0, 0
        for frame in self._frames:
            if size >= CHUNK_BYTES:
                break
            size += len(frame.wire)
            taken += 1
        flying = self._frames[:taken]
        parts = [frame.wire for frame in flying]
        if self._ephemerals:
            self._ephemerals -= sum(frame.frame_class is EPHEMERAL for frame in flying)
        self._flying = flying
        self._remove(taken)
        if self._urgent or self._pong:
            parts.insert(0, self._urgent + self._pong)
            self._urgent = self._pong = b""
        if self._last and not self._frames:
            parts.append(self._last)
            self._last = b""
        chunk = self._chunk = b"".join(parts)
        return chunk

    def _remove(self, count: int) -> None:
        del self._frames[:count]
        self._first += count
        if self._counters is not None and len(self._counters) > 2 * len(self._frames):
            self._number_counters()  # most of its keys have left

    def sent(self, count: int) -> Sequence[Frame]:
        """The socket took so many bytes of the chunk. Returns the chunk's frames once all of them are with the
        kernel."""
        self.queued_bytes -= count
        if count == len(self._chunk):
            flown = self._flying
            self._chunk = b""
            self._flying = _NOTHING  # an idle connection must not keep its last message alive
            return flown
        self._chunk = memoryview(self._chunk)[count:]
        return _NOTHING

    def pop(self) -> Frame | None:
        """For a transport that sends message by message: the next frame, still counted until `popped`."""
        if not self._frames:
            return None
        frame = self._frames[0]
        if frame.frame_class is EPHEMERAL:
            self._ephemerals -= 1
        self._remove(1)
        return frame

    def popped(self, frame: Frame) -> None:
        """The frame has been sent."""
        self.queued_bytes -= len(frame.wire)
