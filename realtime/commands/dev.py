"""`kith dev`: the server with everything it logs, started anew when a source file was saved and still compiles."""

import ast
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from realtime.settings import CHECKOUT, read_env_file

FOLDERS = ("actors", "http", "migrations", "realtime", "storage")
LOOK_SECONDS = 0.5
STOP_SECONDS = 15.0

Seen = dict[Path, int]


class Workbench:
    """One child at a time; `start` makes it, so that a test may hand in another program."""

    def __init__(self, root: Path, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        self._root = root
        self._start = start
        self._told_to_stop = threading.Event()

    def stop(self, *_: object) -> None:
        self._told_to_stop.set()

    def run(self) -> int:
        """Until told to stop; the exit code of the last child."""
        child, seen = self._start(), look(self._root)
        while not self._told_to_stop.wait(LOOK_SECONDS):
            now = look(self._root)
            if now == seen:
                continue
            changed = sorted(path for path in {*now, *seen} if now.get(path) != seen.get(path))
            seen = now
            say(f"{', '.join(str(path.relative_to(self._root)) for path in changed[:5])} changed")
            if wrong := [problem for path in changed if (problem := complaint(path))]:
                say(f"and the server goes on as it was: {wrong[0]}")
                continue
            end(child)
            child = self._start()
        return end(child)


def look(root: Path) -> Seen:
    """Every source file and when it was written; one that goes away in this moment is not there."""
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".py", ".sql")]
    seen: Seen = {}
    for path in [*files, root / ".env"]:
        try:
            seen[path] = path.stat().st_mtime_ns
        except OSError:
            continue
    return seen


def complaint(path: Path) -> str:
    """Why Python would refuse this file; empty if it would not, or if the file has gone."""
    if path.suffix != ".py" or not path.exists():
        return ""
    try:
        ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError) as error:
        return f"{path.name}: {error}"
    return ""


def end(child: "subprocess.Popen[bytes]") -> int:
    """In order, as a newcomer's Ctrl-C would; the server itself is bounded well below our patience."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        return child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def develop(arguments: tuple[str, ...] = ("serve",)) -> int:
    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-I", "-m", "realtime.cli", *arguments], env=environment())

    bench = Workbench(CHECKOUT, start)

    def stop(_number: int, _frame: FrameType | None) -> None:
        bench.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return bench.run()


def environment() -> dict[str, str]:
    """Ours, with everything logged unless somebody has said how much he wants to see."""
    said = os.environ.get("LOG_LEVEL") or read_env_file(CHECKOUT / ".env").get("LOG_LEVEL")
    return {**os.environ, "LOG_LEVEL": said or "debug"}


def say(sentence: str) -> None:
    print(f"kith dev: {sentence}", file=sys.stderr, flush=True)
