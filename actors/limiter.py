"""Who may do how much: the buckets of every user and address on this node, kept for as long as they are not full."""

import enum
import ipaddress
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import trio
from msgspec import Struct, field

from actors.metrics import Metrics
from actors.ports import Clock
from actors.rules.bucket import UNLIMITED, Rate, TokenBucket
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.users import Limits


class Limit(enum.StrEnum):
    """What is limited. The first three are kept per user, the others per client address."""

    REQUESTS = "requests"
    MESSAGES = "messages"
    REPORTS = "reports"
    REGISTRATIONS = "registrations"
    LOGINS = "logins"
    UNAUTHENTICATED = "unauthenticated"


class LimitSpec(Struct, frozen=True):
    """`when_full`: what happens to a newcomer when the node keeps as many buckets as it may.

    `after_crash`: how full a bucket is whose state died with the process.
    """

    rate: Rate
    when_full: Literal["open", "closed"] = "open"
    after_crash: float = 1.0


# Passwords are what somebody who can crash a node would like to guess: those two refuse rather than let
# through, and a crash gives him half a bucket and not a whole one.
DEFAULT_LIMITS = {
    Limit.REQUESTS: LimitSpec(Rate(100, 100 / 60)),
    Limit.MESSAGES: LimitSpec(Rate(1_000, 600 / 60)),
    Limit.REPORTS: LimitSpec(Rate(30, 30 / 3_600)),
    Limit.REGISTRATIONS: LimitSpec(Rate(10, 10 / 3_600), "closed", 0.5),
    Limit.LOGINS: LimitSpec(Rate(30, 30 / 300), "closed", 0.5),
    Limit.UNAUTHENTICATED: LimitSpec(Rate(600, 600 / 60)),
}


class LimiterOptions(Struct, frozen=True):
    limits: dict[Limit, LimitSpec] = field(default_factory=lambda: dict(DEFAULT_LIMITS))
    exempt_nets: Sequence[str] = ()
    most_buckets: int = 200_000  # 200 bytes each
    sweep_every: float = 1.0  # seconds
    sweep_slice: int = 2_000  # buckets looked at per sweep: 1 ms


class Verdict(NamedTuple):
    """The answer to one question, as the X-RateLimit headers tell it."""

    limit: int
    remaining: int
    reset: float  # seconds until the bucket is full again
    retry_after: float  # 0.0: go ahead

    def check(self) -> None:
        if self.retry_after > 0.0:
            raise KithError(ErrorCode.RATE_LIMIT_EXCEEDED, retry_after=self.retry_after)


_Key = tuple[Limit, str, Limits]


@lru_cache(maxsize=4_096)
def address_key(address: str) -> str:
    """What an address counts as: itself, or its /64 for IPv6, where one customer has 2^64 of them."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return f"{ipaddress.IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)


class Limiter:
    """The buckets of one node. `after_crash`: whether the process before this one ended without saying so."""

    def __init__(self, clock: Clock, options: LimiterOptions, metrics: Metrics, after_crash: bool = False) -> None:
        self._clock = clock
        self._options = options
        self._started = clock.monotonic()
        self._after_crash = after_crash
        self._nets = _networks(options.exempt_nets)
        self._buckets: dict[_Key, TokenBucket] = {}
        self._to_sweep: deque[_Key] = deque()
        self._refused = metrics.counters("rate_limited_total", "Requests and commands refused by a bucket", ("limit",))
        metrics.callback("rate_limit_buckets", "Buckets kept", lambda: len(self._buckets))

    def bucket(self, limit: Limit, key: str, limits: Limits = "normal") -> TokenBucket:
        """The bucket itself, for a session to keep: it then pays 0.25 us per message, and nobody else is asked."""
        name = (limit, key, limits)
        found = self._buckets.get(name)
        if found is None:
            found = self._make(limit, limits)
            if len(self._buckets) < self._options.most_buckets:
                self._buckets[name] = found
            elif self._options.limits[limit].when_full == "closed" and limits == "normal":
                found.tokens = 0.0
        return found

    def take(self, limit: Limit, key: str, limits: Limits = "normal", cost: float = 1.0) -> Verdict:
        """Pay from somebody's bucket; the caller says `verdict.check()` when he wants to be stopped."""
        now = self._clock.monotonic()
        bucket = self.bucket(limit, key, limits)
        wait = bucket.take(now, cost)
        if wait > 0.0:
            self._refused.of(limit).value += 1
        return Verdict(int(bucket.capacity), int(bucket.tokens), bucket.seconds_to_full(now), wait)

    def refused(self, limit: Limit) -> None:
        """Count a refusal that a keeper of a bucket met by himself."""
        self._refused.of(limit).value += 1

    def is_exempt(self, address: str) -> bool:
        """Whether this client is a load machine of RATE_LIMIT_EXEMPT_NETS; it then counts as `load`."""
        return bool(self._nets) and _inside(address, self._nets)

    def __len__(self) -> int:
        return len(self._buckets)

    def sweep(self) -> int:
        """Look at the next slice of buckets and forget those that are full and that nobody keeps."""
        if not self._to_sweep:
            self._to_sweep.extend(self._buckets)
        now = self._clock.monotonic()
        forgotten = 0
        for _ in range(min(self._options.sweep_slice, len(self._to_sweep))):
            name = self._to_sweep.popleft()
            bucket = self._buckets.get(name)
            if bucket is None or bucket.level(now) < bucket.capacity:
                continue
            # A session that keeps it must go on sharing it with everybody else of this key: let go of
            # it, and take it back if somebody held on.
            ref = weakref.ref(bucket)
            del self._buckets[name], bucket
            held = ref()
            if held is None:
                forgotten += 1
            else:
                self._buckets[name] = held
            del held
        return forgotten

    async def run(self) -> None:
        """Sweep for as long as the node lives."""
        while True:
            await trio.sleep(self._options.sweep_every)
            self.sweep()

    def _make(self, limit: Limit, limits: Limits) -> TokenBucket:
        spec = self._options.limits[limit]
        if limits == "load":
            return TokenBucket(UNLIMITED, self._clock.monotonic())
        if self._after_crash:
            # As if it had been that full when the process started, and filled since.
            return TokenBucket(spec.rate, self._started, spec.after_crash)
        return TokenBucket(spec.rate, self._clock.monotonic())


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@lru_cache(maxsize=4_096)
def _inside(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)
