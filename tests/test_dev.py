"""`kith dev` starts its server anew after a change that compiles, and leaves it alone after one that does not."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.commands import dev
from realtime.commands.dev import Workbench, complaint, environment, look

# Says that it runs, and ends in order when it is told to.
CHILD = """
import signal, sys, threading
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
print("runs", flush=True)
told.wait(30)
"""


class Bench:
    def __init__(self, root: Path) -> None:
        (root / "actors").mkdir()
        self.file = root / "actors" / "story.py"
        self.file.write_text("x = 1\n")
        self.children: list[subprocess.Popen[bytes]] = []
        self.started = threading.Semaphore(0)
        self.bench = Workbench(root, self.start)
        self.codes: list[int] = []
        self.thread = threading.Thread(target=lambda: self.codes.append(self.bench.run()))

    def start(self) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"runs\n"
        self.children.append(child)
        self.started.release()
        return child


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(dev, "LOOK_SECONDS", 0.02)
    made = Bench(tmp_path)
    made.thread.start()
    yield made
    made.bench.stop()
    made.thread.join(10.0)
    for child in made.children:
        child.kill()
        child.wait()


def test_a_change_that_compiles_starts_it_anew(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench.started.acquire(timeout=10)
    bench.file.write_text("x = (\n")
    assert not bench.started.acquire(timeout=0.3)
    bench.file.write_text("x = 2  # mended\n")
    assert bench.started.acquire(timeout=10)
    assert [child.poll() for child in bench.children] == [0, None]
    bench.bench.stop()
    bench.thread.join(10.0)
    assert bench.codes == [0]
    said = capfd.readouterr().err
    assert "actors/story.py changed" in said
    assert "the server goes on as it was: story.py: " in said


def test_what_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_one.sql").write_text("select 1")
    (tmp_path / "migrations" / "notes.txt").write_text("")
    (tmp_path / ".env").write_text("")
    assert [path.name for path in look(tmp_path)] == ["0001_one.sql", ".env"]
    assert complaint(tmp_path / "gone.py") == ""


def test_it_logs_everything_unless_somebody_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    monkeypatch.setattr(dev, "read_env_file", lambda _: {})
    assert environment()["LOG_LEVEL"] == "debug"
    monkeypatch.setattr(dev, "read_env_file", lambda _: {"LOG_LEVEL": "warning"})
    assert environment()["LOG_LEVEL"] == "warning"
    monkeypatch.setenv("LOG_LEVEL", "error")
    assert environment()["LOG_LEVEL"] == "error"


def test_a_child_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "STOP_SECONDS", 0.1)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert dev.end(child) == -signal.SIGKILL
