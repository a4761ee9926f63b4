"""One user of the swarm: the messages he sends and what he makes of those he receives."""

import time
from typing import Final, Protocol

import msgspec

from loadtest import identity
from loadtest.connection import Connection, Loop, State, client_frame
from loadtest.histogram import bucket
from loadtest.ledger import DONE, REFUSED, Numbers, Outbound
from loadtest.roster import Line

OUT_LIMIT: Final = 1 << 20


class Swarm(Loop, Protocol):
    """What a user needs beyond what his connection needs."""

    run_prefix: bytes
    end_ns: int

    def user(self, index: int) -> "User": ...

    def finished(self, sender: "User", number: int, now: int) -> None: ...


class _ErrorBody(msgspec.Struct):
    code: str
    outcome: str = "none"


class _Rare(msgspec.Struct):
    """Any frame from the server, read strictly where searching would not do."""

    type: str
    ref: int | str | None = None
    error: _ErrorBody | None = None


_decode_rare: Final = msgspec.json.Decoder(_Rare).decode


def _number(data: bytes, at: int, skip: int) -> int:
    """The digits behind a key that was found at `at`; -1 when it was not found or no digits follow."""
    if at < 0:
        return -1
    start = stop = at + skip
    while stop < len(data) and data[stop] in b"0123456789":
        stop += 1
    return int(data[start:stop]) if stop > start else -1


