"""Keeps the process that hashes passwords: hands it work, starts it again when it dies, ends it with the node.

It is a process and not a thread because of the interpreter's lock. A thread that steps back for the event loop (nice
15) was taken off its core while it held the lock, and the loop waited for it: beside 30 logins a second the p99 of
messages rose from 3 ms to 60, and with threads as eager as the loop to 14.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.hashing import HashWork
from actors.hashing_worker import Errand, Outcome

log = logging.getLogger("kith.passwords")

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PAUSE_SECONDS: Final = 0.5  # before the next one, when one has died
STOP_SECONDS: Final = 1.0


class _Asker:
    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.answered = trio.Event()
        self.result = ""


class HashingProcess:
    """At most so many pieces at work; who is cancelled while he waits for his turn has cost nothing."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._room = trio.CapacityLimiter(at_once)
        self._askers: dict[int, _Asker] = {}
        self._numbers = 0
        self._process: trio.Process | None = None
        self._sending = trio.Lock()

    async def __call__(self, work: HashWork) -> str:
        # On behalf of this very errand: one task may have several.
        borrower = object()
        async with self._room_for(borrower):
            self._numbers += 1
            asker = _Asker(Errand(self._numbers, work))
            self._askers[asker.errand.number] = asker
            try:
                await self._send(asker)
                await asker.answered.wait()
            finally:
                del self._askers[asker.errand.number]
        return asker.result

    def _room_for(self, borrower: object) -> "_Room":
        return _Room(self._room, borrower)

    async def run(self) -> None:
        """For as long as the node lives."""
        while True:
            try:
                await self._one_life()
            except OSError as error:
                log.error("the hashing process does not start", extra={"error": type(error).__name__})
            log.warning("the hashing process has gone and is started again")
            await trio.sleep(PAUSE_SECONDS)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def _one_life(self) -> None:
        process = await trio.lowlevel.open_process(
            # -P: a folder `actors` where the server was started from is not ours.
            [sys.executable, "-P", "-m", "actors.hashing_worker", str(self._at_once)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,  # Ctrl-C is for us: what is at work must be finished first
        )
        try:
            self._process = process
            for asker in list(self._askers.values()):  # what the last one took with it
                await self._send(asker)
            await self._listen(process)
        finally:
            self._process = None
            with trio.CancelScope(shield=True):
                await self._end(process)

    async def _listen(self, process: trio.Process) -> None:
        assert process.stdout is not None
        decode, waiting = msgspec.json.Decoder(Outcome).decode, b""
        try:
            async for piece in process.stdout:
                *lines, waiting = (waiting + piece).split(b"\n")
                for line in lines:
                    outcome = decode(line)
                    asker = self._askers.get(outcome.number)
                    if asker is not None:
                        asker.result = outcome.result
                        asker.answered.set()
        except (msgspec.MsgspecError, UnicodeDecodeError, trio.BrokenResourceError) as error:
            # What a library printed into the pipe, or half a line. What it is asked is asked of the next one; an
            # exception here would end the node, and everybody's connections.
            log.error("the hashing process answers what is no answer", extra={"error": type(error).__name__})
            process.kill()

    async def _send(self, asker: _Asker) -> None:
        """Nothing is lost when this fails: the next process is sent everything that waits."""
        async with self._sending:
            process = self._process
            if process is None or process.stdin is None:
                return
            try:
                await process.stdin.send_all(msgspec.json.encode(asker.errand) + b"\n")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            except trio.Cancelled:
                # It takes nothing, so its pipe was full; half a line is in there, and would spoil the one after it.
                process.kill()
                raise

    async def _end(self, process: trio.Process) -> None:
        """Its stdin's end is its end; what it is doing takes milliseconds."""
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await stream.aclose()
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.move_on_after(STOP_SECONDS):
                await process.wait()


class _Room:
    """A place among those at work, on behalf of an errand."""

    def __init__(self, room: trio.CapacityLimiter, borrower: object) -> None:
        self._room = room
        self._borrower = borrower

    async def __aenter__(self) -> None:
        await self._room.acquire_on_behalf_of(self._borrower)

    async def __aexit__(self, *_: object) -> None:
        self._room.release_on_behalf_of(self._borrower)
