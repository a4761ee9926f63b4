"""Deadlines: nothing early, nothing more than one width late, nothing twice, nothing kept."""

import random

import pytest

from realtime.gateway.deadlines import NOT_SET, Deadlines

WIDTH = 0.05


class Item:
    def __init__(self) -> None:
        self.bucket = NOT_SET
        self.came: list[float] = []

    def due(self, now: float) -> None:
        self.came.append(now)

    def stop(self) -> None:
        raise AssertionError("nothing here is stopped")


def test_never_early_and_at_most_two_widths_late() -> None:
    deadlines, item = Deadlines(WIDTH, 100.0), Item()
    deadlines.set(item, 101.0)
    now = 100.0
    while not item.came:
        now += 0.01
        deadlines.sweep(now)
    assert 101.0 <= item.came[0] <= 101.0 + 2 * WIDTH
    deadlines.sweep(200.0)
    assert len(item.came) == 1
    assert item.bucket == NOT_SET


def test_a_later_setting_takes_the_place_of_an_earlier_one() -> None:
    deadlines, item = Deadlines(WIDTH, 0.0), Item()
    deadlines.set(item, 1.0)
    deadlines.set(item, 5.0)
    deadlines.sweep(2.0)
    assert item.came == []
    deadlines.set(item, 3.0)
    deadlines.sweep(3.2)
    assert item.came == [3.2]
    assert len(deadlines) == 0


def test_what_is_cleared_is_forgotten_at_once() -> None:
    deadlines = Deadlines(WIDTH, 0.0)
    items = [Item() for _ in range(100)]
    for item in items:
        deadlines.set(item, 25.0)
    for item in items:
        deadlines.clear(item)
    assert len(deadlines) == 0
    assert deadlines._buckets == {}
    deadlines.clear(items[0])
    deadlines.sweep(30.0)
    assert all(item.came == [] for item in items)


def test_the_past_comes_with_the_next_sweep() -> None:
    deadlines, item = Deadlines(WIDTH, 10.0), Item()
    deadlines.set(item, 3.0)
    deadlines.sweep(10.0)
    assert item.came == []
    deadlines.sweep(10.1)
    assert item.came == [10.1]


def test_one_that_is_due_may_clear_another_of_the_same_sweep() -> None:
    """A shed or a lost session takes others with it; those must not be looked at any more."""
    deadlines = Deadlines(WIDTH, 0.0)

    class Rival(Item):
        other: "Rival"

        def due(self, now: float) -> None:
            super().due(now)
            deadlines.clear(self.other)
            deadlines.set(self, now + 1.0)

    rivals = [Rival() for _ in range(2)]
    for rival, other in (rivals, reversed(rivals)):
        rival.other = other
        deadlines.set(rival, 1.0)
    deadlines.sweep(2.0)
    assert sorted(len(rival.came) for rival in rivals) == [0, 1]


def test_after_a_long_pause_the_sweep_does_not_count_the_seconds() -> None:
    deadlines, item = Deadlines(WIDTH, 0.0), Item()
    deadlines.set(item, 10.0)
    deadlines.sweep(1e9)
    assert item.came == [1e9]


@pytest.mark.parametrize("seed", range(10))
def test_at_random(seed: int) -> None:
    dice, now = random.Random(seed), 50.0
    deadlines = Deadlines(WIDTH, now)
    wanted: dict[Item, float] = {}
    items = [Item() for _ in range(50)]
    for _ in range(2_000):
        item = dice.choice(items)
        if dice.random() < 0.3:
            deadlines.clear(item)
            wanted.pop(item, None)
        else:
            wanted[item] = now + dice.random() * 3
            deadlines.set(item, wanted[item])
        now += dice.choice((0.0, 0.01, 0.2))
        deadlines.sweep(now)
        for each in items:
            for came in each.came:
                assert wanted.pop(each) <= came
            each.came.clear()
            assert wanted.get(each, now) > now - 2 * WIDTH, "late"
