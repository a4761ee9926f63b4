"""What can be counted of the runtime's cost: steps of tasks, and bytes. tests/actors/cost.py records the timings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.actors.stage import Add, Stage, running

ROOT = Path(__file__).resolve().parent.parent.parent


class Steps(trio.abc.Instrument):
    """Counts how often any task runs for a while."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.count += 1


async def test_an_ask_of_a_parked_actor_is_two_steps(autojump_clock: MockClock) -> None:
    """The actor's and the asker's. Every further one is 5 us on the way of every message."""
    stage = Stage()
    async with running(stage.system):
        await stage.ask("a", Add(1))
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for _ in range(1_000):
            await stage.ask("a", Add(1))
        trio.lowlevel.remove_instrument(steps)
    assert 2_000 <= steps.count <= 2_000 * 1.02, "but for the drains that let others run"


async def test_a_thousand_tells_are_four_steps(autojump_clock: MockClock) -> None:
    """A busy actor works in batches; and it is told without a task of its own for each teller."""
    stage = Stage()
    async with running(stage.system):
        await stage.ask("a", Add(1))
        before = len(stage.batches)
        for _ in range(999):
            stage.tallies.tell("a", Add(1))
        assert await stage.ask("a", Add(1)) == 1_001
        assert len(stage.batches) - before == 4


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_parked_actor_costs_at_most_4500_bytes(count: int) -> None:
    command = [sys.executable, "-m", "tests.actors.cost", str(count), "memory"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True, timeout=120
    )
    assert json.loads(done.stdout)["bytes of a parked actor"] <= 4_500
