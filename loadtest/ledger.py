"""What one engine process counts: each message by itself, so that lost and doubled ones are told exactly."""

from collections import Counter

import msgspec

from loadtest.histogram import Histogram

DONE = 1
ABANDONED = 2
REFUSED = 4


class Totals(msgspec.Struct):
    """Whole numbers that add up over processes: each message must be acknowledged once, and received once by others."""

    sent: int = 0
    acknowledged: int = 0
    acknowledged_twice: int = 0  # further `ok`s for the same message
    received: int = 0
    received_twice: int = 0  # further deliveries of the same message to the same connection
    refused: int = 0  # answered with an error of outcome `none`
    refused_received: int = 0  # ... and delivered all the same
    lost: int = 0  # not refused, not received by somebody
    acknowledged_lost: int = 0  # those of the lost that had an `ok`: a promise broken
    unacknowledged: int = 0  # neither `ok` nor refusal
    out_of_order: int = 0  # a number below one seen before on this connection
    reordered: int = 0  # numbers rise, but one sender's messages come in another order than he sent them
    seq_missing: int = 0  # numbers never seen between the first and the last one
    foreign: int = 0  # messages of somebody outside this run
    invented: int = 0  # our run's name, but never sent
    misdelivered: int = 0  # of another conversation
    strange: int = 0  # frames that cannot be what they say
    stuck: int = 0  # due, but the connection was gone or took nothing any more
    stalled: int = 0  # given up by a closed loop after `stall_ms`; counted above as well if they never came
    in_window: int = 0  # received between the end of the warm-up and the end of sending


class Numbers:
    """The `seq`s that one connection saw: as `ok` for its own messages, as events for the others'."""

    __slots__ = ("distinct", "highest", "lowest")

    def __init__(self) -> None:
        self.distinct = self.highest = self.lowest = 0

    def saw(self, seq: int) -> bool:
        """Count a number that was not seen before; False when it comes after a higher one."""
        self.distinct += 1
        if self.distinct == 1:
            self.lowest = self.highest = seq
            return True
        if seq > self.highest:
            self.highest = seq
            return True
        if seq < self.lowest:
            self.lowest = seq
        return False

    @property
    def missing(self) -> int:
        return self.highest - self.lowest + 1 - self.distinct if self.distinct else 0


class Slot:
    """One stretch of time of the run, for the plots."""

    __slots__ = ("delivery", "received", "sent")

    def __init__(self) -> None:
        self.sent = self.received = 0
        self.delivery = Histogram()


class Outbound:
    """The messages one user sent; the message's number less one is the index everywhere."""

    __slots__ = ("acks", "at_ns", "flags", "low", "waiting")

    def __init__(self) -> None:
        self.at_ns: list[int] = []  # when it was due (open loop) or sent (closed loop)
        self.acks = bytearray()
        self.flags = bytearray()
        self.waiting: list[int] = []  # how many others have not received it
        self.low = 0  # below it everything is done

    def add(self, at_ns: int, others: int) -> int:
        self.at_ns.append(at_ns)
        self.acks.append(0)
        self.flags.append(0)
        self.waiting.append(others)
        return len(self.at_ns)

    def settle(self, totals: Totals) -> None:
        """At the end: what never came."""
        for acks, flags, waiting in zip(self.acks, self.flags, self.waiting, strict=True):
            if flags & REFUSED:
                continue
            totals.lost += waiting
            if not acks:
                totals.unacknowledged += 1
            elif waiting:
                totals.acknowledged_lost += waiting


class Ledger:
    """Everything one process counts."""

    def __init__(self, slots: int, slot_ms: int) -> None:
        self.totals = Totals()
        self.errors: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()
        self.ack = Histogram()
        self.delivery = Histogram()
        self.slots = [Slot() for _ in range(slots)]
        self.slot_ns = slot_ms * 1_000_000
        self.begun_ns = 0
        self.samples: list[tuple[int, str, str]] = []
        self._sampled_from = 0

    def slot_at(self, at_ns: int) -> Slot:
        return self.slots[min(max(at_ns - self.begun_ns, 0) // self.slot_ns, len(self.slots) - 1)]

    def wants_sample(self) -> bool:
        """The first frames are kept whole, then fewer and fewer: report.py reads them strictly afterwards."""
        seen = self._sampled_from
        self._sampled_from += 1
        return (seen < 64 or seen % 1024 == 0) and len(self.samples) < 256
