"""One process of the swarm in Python: opens connections, keeps the pace, prints its result; as native/chat.c does."""

import os
import random
import resource
import select
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from loadtest import roster
from loadtest.connection import Connection, State
from loadtest.ledger import ABANDONED, DONE, REFUSED, Ledger
from loadtest.plan import Plan
from loadtest.user import User

SECOND: Final = 1_000_000_000
TEND_NS: Final = SECOND // 20


class Lane:
    """Sends a message when the one before it is acknowledged and received; its users take turns."""

    __slots__ = ("in_flight", "owed", "progress_ns", "resume_ns", "turn", "users")

    def __init__(self) -> None:
        self.users: list[User] = []
        self.in_flight = self.owed = self.turn = 0
        self.progress_ns = self.resume_ns = 0


class Engine:
    """Owns the epoll, the users, the lanes and the ledger of this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger(plan.seconds_ms // plan.slot_ms + 1, plan.slot_ms)
        self.epoll = select.epoll()
        self.mask = bytes((plan.run >> 8 * i & 0xFF) | 1 for i in range(4))
        self.run_prefix = f"{plan.run:08x}".encode()
        self.end_ns = 0
        self._ready = self._pending = self._gone = self._turned = 0
        self._by_fd: dict[int, User] = {}
        self._retry: list[User] = []
        self._users = [
            User(self, plan.skip + i, line)
            for i, line in enumerate(roster.read(Path(plan.file), plan.skip, plan.lines))
        ]
        if len(self._users) != plan.lines:
            raise roster.RosterError(
                f"{plan.file} has only {len(self._users)} of {plan.lines} lines from line {plan.skip + 1} on"
            )
        self._lanes = self._make_lanes()

    def _make_lanes(self) -> list[Lane]:
        members: dict[str, list[User]] = {}
        for user in self._users:
            members.setdefault(user.line.conversation_id, []).append(user)
        lanes: list[Lane] = []
        for users in members.values():
            for user in users:
                user.others = len(users) - 1
                user.marks = {other.index: bytearray() for other in users if other is not user}
            shared = [users] if self.plan.per == "pair" else [[user] for user in users]
            for owners in shared:
                lane = Lane()
                lane.users = owners
                for user in owners:
                    user.lane = len(lanes)
                lanes.append(lane)
        return lanes

    def user(self, index: int) -> User:
        return self._users[index - self.plan.skip]

    # -- connections --------------------------------------------------------------------------------------------------

    def moved(self, connection: Connection, before: State) -> None:
        """Keep count of who is where."""
        assert isinstance(connection, User)
        open_before = before not in (State.WAITING, State.GONE)
        if before is State.READY:
            self._ready -= 1
        elif open_before:
            self._pending -= 1
        if connection.state is State.READY:
            self._ready += 1
        elif connection.state is State.GONE:
            self._gone += 1
        elif connection.state is State.WAITING:
            self._retry.append(connection)
        else:
            self._pending += 1
        if connection.state is State.CONNECTING:
            self._by_fd[connection.fd] = connection
        elif connection.state in (State.WAITING, State.GONE):
            self._by_fd.pop(connection.fd, None)

    def connect_all(self) -> bool:
        """Everybody signed in and caught up; False when somebody could not."""
        deadline = time.perf_counter_ns() + self.plan.connect_ms * 1_000_000
        to_open = deque(self._users)
        while self._ready + self._gone < len(self._users) and time.perf_counter_ns() < deadline:
            while to_open and self._pending < self.plan.window:
                to_open.popleft().open()
            self.turn(0.01)
            now = time.perf_counter_ns()
            due = [user for user in self._retry if user.retry_ns < now]
            self._retry = [user for user in self._retry if user.retry_ns >= now]
            to_open.extend(due)
        return self._ready == len(self._users)

    def turn(self, wait_seconds: float) -> None:
        """Everything that is ready, but not oftener than once per tick: the server needs the same cores."""
        rest = self._turned + self.plan.tick_us * 1000 - time.perf_counter_ns()
        if rest > 0:
            time.sleep(rest / SECOND)
        by_fd = self._by_fd
        ready = self.epoll.poll(wait_seconds, 512)
        self._turned = time.perf_counter_ns()
        for fd, events in ready:
            user = by_fd.get(fd)
            if user is not None:
                user.handle(events)

    def wait_for_go(self) -> bool:
        """While the others connect, this one's sockets stay tended: pings are answered."""
        os.set_blocking(0, False)
        while True:
            try:
                return bool(os.read(0, 16))
            except BlockingIOError:
                self.turn(0.01)

    # -- pacing -------------------------------------------------------------------------------------------------------

    def _go(self, lane: Lane, now: int) -> None:
        if now >= self.end_ns:
            return
        lane.progress_ns = now
        user = lane.users[lane.turn % len(lane.users)]
        lane.turn += 1
        if user.send_message(0):
            lane.in_flight += 1

    def finished(self, sender: User, number: int, now: int) -> None:
        """A message has reached everybody, or was refused: its lane goes on."""
        flags = sender.outbound.flags
        if flags[number - 1] & DONE:
            return
        flags[number - 1] |= DONE
        while sender.outbound.low < len(flags) and flags[sender.outbound.low] & DONE:
            sender.outbound.low += 1
        if self.plan.mode != "closed" or flags[number - 1] & ABANDONED:
            return
        lane = self._lanes[sender.lane]
        lane.in_flight -= 1
        if flags[number - 1] & REFUSED:
            lane.owed += 1
            lane.resume_ns = now + SECOND // 10  # a refusal is not answered with a storm
        else:
            self._go(lane, now)

    def _tend_lanes(self, now: int) -> None:
        """A lane whose message never comes back would stand still for ever: it is given up and the next one sent."""
        for lane in self._lanes:
            if lane.in_flight and now > lane.progress_ns + self.plan.stall_ms * 1_000_000:
                for user in lane.users:
                    flags = user.outbound.flags
                    for i in range(user.outbound.low, len(flags)):
                        if not flags[i] & (DONE | ABANDONED):
                            flags[i] |= ABANDONED
                            self.ledger.totals.stalled += 1
                            lane.in_flight -= 1
                            lane.owed += 1
            if lane.owed and now >= lane.resume_ns:
                owed, lane.owed = lane.owed, 0
                for _ in range(owed):
                    self._go(lane, now)

    def run(self) -> None:
        begun = self.ledger.begun_ns = time.perf_counter_ns()
        self.end_ns = begun + self.plan.seconds_ms * 1_000_000
        if self.plan.mode == "closed":
            self._run_closed(begun)
        elif self.plan.mode == "open":
            self._run_open(begun)
        else:
            while time.perf_counter_ns() < self.end_ns:
                self.turn(0.1)
        self.end_ns = min(self.end_ns, time.perf_counter_ns())
        self._drain()

    def _all_sent(self) -> bool:
        return 0 < self.plan.messages <= self.ledger.totals.sent

    def _run_closed(self, now: int) -> None:
        for lane in self._lanes:
            for _ in range(self.plan.in_flight):
                self._go(lane, now)
        tended = now
        while now < self.end_ns and not self._all_sent():
            self.turn(min(0.05, (self.end_ns - now) / SECOND))
            now = time.perf_counter_ns()
            if now > tended + TEND_NS:
                tended = now
                self._tend_lanes(now)

    def _run_open(self, now: int) -> None:
        """Latency counts from when a message was due, however late this process gets round to sending it."""
        begun, due_n, gap = now, 0, 1000 * SECOND / self.plan.rate_milli
        pick = random.Random(self.plan.run).randrange
        while now < self.end_ns and not self._all_sent():
            due = begun
            while (due := begun + int(due_n * gap)) <= now:
                self._users[pick(len(self._users))].send_message(due)
                due_n += 1
            self.turn(min(0.05, (due - now) / SECOND))
            now = time.perf_counter_ns()

    def _drain(self) -> None:
        """Wait for what is under way, and a tenth of the quiet time longer: what comes a second time comes late."""
        totals = self.ledger.totals
        moved = time.perf_counter_ns()
        limit = moved + self.plan.drain_ms * 1_000_000
        expected = sum(sum(user.outbound.waiting) for user in self._users) + totals.received
        before = -1
        while (now := time.perf_counter_ns()) < min(limit, moved + self.plan.quiet_ms * 1_000_000):
            self.turn(0.02)
            done = (
                totals.acknowledged
                + totals.received
                + totals.refused
                + totals.acknowledged_twice
                + totals.received_twice
            )
            if done != before:
                before, moved = done, now
            whole = totals.acknowledged + totals.refused >= totals.sent and totals.received + totals.refused >= expected
            if whole and now > moved + self.plan.quiet_ms * 100_000:
                break

    # -- result -------------------------------------------------------------------------------------------------------

    def result(self, connect_seconds: float, ready: int, processor_seconds: float) -> bytes:
        ledger = self.ledger
        for user in self._users:
            ledger.totals.seq_missing += user.numbers.missing
            user.outbound.settle(ledger.totals)
        slots = [
            {
                "sent": slot.sent,
                "received": slot.received,
                "delivery": {"most_ns": slot.delivery.most_ns, "counts": slot.delivery.sparse()},
            }
            for slot in ledger.slots
        ]
        return msgspec.json.encode(
            {
                "engine": "python",
                "connections": len(self._users),
                "ready": ready,
                "connect_seconds": connect_seconds,
                "processor_seconds": processor_seconds,
                "seconds": (self.end_ns - ledger.begun_ns) / SECOND,
                "slot_seconds": self.plan.slot_ms / 1000,
                **msgspec.to_builtins(ledger.totals),
                "errors": ledger.errors,
                "closes": ledger.closes,
                "ack": {"most_ns": ledger.ack.most_ns, "counts": ledger.ack.sparse()},
                "delivery": {"most_ns": ledger.delivery.most_ns, "counts": ledger.delivery.sparse()},
                "slots": slots,
                "samples": ledger.samples,
            }
        )

    @property
    def ready(self) -> int:
        return self._ready

    def say_goodbye(self) -> None:
        for user in self._users:
            if user.state is State.READY:
                user.say_goodbye()


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(arguments: list[str]) -> int:
    engine = Engine(Plan.from_arguments(arguments))
    started = time.perf_counter_ns()
    whole = engine.connect_all()
    connect_seconds = (time.perf_counter_ns() - started) / SECOND
    ready = engine.ready
    print("ready", msgspec.json.encode({"ready": ready, "connect_seconds": connect_seconds}).decode(), flush=True)
    if not engine.wait_for_go():
        return 3
    before = _processor_seconds()
    if whole:
        engine.run()
    spent = _processor_seconds() - before
    engine.say_goodbye()
    sys.stdout.buffer.write(engine.result(connect_seconds, ready, spent) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
