"""The frame: one encoded event or answer on its way to sockets, and the class that decides its fate when a socket is
slow."""

import enum


class FrameClass(enum.IntEnum):
    """What may happen to a frame whose receiver does not keep up."""

    DURABLE = 0  # queued until it is sent; never dropped alone, only together with the connection
    COUNTER = 1  # the latest value of its key is enough
    EPHEMERAL = 2  # worth something now or nothing; dropped first


DURABLE = FrameClass.DURABLE
COUNTER = FrameClass.COUNTER
EPHEMERAL = FrameClass.EPHEMERAL


class Frame:
    """JSON text, encoded once and shared by every socket it goes to.

    A plain class with slots, because one is made per answer: a msgspec struct would do, but `wire` is written later by
    the edge.
    """

    __slots__ = ("born", "frame_class", "key", "others", "payload", "wire")

    def __init__(
        self, payload: bytes, frame_class: FrameClass = DURABLE, key: str | None = None, born: float = 0.0
    ) -> None:
        self.payload = payload
        self.frame_class = frame_class
        # COUNTER only: a newer frame with the same key replaces an older one that still waits.
        self.key = key
        # perf_counter when the last byte of the causing command was read; 0.0 means not measured.
        self.born = born
        # Header and payload, put together by the first socket that sends it, so that a broadcast is framed once.
        self.wire = b""
        # The same in other dialects than kith, by their names; made by the first connection that speaks one.
        self.others: dict[str, Frame] | None = None
