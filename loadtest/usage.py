"""Processor time and memory of processes, read from /proc while a run goes on."""

import os
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

PROC: Final = Path("/proc")
TICKS: Final = os.sysconf("SC_CLK_TCK")


class ProcessGoneError(Exception):
    """A process that was to be measured does not exist (any more)."""


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on; the name before it may hold spaces and parentheses."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessGoneError(f"process {pid} is gone") from None


def processor_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    """User and system time; of children only those that ended and were waited for."""
    fields = _fields(pid)
    wanted = fields[11:15] if with_ended_children else fields[11:13]
    return sum(int(field) for field in wanted) / TICKS


def resident_bytes(pid: int) -> int:
    return int(_fields(pid)[21]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Its living children, by their own word about who their parent is."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                if int(_fields(int(entry.name))[1]) == pid:
                    found.append(int(entry.name))
            except ProcessGoneError:
                continue
    return found


def family_seconds(pid: int) -> float:
    """Of a PostgreSQL: the postmaster, its living processes and those that ended."""
    total = processor_seconds(pid, with_ended_children=True)
    for child in children(pid):
        try:
            total += processor_seconds(child, with_ended_children=True)
        except ProcessGoneError:
            continue  # it ended between the two looks and counts with the parent next time
    return total


class Sample(msgspec.Struct, frozen=True):
    """At one moment of a run: processor seconds so far, and the server's memory."""

    at_seconds: float
    server: float
    database: float
    clients: float
    server_rss_bytes: int


class Sampler:
    """Takes a sample now and then in a thread of its own, between `ready` and `over` of a swarm."""

    def __init__(self, server: int, postmaster: int, every_seconds: float) -> None:
        self._server = server
        self._postmaster = postmaster
        self._every = every_seconds
        self._clients: list[int] = []
        self._began = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.samples: list[Sample] = []

    def ready(self, engine_pids: list[int]) -> None:
        self._clients = engine_pids
        self._began = time.monotonic()
        self._take()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def over(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._take()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._take()

    def _take(self) -> None:
        self.samples.append(
            Sample(
                at_seconds=round(time.monotonic() - self._began, 3),
                server=processor_seconds(self._server, with_ended_children=True),
                database=family_seconds(self._postmaster),
                clients=sum(_seconds_or_none(pid) for pid in self._clients),
                server_rss_bytes=resident_bytes(self._server),
            )
        )


def _seconds_or_none(pid: int) -> float:
    """Of a client, which may be done already: the report carries its own figure."""
    try:
        return processor_seconds(pid)
    except ProcessGoneError:
        return 0.0
