"""A log-linear histogram of durations, precise to 1 %; laid out as in native/ledger.h, so counts of both add up."""

from collections.abc import Iterable, Mapping
from typing import Final

# Tenths of a microsecond: exact below 256 (25.6 µs), then 128 buckets for each doubling, so at most 0.8 % wide.
UNIT_NS: Final = 100
EXACT: Final = 256
HALF: Final = 128
MAX_BITS: Final = 36  # longer than 1.9 h counts as 1.9 h
BUCKETS: Final = 4096


def bucket(duration_ns: int) -> int:
    """Where a duration is counted."""
    units = duration_ns // UNIT_NS
    if units < EXACT:
        return max(units, 0)
    if units >> MAX_BITS:
        units = (1 << MAX_BITS) - 1
    shift = units.bit_length() - 8
    return EXACT + (shift - 1) * HALF + (units >> shift) - HALF


def middle_ns(index: int) -> float:
    """The middle of a bucket: what a duration counted there is told as."""
    if index < EXACT:
        return (index + 0.5) * UNIT_NS
    shift, place = divmod(index - EXACT, HALF)
    return ((place + HALF + 0.5) * 2.0 ** (shift + 1)) * UNIT_NS


class Histogram:
    """Counts of durations. `counts` is public because the engine's hot loop writes it directly."""

    __slots__ = ("counts", "most_ns")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.most_ns = 0

    def record(self, duration_ns: int) -> None:
        self.counts[bucket(duration_ns)] += 1
        if duration_ns > self.most_ns:
            self.most_ns = duration_ns

    def add(self, most_ns: int, counts: Mapping[str, int] | Iterable[tuple[str, int]]) -> None:
        """Add what another process counted, in the sparse form of its result."""
        pairs = counts.items() if isinstance(counts, Mapping) else counts
        for index, count in pairs:
            self.counts[int(index)] += count
        self.most_ns = max(self.most_ns, most_ns)

    @property
    def total(self) -> int:
        return sum(self.counts)

    def sparse(self) -> dict[str, int]:
        return {str(index): count for index, count in enumerate(self.counts) if count}

    def percentile_ms(self, share: float) -> float:
        """The duration below which this share of all lies; the highest one is kept exactly."""
        total = self.total
        if total == 0:
            return 0.0
        if share >= 1.0:
            return self.most_ns / 1e6
        rank, below = share * total, 0
        for index, count in enumerate(self.counts):
            below += count
            if count and below >= rank:
                return min(middle_ns(index), self.most_ns) / 1e6
        return self.most_ns / 1e6
