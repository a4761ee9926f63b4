"""What the journal has done, as plain numbers; whoever shows metrics reads them."""

from typing import Protocol

from msgspec import Struct


class JournalCounters(Struct):
    flushes: int = 0
    units: int = 0  # written
    rows: int = 0  # written
    messages: int = 0  # of these rows
    fenced: int = 0
    contended: int = 0
    repeated: int = 0
    taken: int = 0
    poisoned: int = 0
    refused: int = 0  # turned away at the door, because the bound was reached or the journal closed
    unanswered: int = 0  # ended with outcome unknown
    retries: int = 0  # the same flush again, because the world was at fault
    proved: int = 0  # commits whose answer was lost and which the receipt proved


class FlushObserver(Protocol):
    """Told of each flush: how long PostgreSQL took, how many rows it carried, how long its oldest unit had waited."""

    def __call__(self, seconds: float, rows: int, waited: float) -> None: ...


def observe_nothing(seconds: float, rows: int, waited: float) -> None:
    """For tests and tools that want no metrics."""
