import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from loadtest import usage

BUSY = """
import time
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
print("done", flush=True)
input()
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


@pytest.fixture
def start() -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(code: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield run
    for process in started:
        process.communicate(b"\n", timeout=10)


def test_time_and_memory_of_a_process_are_its_own(start: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    process = start("data = bytearray(50_000_000)\n" + BUSY)
    assert process.stdout is not None
    process.stdout.readline()
    assert 0.3 <= usage.processor_seconds(process.pid) < 1.0
    assert 50_000_000 < usage.resident_bytes(process.pid) < 100_000_000


def test_a_family_counts_living_and_ended_children(start: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    parent = start(PARENT)
    assert parent.stdout is not None
    parent.stdout.readline()
    [child] = usage.children(parent.pid)
    living = usage.family_seconds(parent.pid)
    assert living >= 0.3 > usage.processor_seconds(parent.pid)
    assert usage.processor_seconds(child) >= 0.3
    assert parent.stdin is not None
    parent.stdin.write(b"\n")  # the child reads it and ends; the parent waits for it and ends, too
    parent.stdin.flush()


def test_a_process_that_is_gone_is_an_error_and_not_zero() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(usage.ProcessGoneError, match=str(process.pid)):
        usage.processor_seconds(process.pid)


def test_a_sampler_sees_the_whole_run(start: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    process = start(BUSY)
    sampler = usage.Sampler(process.pid, process.pid, every_seconds=0.05)
    sampler.ready([process.pid])
    assert process.stdout is not None
    process.stdout.readline()
    sampler.over()
    times = [sample.at_seconds for sample in sampler.samples]
    assert times == sorted(times)
    assert len(times) >= 4
    spent = sampler.samples[-1].server - sampler.samples[0].server
    assert 0.2 <= spent <= 0.5
