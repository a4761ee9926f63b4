"""A test that measures time must not share two cores with another one."""

import fcntl
import threading
import time
from pathlib import Path

from tests.turns import Turns


class Visitor:
    """Another process of the run, as far as locks go: it has files of its own."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.entered, self.over = threading.Event(), threading.Event()
        self._turns, self._alone = Turns(folder), alone
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        with self._turns.taken(alone=self._alone):
            self.entered.set()
            self.over.wait(10.0)
        self._turns.close()

    def leaves(self) -> None:
        self.over.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def until_the_door_is_held(folder: Path) -> None:
    deadline = time.monotonic() + 10.0
    with (folder / "door").open("a") as door:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(door, fcntl.LOCK_UN)
    raise AssertionError("the lone one was not at the door within 10 s")


def test_ordinary_tests_run_beside_each_other_and_a_lone_one_does_not(tmp_path: Path) -> None:
    first, second = Visitor(tmp_path, alone=False), Visitor(tmp_path, alone=False)
    assert first.entered.wait(10.0)
    assert second.entered.wait(10.0)
    lone = Visitor(tmp_path, alone=True)
    first.leaves()
    assert not lone.entered.wait(0.05)
    second.leaves()
    assert lone.entered.wait(10.0)
    late = Visitor(tmp_path, alone=False)
    assert not late.entered.wait(0.05)
    lone.leaves()
    assert late.entered.wait(10.0)
    late.leaves()


def test_nobody_overtakes_a_lone_one_that_waits(tmp_path: Path) -> None:
    first = Visitor(tmp_path, alone=False)
    assert first.entered.wait(10.0)
    lone = Visitor(tmp_path, alone=True)
    until_the_door_is_held(tmp_path)
    late = Visitor(tmp_path, alone=False)
    assert not late.entered.wait(0.05), "it went past who was there before"
    first.leaves()
    assert lone.entered.wait(10.0)
    lone.leaves()
    assert late.entered.wait(10.0)
    late.leaves()
