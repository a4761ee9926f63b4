"""Who may come in: caps on connections, addresses, unauthenticated time and handshakes a second. Knows no socket."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from realtime.gateway.address import counting_key
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.options import GatewayOptions


class Unknown(Protocol):
    """A connection that has not said who it is."""

    arrived_at: float

    def shed(self) -> None:
        """Go, and make room for a newcomer."""


class TokenBucket:
    """`rate` tokens a second, at most `burst` of them saved up."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> float:
        """0.0 if there was a token, else the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


class Admission:
    """The books of one gateway. Every yes is given back by the matching `leave_…`."""

    def __init__(
        self, options: GatewayOptions, counters: GatewayCounters, clock: Callable[[], float], most: int
    ) -> None:
        self._options = options
        self._counters = counters
        self._clock = clock
        self._most = most  # options.max_connections, or what the descriptors allow
        self._handshakes = TokenBucket(options.handshakes_per_second, options.handshake_burst, clock())
        # Of the workers that accept from the same socket: the connections of who has the fewest.
        self.fewest_elsewhere: Callable[[], int] | None = None
        self._by_address: Counter[str] = Counter()
        # In order of arrival: the first is the oldest.
        self._unknown: dict[Unknown, None] = {}

    @property
    def full(self) -> bool:
        return self._counters.connections >= self._most

    @property
    def ahead(self) -> bool:
        """Another worker has clearly fewer; its number is up to a second old."""
        fewest = self.fewest_elsewhere
        return fewest is not None and self._counters.connections > fewest() * 1.1 + 20

    @property
    def roomy(self) -> bool:
        """Far enough from the caps to spend a descriptor on politeness: waiting until a refusal was read."""
        return self._counters.connections < self._most * 0.9

    def arrive(self, unknown: Unknown) -> bool:
        """A connection was accepted. False: no room, and nobody who could make some."""
        if self.full or not self.meet(unknown):
            return False
        self._counters.connections += 1
        return True

    def meet(self, unknown: Unknown) -> bool:
        """A stranger, on a connection that is in the books. False: there are too many."""
        if not self._make_room():
            return False
        self._unknown[unknown] = None
        self._counters.unauthenticated += 1
        return True

    def _make_room(self) -> bool:
        """Sheds the oldest stranger, so that a flood of silent connections cannot keep those out who say hello at
        once."""
        if len(self._unknown) < self._options.max_unauthenticated:
            return True
        oldest = next(iter(self._unknown))
        if self._clock() - oldest.arrived_at < self._options.unauthenticated_grace_seconds:
            return False
        self.known(oldest)
        oldest.shed()
        return True

    def known(self, unknown: Unknown) -> None:
        """It said who it is, or goes to the HTTP server, or went away."""
        if unknown in self._unknown:
            del self._unknown[unknown]
            self._counters.unauthenticated -= 1

    def becomes(self, before: Unknown, after: Unknown) -> None:
        """An arrival became a WebSocket: the same stranger, not a newer one."""
        if before in self._unknown:
            self.known(before)
            self._unknown[after] = None
            self._counters.unauthenticated += 1

    def leave(self) -> None:
        self._counters.connections -= 1

    def claim_address(self, remote: str) -> str | None:
        """The key to give back, or None: this address has enough connections."""
        most = self._options.max_connections_per_address
        if not most:
            return ""
        key = counting_key(remote)
        if self._by_address[key] >= most:
            return None
        self._by_address[key] += 1
        return key

    def leave_address(self, key: str) -> None:
        if key:
            self._by_address[key] -= 1
            if self._by_address[key] <= 0:
                del self._by_address[key]

    def handshake(self) -> float:
        """0.0: go on. Else how many seconds to wait."""
        return self._handshakes.take(self._clock())

    def enter_http(self) -> bool:
        if self._counters.http_connections >= self._options.max_http_connections:
            return False
        self._counters.http_connections += 1
        return True

    def enter_http_beyond_the_cap(self) -> None:
        """Somebody is leaving to make room, but has not left yet."""
        self._counters.http_connections += 1

    def leave_http(self) -> None:
        self._counters.http_connections -= 1