class User(Connection):
    """His side of the accounting: numbers seen, messages sent, marks of messages received."""

    __slots__ = (
        "_fixed_end", "_fixed_start", "_swarm", "conversation", "index", "lane", "latest", "line", "marks", "numbers",
        "others", "outbound",
    )  # fmt: skip

    def __init__(self, swarm: Swarm, index: int, line: Line) -> None:
        super().__init__(swarm, line.access_token)
        self._swarm = swarm
        self.index = index
        self.line = line
        self.lane = 0
        self.conversation = line.conversation_id.encode()
        self.others = 1  # who receives what he sends
        self.numbers = Numbers()
        self.outbound = Outbound()
        self.marks: dict[int, bytearray] = {}  # per sender: which of his messages came
        self.latest: dict[int, int] = {}  # per sender: his highest number that came
        start = identity.client_id(swarm.plan.run, index, 0)[:24]
        self._fixed_start = f',"payload":{{"conversation_id":"{line.conversation_id}","client_id":"{start}'.encode()
        self._fixed_end = f'","text":"{"k" * swarm.plan.payload_bytes}"}}}}'.encode()

    def send_message(self, due_ns: int) -> bool:
        """The next message of this user; False when it cannot go out any more."""
        swarm = self._swarm
        ledger = swarm.ledger
        totals = ledger.totals
        if swarm.plan.messages and totals.sent >= swarm.plan.messages:
            return False
        if self.state is not State.READY or len(self._out) > OUT_LIMIT:
            totals.stuck += 1
            return False
        at = due_ns or time.perf_counter_ns()
        number = self.outbound.add(at, self.others)
        totals.sent += 1
        ledger.slot_at(at).sent += 1
        payload = b'{"type":"message.send","ref":%d%b%012x%b' % (number, self._fixed_start, number, self._fixed_end)
        self._put(client_frame(1, payload, swarm.mask))
        return True

    def _text(self, data: bytes, body: int, stop: int, now: int) -> None:
        # Searched, not parsed: a quote inside a JSON string is escaped, so `"seq":` can only be a key.
        if data.startswith(b'{"type":"message.created"', body):
            self._received(data, body, stop, now)
        elif data.startswith((b'{"type":"ok"', b'{"ref":'), body) and data.find(b'"type":"ok"', body, stop) > 0:
            self._acknowledged(data, body, stop, now)
        else:
            self._rare(data[body:stop], now)

    def _acknowledged(self, data: bytes, body: int, stop: int, now: int) -> None:
        ledger = self._swarm.ledger
        totals = ledger.totals
        number = _number(data, data.find(b'"ref":', body, stop), 6)
        seq = _number(data, data.find(b'"seq":', body, stop), 6)
        outbound = self.outbound
        if not 0 < number <= len(outbound.acks) or seq < 1:
            totals.strange += 1
            return
        if ledger.wants_sample():
            ledger.samples.append((self.index, "a", data[body:stop].hex()))
        if outbound.acks[number - 1]:
            totals.acknowledged_twice += 1
            return
        outbound.acks[number - 1] = 1
        totals.acknowledged += 1
        if not self.numbers.saw(seq):
            totals.out_of_order += 1
        since = outbound.at_ns[number - 1]
        if since - ledger.begun_ns >= self._swarm.plan.warmup_ms * 1_000_000:
            ledger.ack.record(now - since)
        if not outbound.waiting[number - 1]:
            self._swarm.finished(self, number, now)

    def _received(self, data: bytes, body: int, stop: int, now: int) -> None:
        ledger = self._swarm.ledger
        totals = ledger.totals
        seq = _number(data, data.find(b'"seq":', body, stop), 6)
        at = data.find(b'"client_id":"', body, stop) + 13
        where = data.find(b'"conversation_id":"', body, stop) + 19
        if seq < 1 or at < 13 or where < 19 or at + 36 > stop:
            totals.strange += 1
            return
        if ledger.wants_sample():
            ledger.samples.append((self.index, "d", data[body:stop].hex()))
        if not data.startswith(self.conversation, where):
            totals.misdelivered += 1
            return
        if not data.startswith(self._swarm.run_prefix, at):
            totals.foreign += 1  # somebody else uses the same users; its number is part of the order all the same
            self.numbers.saw(seq)
            return
        try:
            user = int(data[at + 9 : at + 13] + data[at + 15 : at + 18], 16)
            number = int(data[at + 24 : at + 36], 16)
        except ValueError:
            totals.strange += 1
            return
        marks = self.marks.get(user)
        if marks is None:
            totals.misdelivered += 1
            return
        self._count(user, number, seq, marks, now)

    def _count(self, user: int, number: int, seq: int, marks: bytearray, now: int) -> None:
        """A message of this run, in the right conversation."""
        swarm = self._swarm
        ledger = swarm.ledger
        totals = ledger.totals
        sender = swarm.user(user)
        outbound = sender.outbound
        sent = len(outbound.at_ns)
        if not 0 < number <= sent:
            totals.invented += 1
            return
        if len(marks) < sent:
            marks.extend(bytes(sent - len(marks)))
        if marks[number - 1]:
            totals.received_twice += 1
            return
        marks[number - 1] = 1
        totals.received += 1
        if outbound.flags[number - 1] & REFUSED:
            totals.refused_received += 1
        in_order = self.numbers.saw(seq)
        if number > self.latest.get(user, 0):
            self.latest[user] = number
        elif in_order:
            totals.reordered += 1
        if not in_order:
            totals.out_of_order += 1
        since = outbound.at_ns[number - 1]
        if since - ledger.begun_ns >= swarm.plan.warmup_ms * 1_000_000:
            ledger.delivery.record(now - since)
            ledger.slot_at(since).delivery.counts[bucket(now - since)] += 1
        ledger.slot_at(now).received += 1
        if swarm.plan.warmup_ms * 1_000_000 + ledger.begun_ns <= now < swarm.end_ns:
            totals.in_window += 1
        outbound.waiting[number - 1] -= 1
        if not outbound.waiting[number - 1] and outbound.acks[number - 1]:
            swarm.finished(sender, number, now)

    def _rare(self, payload: bytes, now: int) -> None:
        """Everything that is not on the hot path, and the hot frames of a server that orders its keys otherwise."""
        try:
            frame = _decode_rare(payload)
        except msgspec.DecodeError:
            self._swarm.ledger.totals.strange += 1
            return
        if frame.type == "message.created":
            self._received(payload, 0, len(payload), now)
        elif frame.type == "ok":
            self._acknowledged(payload, 0, len(payload), now)
        elif frame.type == "error":
            self._refused(frame, now)
        elif frame.type == "caught_up" and self.state is State.GREETING:
            self._become(State.READY)

    def _refused(self, frame: _Rare, now: int) -> None:
        error = frame.error or _ErrorBody("?")
        self._swarm.ledger.errors[error.code] += 1
        flags = self.outbound.flags
        if not isinstance(frame.ref, int) or not 0 < frame.ref <= len(flags) or error.outcome == "unknown":
            return
        if flags[frame.ref - 1] & (REFUSED | DONE):
            return
        flags[frame.ref - 1] |= REFUSED
        self._swarm.ledger.totals.refused += 1
        self._swarm.finished(self, frame.ref, now)
