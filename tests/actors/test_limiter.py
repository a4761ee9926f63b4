"""The registry of buckets: whose they are, what they cost in memory, and what a crash or a flood does to them."""

import gc

import pytest
import trio

from actors.limiter import (
    DEFAULT_LIMITS,
    Limit,
    Limiter,
    LimiterOptions,
    LimitSpec,
    address_key,
)
from actors.metrics import Metrics
from actors.rules.bucket import Rate
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds, WallTime


class HandClock:
    """Moves when told."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> WallTime:
        return WallTime(int(self.seconds * 1000))

    def monotonic(self) -> Seconds:
        return Seconds(self.seconds)


def limiter_of(clock: HandClock, options: LimiterOptions | None = None, after_crash: bool = False) -> Limiter:
    return Limiter(clock, options or LimiterOptions(), Metrics(), after_crash)


def taken(limiter: Limiter, limit: Limit, key: str) -> int:
    """How often one can pay before being refused."""
    count = 0
    while limiter.take(limit, key).retry_after == 0.0:
        count += 1
    return count


@pytest.mark.parametrize(
    ("limit", "capacity", "seconds_per_token"),
    [
        (Limit.REQUESTS, 100, 0.6),
        (Limit.MESSAGES, 1_000, 0.1),
        (Limit.REGISTRATIONS, 10, 360),
        (Limit.LOGINS, 30, 10),
        (Limit.UNAUTHENTICATED, 600, 0.1),
    ],
)
def test_the_limits_are_those_that_were_decided(limit: Limit, capacity: int, seconds_per_token: float) -> None:
    clock = HandClock()
    limiter = limiter_of(clock)
    assert taken(limiter, limit, "a") == capacity
    assert limiter.take(limit, "a").retry_after == pytest.approx(seconds_per_token)
    clock.seconds += seconds_per_token * 1.001
    assert limiter.take(limit, "a").retry_after == 0.0


def test_a_verdict_tells_what_the_headers_need() -> None:
    metrics = Metrics()
    limiter = Limiter(HandClock(), LimiterOptions(), metrics)
    verdict = limiter.take(Limit.REQUESTS, "a", cost=40)
    assert (verdict.limit, verdict.remaining, round(verdict.reset)) == (100, 60, 24)
    verdict.check()
    with pytest.raises(KithError) as refused:
        limiter.take(Limit.REQUESTS, "a", cost=90).check()
    assert refused.value.code is ErrorCode.RATE_LIMIT_EXCEEDED
    assert refused.value.retry_after == pytest.approx(18)
    assert metrics.value("rate_limited_total", "requests") == 1
    limiter.refused(Limit.MESSAGES)
    assert metrics.value("rate_limited_total", "messages") == 1
    assert metrics.value("rate_limit_buckets") == 1


def test_buckets_are_per_key_and_per_limit() -> None:
    limiter = limiter_of(HandClock())
    taken(limiter, Limit.REQUESTS, "a")
    assert taken(limiter, Limit.REQUESTS, "b") == 100
    assert taken(limiter, Limit.MESSAGES, "a") == 1_000


def test_a_load_user_is_on_the_same_path_and_never_stopped() -> None:
    limiter = limiter_of(HandClock())
    bucket = limiter.bucket(Limit.MESSAGES, "a", "load")
    for _ in range(5_000):
        assert limiter.take(Limit.MESSAGES, "a", "load").retry_after == 0.0
    assert bucket.tokens == bucket.capacity - 5_000


def test_full_buckets_are_forgotten_and_others_kept() -> None:
    clock = HandClock()
    limiter = limiter_of(clock)
    limiter.take(Limit.REQUESTS, "slow", cost=100)
    limiter.take(Limit.REQUESTS, "quick")
    assert limiter.sweep() == 0
    clock.seconds += 30
    assert limiter.sweep() == 1
    assert len(limiter) == 1
    assert limiter.take(Limit.REQUESTS, "slow", cost=51).retry_after > 0
    clock.seconds += 30
    assert limiter.sweep() == 1
    assert len(limiter) == 0


def test_a_bucket_that_a_session_keeps_stays_the_only_one() -> None:
    """Were a kept bucket forgotten when it is full, its user would get a second one over HTTP."""
    clock = HandClock()
    limiter = limiter_of(clock)
    kept = limiter.bucket(Limit.MESSAGES, "a")
    clock.seconds += 1_000
    assert limiter.sweep() == 0
    assert limiter.bucket(Limit.MESSAGES, "a") is kept
    del kept
    gc.collect()
    assert limiter.sweep() == 1


def test_a_sweep_looks_at_a_slice_at_a_time() -> None:
    limiter = limiter_of(HandClock(), LimiterOptions(sweep_slice=10))
    for number in range(25):
        limiter.bucket(Limit.REQUESTS, str(number))
    assert [limiter.sweep() for _ in range(4)] == [10, 10, 5, 0]


def test_after_a_crash_passwords_get_half_a_bucket_which_fills_from_the_start_on() -> None:
    clock = HandClock()
    limiter = limiter_of(clock, after_crash=True)
    assert taken(limiter, Limit.LOGINS, "a") == 15
    assert taken(limiter, Limit.REGISTRATIONS, "a") == 5
    assert taken(limiter, Limit.REQUESTS, "a") == 100
    clock.seconds += 100
    assert taken(limiter, Limit.LOGINS, "b") == 25
    clock.seconds += 1_000
    assert taken(limiter, Limit.LOGINS, "c") == 30


def test_at_the_bound_each_limit_does_what_it_declared() -> None:
    limiter = limiter_of(HandClock(), LimiterOptions(most_buckets=1))
    limiter.take(Limit.REQUESTS, "first")
    assert limiter.take(Limit.REQUESTS, "open").retry_after == 0.0
    assert limiter.take(Limit.LOGINS, "closed").retry_after > 0.0
    assert len(limiter) == 1
    assert {limit: spec.when_full for limit, spec in DEFAULT_LIMITS.items()} == {
        Limit.REQUESTS: "open",
        Limit.MESSAGES: "open",
        Limit.REPORTS: "open",
        Limit.REGISTRATIONS: "closed",
        Limit.LOGINS: "closed",
        Limit.UNAUTHENTICATED: "open",
    }


def test_everything_can_be_configured() -> None:
    limits = {**DEFAULT_LIMITS, Limit.LOGINS: LimitSpec(Rate(2, 1.0), "open")}
    limiter = limiter_of(HandClock(), LimiterOptions(limits=limits))
    assert taken(limiter, Limit.LOGINS, "a") == 2


def test_an_ipv6_customer_is_one_key() -> None:
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::1")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:192.0.2.7") == address_key("192.0.2.7") == "192.0.2.7"
    assert address_key("fe80::1%eth0") == "fe80::/64"
    assert address_key("unknown") == "unknown"


def test_exempt_nets_are_those_configured_and_nobody_else() -> None:
    limiter = limiter_of(HandClock(), LimiterOptions(exempt_nets=("10.1.0.0/16", "2001:db8::/32")))
    inside = ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"]
    outside = ["10.2.0.1", "2001:db9::1", "", "unknown"]
    assert [limiter.is_exempt(address) for address in inside + outside] == [True] * 3 + [False] * 4
    assert not limiter_of(HandClock()).is_exempt("127.0.0.1")


async def test_the_sweep_runs_by_itself(autojump_clock: object) -> None:
    limiter = limiter_of(HandClock())
    limiter.bucket(Limit.REQUESTS, "a")
    with trio.move_on_after(1.5):
        await limiter.run()
    assert len(limiter) == 0
