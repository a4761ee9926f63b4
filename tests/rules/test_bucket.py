"""The token bucket: tables, and properties against a slow model."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.bucket import UNLIMITED, Rate, TokenBucket
from actors.shapes.times import Seconds

START = Seconds(100.0)


def test_spends_its_capacity_and_then_says_how_long_to_wait() -> None:
    bucket = TokenBucket(Rate(3, 0.5), START)
    assert [bucket.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    assert bucket.take(101.0) == 1.0  # a refused try costs nothing
    assert bucket.take(102.0) == 0.0
    assert bucket.take(102.0) == 2.0


def test_never_holds_more_than_its_capacity() -> None:
    bucket = TokenBucket(Rate(2, 1.0), START)
    assert bucket.level(1_000_000.0) == 2
    assert [bucket.take(1_000_000.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_cost_is_paid_whole_or_not_at_all() -> None:
    bucket = TokenBucket(Rate(10, 1.0), START)
    assert bucket.take(100.0, 8) == 0.0
    assert bucket.take(100.0, 3) == 1.0
    assert bucket.take(100.0, 2) == 0.0


def test_a_cost_above_the_capacity_takes_everything_instead_of_waiting_for_ever() -> None:
    bucket = TokenBucket(Rate(10, 1.0), START)
    assert bucket.take(100.0, 5) == 0.0
    assert bucket.take(100.0, 1_000) == 5.0
    assert bucket.take(105.0, 1_000) == 0.0
    assert bucket.level(105.0) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(Rate(1, 1.0), START)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(50.0) == 1.0
    assert bucket.take(100.5) == 0.5


def test_starts_as_full_as_it_is_told() -> None:
    assert TokenBucket(Rate(10, 1.0), START, 0.5).seconds_to_full(100.0) == 5.0
    assert TokenBucket(Rate(10, 1.0), START).seconds_to_full(100.0) == 0.0


def test_an_unlimited_one_takes_the_same_way_and_never_ends() -> None:
    bucket = TokenBucket(UNLIMITED, START)
    assert not any(bucket.take(100.0) for _ in range(10_000))
    assert bucket.tokens < bucket.capacity


@pytest.mark.parametrize(("capacity", "per_second"), [(0, 1.0), (1, 0.0), (1, -1.0), (-5, 1.0)])
def test_a_rate_that_lets_nobody_through_is_refused(capacity: float, per_second: float) -> None:
    with pytest.raises(ValueError, match="capacity"):
        Rate(capacity, per_second)


@given(
    st.integers(1, 20),
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), max_size=60),
)
def test_agrees_with_exact_arithmetic(capacity: int, refill: int, steps: list[tuple[int, int]]) -> None:
    """Times and rates are multiples of 1/16 and 1/64, so floats are exact and must equal the fractions."""
    bucket = TokenBucket(Rate(capacity, refill / 64), Seconds(0.0))
    tokens, at, now = Fraction(capacity), Fraction(0), Fraction(0)
    for pause, wanted in steps:
        now += Fraction(pause, 16)
        tokens = min(Fraction(capacity), tokens + (now - at) * Fraction(refill, 64))
        at = now
        cost = min(wanted, capacity)
        if tokens >= cost:
            tokens -= cost
            assert bucket.take(float(now), wanted) == 0.0
        else:
            assert bucket.take(float(now), wanted) == float((cost - tokens) / Fraction(refill, 64))
        assert bucket.tokens == float(tokens)
