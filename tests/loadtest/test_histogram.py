import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import BUCKETS, MAX_BITS, UNIT_NS, Histogram, bucket, middle_ns


@given(st.integers(min_value=10_000, max_value=(1 << MAX_BITS) * UNIT_NS - 1))
def test_a_bucket_tells_its_durations_to_one_percent(duration_ns: int) -> None:
    assert abs(middle_ns(bucket(duration_ns)) - duration_ns) <= duration_ns * 0.01


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_buckets_keep_the_order_and_their_bounds(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 0 <= bucket(low) <= bucket(high) < BUCKETS


def test_percentiles_are_those_of_the_sorted_values() -> None:
    values = [int(random.Random(7).lognormvariate(15, 1.5)) for _ in range(20_000)]
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    values.sort()
    for share in (0.5, 0.95, 0.99, 0.999):
        assert histogram.percentile_ms(share) == pytest.approx(values[int(share * len(values))] / 1e6, rel=0.015)
    assert histogram.percentile_ms(1.0) == values[-1] / 1e6


def test_what_two_processes_counted_adds_up() -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for k in range(1, 2000):
        (one if k % 3 else two).record(k * 50_000)
        both.record(k * 50_000)
    merged = Histogram()
    for part in (one, two):
        merged.add(part.most_ns, part.sparse())
    assert (merged.counts, merged.most_ns, merged.total) == (both.counts, both.most_ns, 1999)


def test_nothing_measured_is_no_error() -> None:
    assert Histogram().percentile_ms(0.99) == 0.0
