"""One worker as the supervisor has it: a process, its end of the line, and how it is."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from typing import Final

import trio
from msgspec import Struct

from actors.shapes.times import Seconds
from realtime.workers.line import Beat, GiveNumbers, Line

# Beats, and not seconds: a machine that slept or was stopped as a whole counts none.
SILENT_BEATS: Final = 3
HOPELESS_BEATS: Final = 30
STARTING_BEATS: Final = 60  # of a worker that is not ready yet: reading the program from a slow disk is no hang


class Plan(Struct, frozen=True):
    """How every worker is started."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    listeners: tuple[int, ...]  # descriptors
    workers: int


class Worker:
    """Alive until `ended`. `leaving`: its end was asked for."""

    def __init__(self, number: int, process: trio.Process, line: Line) -> None:
        self.number = number
        self.line = line
        self.ready = trio.Event()
        self.settled = trio.Event()  # ready, or ended before it was
        self.ended = trio.Event()
        self.leaving = False
        self.unanswered = 0
        self.connections = 0
        self._process = process
        self._tickets = itertools.count(1)
        self._asked: dict[int, trio.MemorySendChannel[bytes]] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended: an exit code, or a signal as a negative number."""
        return self._process.returncode

    @property
    def answers(self) -> bool:
        """Whether it serves, as far as one knows."""
        return self.ready.is_set() and not self.ended.is_set() and self.unanswered < SILENT_BEATS

    async def wait(self) -> None:
        """Until its process has ended."""
        await self._process.wait()

    def beat(self, live: int, fewest: int) -> None:
        """Ask whether it is there."""
        self.unanswered += 1
        self.line.post(Beat(live, fewest))

    async def numbers(self, within: Seconds) -> bytes | None:
        """Its own exposition; None when it does not answer in time."""
        ticket = next(self._tickets)
        tell, told = trio.open_memory_channel[bytes](1)
        self._asked[ticket] = tell
        try:
            if self.line.post(GiveNumbers(ticket)):
                with trio.move_on_after(within):
                    return await told.receive()
        finally:
            del self._asked[ticket]
        return None

    def told(self, ticket: int, text: bytes) -> None:
        """Its answer to `numbers`, which may have stopped waiting."""
        if ticket in self._asked:
            # A second answer to one ticket is the worker's fault, and must not end the supervisor, that is, everybody.
            with contextlib.suppress(trio.WouldBlock):
                self._asked[ticket].send_nowait(text)

    def ask_to_stop(self) -> None:
        self.leaving = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
            # Whoever stopped it by SIGSTOP: it cannot end in order while it stands still.
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def launch(plan: Plan, number: int, *, after_crash: bool) -> Worker:
    """Start a process of its own session: a Ctrl-C goes to the whole group, and the supervisor alone decides."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as unless_started, theirs:
        unless_started.callback(ours.close)
        arguments = ["--number", str(number), "--line", str(theirs.fileno())]
        arguments += ["--listeners", ",".join(map(str, plan.listeners))]
        if after_crash:
            arguments.append("--after-crash")
        process = await trio.lowlevel.open_process(
            [*plan.command, *arguments],
            env=plan.environment,
            pass_fds=(theirs.fileno(), *plan.listeners),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd=os.getcwd(),
        )
        unless_started.pop_all()
    ours.setblocking(False)
    return Worker(number, process, Line(trio.SocketStream(trio.socket.from_stdlib_socket(ours))))
