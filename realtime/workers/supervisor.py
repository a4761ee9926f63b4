"""Keeps N workers alive: starts them, starts them again, replaces them one by one, and stops them in order.

It holds the listening sockets and no connection: whatever goes wrong in a worker, nobody who knocks is refused.
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from actors.ports import Clock
from actors.shapes.times import Seconds
from realtime.refusal import RefusalError
from realtime.workers.deaths import LONG, Deaths
from realtime.workers.line import AskNumbers, Gathered, HereIAm, Numbers, Ready
from realtime.workers.worker import HOPELESS_BEATS, SILENT_BEATS, STARTING_BEATS, Plan, Worker, launch

log = logging.getLogger("kith.supervisor")

BEAT_EVERY: Final = Seconds(1.0)
NUMBERS_WITHIN: Final = Seconds(1.0)
# A worker bounds its own stop by nine seconds and gives up after nine and a half.
STOP_WITHIN: Final = Seconds(9.2)
READY_WITHIN: Final = Seconds(60.0)
REFUSED: Final = 1  # the exit code of a worker that said why it cannot serve


class Slot:
    """A worker's number, and who has it at the moment."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.deaths = Deaths()
        self.served = trio.Event()  # somebody under this number was ready once
        self.current: Worker | None = None
        # Who starts it again and who renews it take turns: else both would start one, and nobody knew of the first.
        self.changing = trio.Lock()


