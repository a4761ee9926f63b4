"""Deadlines of all connections in buckets of one sweep's width: one timer for the node instead of one per
connection."""

from collections.abc import Callable
from typing import Protocol

NOT_SET = -1


class Timed(Protocol):
    """Something that wants to be looked at later. `bucket` belongs to the Deadlines that hold it."""

    bucket: int

    def due(self, now: float) -> None:
        """Its time has come; it may set a new one."""

    def stop(self) -> None:
        """End, whatever it is."""


class Deadlines:
    """Each item stands in at most one bucket. Setting and clearing cost a set operation; a sweep touches only what is
    due."""

    def __init__(self, width_seconds: float, now: float, failed: Callable[[Timed], None] | None = None) -> None:
        self._failed = failed  # called where the exception of a `due` was caught; None: it goes on its way
        self._width = width_seconds
        self._buckets: dict[int, set[Timed]] = {}
        self._swept = int(now / width_seconds)

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def set(self, item: Timed, when: float) -> None:
        """Look at `item` at `when` or up to one width later, never earlier; an earlier setting is forgotten."""
        number = int(when / self._width) + 1
        if number <= self._swept:
            number = self._swept + 1
        if item.bucket == number:
            return
        if item.bucket != NOT_SET:
            self.clear(item)
        item.bucket = number
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = {item}
        else:
            bucket.add(item)

    def clear(self, item: Timed) -> None:
        """Forget it; a dead connection must not stay in memory until its heartbeat would have come."""
        bucket = self._buckets.get(item.bucket)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                del self._buckets[item.bucket]
        item.bucket = NOT_SET

    def sweep(self, now: float) -> None:
        """Call `due` on everything whose time has come."""
        upto = int(now / self._width)
        if upto - self._swept > len(self._buckets):  # after a long pause: go by what is there, not by the clock
            numbers = sorted(number for number in self._buckets if number <= upto)
        else:
            numbers = list(range(self._swept + 1, upto + 1))
        self._swept = max(self._swept, upto)
        for number in numbers:
            for item in self._buckets.pop(number, ()):
                # An earlier item of this sweep may have cleared or moved this one.
                if item.bucket == number:
                    item.bucket = NOT_SET
                    self._call(item, now)

    def _call(self, item: Timed, now: float) -> None:
        try:
            item.due(now)
        except Exception:
            if self._failed is None:
                raise
            self._failed(item)
