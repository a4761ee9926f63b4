"""What the operating system says about processes that we may not have started ourselves."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil


def command_line(pid: int) -> list[str]:
    """The arguments of a living process; empty when there is none (a zombie counts as none)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return []
        return [str(argument) for argument in process.cmdline()]
    except psutil.Error:
        return []


def is_postmaster_of(pid: int, data: Path) -> bool:
    """Whether this pid is the PostgreSQL of this very data folder.

    A pid alone proves nothing: after a crash or a reboot it may have been given to anybody.
    """
    arguments = command_line(pid)
    return bool(arguments) and Path(arguments[0]).name == "postgres" and str(data) in arguments


def reap(pid: int) -> None:
    """Let the kernel forget a child that ended; until then PostgreSQL takes its pid for a living one."""
    # An adopted process is not our child, and its parent (or init) waits for it.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def gone_within(pid: int, data: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_postmaster_of(pid, data):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    reap(pid)
    return True


def stop_postmaster(pid: int, data: Path) -> None:
    """Fast shutdown; then the immediate one, which costs a recovery; then the one that always works."""
    # Ten seconds hold the shutdown checkpoint of a busy server; the others only have to die.
    for kind, patience in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 3.0)):
        if gone_within(pid, data, 0.0):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        if gone_within(pid, data, patience):
            return