class Supervisor:
    """`after_crash`: whether the life before this one ended without saying so."""

    def __init__(self, plan: Plan, clock: Clock, *, after_crash: bool) -> None:
        self._plan = plan
        self._clock = clock
        self._after_crash = after_crash
        self._slots = [Slot(number) for number in range(1, plan.workers + 1)]
        self.living: set[Worker] = set()
        self._asked = trio.Event()
        self._launching = 0
        self._refused = False
        self._serving = False
        self._roll_wanted = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.in_order = True

    async def run(self, ready: Callable[[], None]) -> None:
        """Until cancelled; then all workers are stopped, and this returns when the last one is gone."""
        async with trio.open_nursery() as watchers:
            watchers.start_soon(self._notice_cancellation)
            # Shielded: a cancellation must not leave processes behind. The stop has a deadline of its own.
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._beat)
                    await self._start(ready)
                    self._nursery.start_soon(self._roll_when_asked)
                    await self._asked.wait()
                    await self._stop()
                    self._nursery.cancel_scope.cancel()
            watchers.cancel_scope.cancel()
        if self._refused:
            raise RefusalError("the workers did not start; the reason is above.")

    def roll(self) -> None:
        """Replace all workers, one by one, each when the new one is ready."""
        self._roll_wanted.set()

    def kill_all(self) -> None:
        """No time for goodbyes."""
        for worker in self.living:
            worker.kill()

    async def _notice_cancellation(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._asked.set()

    # ---- one worker ----

    async def _launch(self, slot: Slot, *, after_crash: bool) -> Worker:
        self._launching += 1
        try:
            worker = await launch(self._plan, slot.number, after_crash=after_crash)
        finally:
            self._launching -= 1
        self.living.add(worker)
        assert self._nursery is not None
        self._nursery.start_soon(self._attend, worker, slot)
        if self._asked.is_set():
            worker.ask_to_stop()
        return worker

    async def _attend(self, worker: Worker, slot: Slot) -> None:
        """As long as it lives, and what follows."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.line.run)
            nursery.start_soon(self._listen, worker, slot)
            await worker.wait()
            nursery.cancel_scope.cancel()
        worker.ended.set()
        worker.settled.set()
        self.living.discard(worker)
        await worker.line.aclose()
        if worker.leaving or self._asked.is_set():
            # One that was told to go before it listened for signals had nothing to put in order.
            self.in_order = self.in_order and (worker.code == 0 or not worker.ready.is_set())
            log.info("a worker has stopped", extra={"worker": worker.number, "code": worker.code})
            return
        log.error("a worker has died", extra={"worker": worker.number, "pid": worker.pid, "code": worker.code})
        if not self._serving and worker.code == REFUSED:
            self._refused = True
            self._asked.set()
        elif worker is slot.current:
            await self._start_again(slot)

    async def _start_again(self, slot: Slot) -> None:
        """Until there is a process; a machine that has no room for one now is no reason to end the others."""
        died = slot.current
        fresh: Worker | None = None
        while fresh is None:
            wait = slot.deaths.wait_after(self._clock.monotonic())
            if wait >= LONG:
                log.error("a worker dies again and again", extra={"worker": slot.number, "next_try_in_seconds": wait})
            with trio.move_on_after(wait):
                await self._asked.wait()
            async with slot.changing:
                if self._asked.is_set() or slot.current is not died:
                    return
                fresh = await self._launched(slot, after_crash=True)
                slot.current = fresh or died

    async def _launched(self, slot: Slot, *, after_crash: bool) -> Worker | None:
        """None: no process, no descriptor or no memory to be had."""
        try:
            return await self._launch(slot, after_crash=after_crash)
        except OSError as error:
            log.error("a worker cannot be started", extra={"worker": slot.number, "reason": str(error)})
            return None

    async def _listen(self, worker: Worker, slot: Slot) -> None:
        async with trio.open_nursery() as nursery:
            while (message := await worker.line.receive()) is not None:
                if isinstance(message, HereIAm):
                    if worker.unanswered >= SILENT_BEATS:
                        log.warning("a worker answers again", extra={"worker": worker.number})
                    worker.unanswered, worker.connections = 0, message.connections
                elif isinstance(message, Ready):
                    worker.unanswered = 0
                    worker.ready.set()
                    worker.settled.set()
                    slot.served.set()
                    log.info("a worker is ready", extra={"worker": worker.number, "pid": worker.pid})
                elif isinstance(message, Numbers):
                    worker.told(message.ticket, message.text)
                elif isinstance(message, AskNumbers):
                    nursery.start_soon(self._gather, worker, message.ticket)

    async def _gather(self, asker: Worker, ticket: int) -> None:
        texts: dict[int, bytes] = {}

        async def ask(other: Worker) -> None:
            text = await other.numbers(NUMBERS_WITHIN)
            if text is not None:
                texts[other.number] = text

        async with trio.open_nursery() as nursery:
            for slot in self._slots:
                if slot.current is not None and slot.number != asker.number and slot.current.answers:
                    nursery.start_soon(ask, slot.current)
        asker.line.post(Gathered(ticket, texts))

    # ---- all of them ----

    async def _start(self, ready: Callable[[], None]) -> None:
        for slot in self._slots:
            if not self._asked.is_set():
                slot.current = await self._launched(slot, after_crash=self._after_crash)
                if slot.current is None:
                    self._refused = True
                    self._asked.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_asked, nursery.cancel_scope)
            for slot in self._slots:
                await slot.served.wait()
            nursery.cancel_scope.cancel()
        if not self._asked.is_set():
            self._serving = True
            self._tell_who_lives()  # while they were starting they heard of fewer, and /healthz called them degraded
            ready()

    async def _cancel_when_asked(self, scope: trio.CancelScope) -> None:
        await self._asked.wait()
        scope.cancel()

    async def _beat(self) -> None:
        """Find out who hangs. The others take his newcomers; after half a minute he is of no use to his clients.

        Who is still starting answers, too, as soon as he has imported what he is made of; while he waits for the
        database, for example. Else one that hangs before it is ready would be missing for ever.
        """
        while True:
            await trio.sleep(BEAT_EVERY)
            self._tell_who_lives()
            for worker in self.living:
                if not worker.leaving:
                    serves = worker.ready.is_set()
                    if serves and worker.unanswered == SILENT_BEATS:
                        log.error("a worker does not answer", extra={"worker": worker.number, "pid": worker.pid})
                    elif worker.unanswered >= (HOPELESS_BEATS if serves else STARTING_BEATS):
                        log.error("a worker hangs and is killed", extra={"worker": worker.number, "pid": worker.pid})
                        worker.kill()

    def _tell_who_lives(self) -> None:
        crew = [slot.current for slot in self._slots if slot.current is not None and slot.current.answers]
        fewest = min((worker.connections for worker in crew), default=0)
        for worker in self.living:
            if not worker.leaving:
                worker.beat(len(crew), fewest)

    async def _roll_when_asked(self) -> None:
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted = trio.Event()
            log.info("rolling restart")
            for slot in self._slots:
                if self._asked.is_set():
                    return
                if not await self._renew(slot):
                    log.error("the rolling restart is broken off", extra={"worker": slot.number})
                    break
            else:
                log.info("all workers are new")

    async def _renew(self, slot: Slot) -> bool:
        """Whether the new one is ready; only then the old one goes."""
        async with slot.changing:
            old = slot.current
            fresh = await self._launched(slot, after_crash=False)
            if fresh is None:
                return False
            with trio.move_on_after(READY_WITHIN):
                await fresh.settled.wait()
            if not fresh.answers:
                fresh.leaving = True
                fresh.kill()
                return False
            slot.current = fresh
            if old is not None:
                old.ask_to_stop()
                await self._gone([old], STOP_WITHIN)
            return True

    async def _stop(self) -> None:
        while self._launching:  # noqa: ASYNC110 - a fork takes milliseconds; none is begun any more
            await trio.sleep(0.01)
        for worker in self.living:
            worker.ask_to_stop()
        await self._gone(list(self.living), STOP_WITHIN)

    async def _gone(self, workers: list[Worker], within: Seconds) -> None:
        with trio.move_on_after(within):
            for worker in workers:
                await worker.ended.wait()
        for worker in workers:
            if not worker.ended.is_set():
                log.error("a worker did not stop in time", extra={"worker": worker.number, "seconds": within})
                worker.kill()
                await worker.ended.wait()
