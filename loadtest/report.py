"""Results of engine processes: read, their samples read strictly, added up, judged and told in words."""

from collections import Counter
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from loadtest import identity
from loadtest.histogram import Histogram
from loadtest.ledger import Totals
from loadtest.roster import Line

Moment = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class SparseHistogram(msgspec.Struct):
    most_ns: int
    counts: dict[str, int]


class SlotResult(msgspec.Struct):
    sent: int
    received: int
    delivery: SparseHistogram


class EngineResult(Totals, kw_only=True):
    """What an engine prints at its end."""

    engine: Literal["python", "native"]
    connections: int
    ready: int
    connect_seconds: float
    processor_seconds: float
    seconds: float
    slot_seconds: float
    errors: dict[str, int]
    closes: dict[str, int]
    ack: SparseHistogram
    delivery: SparseHistogram
    slots: list[SlotResult]
    samples: list[tuple[int, Literal["a", "d"], str]]


# -- the strict reading of samples: written from the protocol's page, not with the server's own structs ----------------


class _OkPayload(msgspec.Struct):
    message_id: UUID
    seq: Positive
    rev: Positive
    created_at: Moment
    duplicate: bool


class _Ok(msgspec.Struct, tag_field="type", tag="ok"):
    ref: Positive
    payload: _OkPayload


class _Message(msgspec.Struct):
    id: UUID
    conversation_id: UUID
    seq: Positive
    rev: Positive
    sender_id: UUID
    sender_name: str
    client_id: UUID
    text: str
    created_at: Moment


class _Created(msgspec.Struct, tag_field="type", tag="message.created"):
    payload: _Message


_decode_ok = msgspec.json.Decoder(_Ok).decode
_decode_created = msgspec.json.Decoder(_Created).decode


def wrong_samples(result: EngineResult, lines: list[Line], run: int, payload_bytes: int) -> list[str]:
    """Sampled frames that are not what PROTOCOL.md says, each with its reason; the hot loops only search in them."""
    wrong: list[str] = []
    for user, kind, encoded in result.samples:
        frame = bytes.fromhex(encoded)
        try:
            if kind == "a":
                _decode_ok(frame)
                continue
            message = _decode_created(frame).payload
        except msgspec.DecodeError as error:
            wrong.append(f"{error}: {frame[:200]!r}")
            continue
        who = identity.parse(str(message.client_id))
        if who is None or who.run != run:
            continue  # somebody else's message
        if (str(message.sender_id), str(message.conversation_id)) != (
            lines[who.user].user_id,
            lines[user].conversation_id,
        ):
            wrong.append(f"not from whom or where it says: {frame[:200]!r}")
        elif message.text != "k" * payload_bytes:
            wrong.append(f"another text than was sent: {frame[:200]!r}")
    return wrong


class Latency(msgspec.Struct):
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, histogram: Histogram) -> "Latency":
        points = [round(histogram.percentile_ms(share), 3) for share in (0.5, 0.95, 0.99, 1.0)]
        return cls(histogram.total, *points)


class SlotReport(msgspec.Struct):
    """One stretch of time of the run."""

    at_seconds: float
    sent_per_second: float
    received_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class SwarmReport(msgspec.Struct):
    """What a swarm measured, with the accounting that makes it count."""

    engine: str
    mode: str
    processes: int
    connections: int
    ready: int
    connects_per_second: float
    seconds: float
    delivered_per_second: float
    processor_us_per_message: float
    totals: Totals
    errors: dict[str, int]
    closes: dict[str, int]
    ack: Latency
    delivery: Latency
    slots: list[SlotReport]
    delivery_counts: dict[str, int]  # the whole distribution, sparse, in the buckets of histogram.py
    wrong_samples: list[str]
    problems: list[str]


def problems_of(totals: Totals, closes: Counter[str], connections: int, ready: int, wrong: list[str]) -> list[str]:
    """Everything that must not happen; empty means that the accounts are in order."""
    found = [f"{connections - ready} of {connections} connections did not get ready"] if ready != connections else []
    bad = (
        ("lost", "lost"),
        ("acknowledged_lost", "lost although acknowledged"),
        ("unacknowledged", "never answered"),
        ("acknowledged_twice", "acknowledged twice"),
        ("received_twice", "received twice"),
        ("out_of_order", "out of order"),
        ("reordered", "in another order than sent"),
        ("seq_missing", "holes in seq"),
        ("refused", "refused"),
        ("refused_received", "refused and yet delivered"),
        ("invented", "never sent"),
        ("misdelivered", "delivered to the wrong place"),
        ("strange", "frames that cannot be read"),
        ("stuck", "could not be sent"),
        ("stalled", "given up after a stall"),
    )
    found += [f"{getattr(totals, name)} {words}" for name, words in bad if getattr(totals, name)]
    found += [f"{count} connections closed with {code}" for code, count in closes.items()]
    found += [f"{len(wrong)} sampled frames are not what the protocol says, first: {wrong[0]}"] if wrong else []
    return found


def merge(mode: str, warmup_seconds: float, results: list[EngineResult], wrong: list[str]) -> SwarmReport:
    """Add processes up. Pairs never span two processes, so sums are exact."""
    totals = Totals(**{name: sum(getattr(r, name) for r in results) for name in Totals.__struct_fields__})
    closes, errors = Counter[str](), Counter[str]()
    ack, delivery = Histogram(), Histogram()
    for result in results:
        closes.update(result.closes)
        errors.update(result.errors)
        ack.add(result.ack.most_ns, result.ack.counts)
        delivery.add(result.delivery.most_ns, result.delivery.counts)
    connections, ready = sum(r.connections for r in results), sum(r.ready for r in results)
    seconds = max(r.seconds for r in results)
    spent = sum(r.processor_seconds for r in results)
    return SwarmReport(
        engine=results[0].engine,
        mode=mode,
        processes=len(results),
        connections=connections,
        ready=ready,
        connects_per_second=round(ready / max(1e-9, *(r.connect_seconds for r in results)), 1),
        seconds=round(seconds, 3),
        delivered_per_second=round(totals.in_window / max(seconds - warmup_seconds, 1e-9), 1),
        processor_us_per_message=round(spent / totals.received * 1e6, 2) if totals.received else 0.0,
        totals=totals,
        errors=dict(errors),
        closes=dict(closes),
        ack=Latency.of(ack),
        delivery=Latency.of(delivery),
        slots=_merge_slots(results, seconds),
        delivery_counts=delivery.sparse(),
        wrong_samples=wrong[:20],
        problems=problems_of(totals, closes, connections, ready, wrong),
    )


def _merge_slots(results: list[EngineResult], seconds: float) -> list[SlotReport]:
    width = results[0].slot_seconds
    merged: list[SlotReport] = []
    for index in range(min(len(r.slots) for r in results)):
        covered = min(width, seconds - index * width)
        if covered < width / 10:  # what trickled in after the end, or a sliver that would look like a dip
            break
        histogram = Histogram()
        for result in results:
            histogram.add(result.slots[index].delivery.most_ns, result.slots[index].delivery.counts)
        points = [round(histogram.percentile_ms(share), 3) for share in (0.5, 0.95, 0.99)]
        sent, received = (sum(getattr(r.slots[index], name) for r in results) for name in ("sent", "received"))
        merged.append(
            SlotReport(round(index * width, 3), round(sent / covered, 1), round(received / covered, 1), *points)
        )
    return merged


def in_words(report: SwarmReport) -> str:
    t = report.totals
    lines = [
        f"{report.ready} of {report.connections} connections ready, {report.connects_per_second:,.0f}/s",
        f"{report.processes} {report.engine} process(es), {report.mode} loop, {report.seconds:.1f} s",
        f"sent {t.sent:,}  acknowledged {t.acknowledged:,}  received {t.received:,}  refused {t.refused:,}",
        f"lost {t.lost:,} (acknowledged {t.acknowledged_lost:,})  unacknowledged {t.unacknowledged:,}",
        f"received twice {t.received_twice:,}  acknowledged twice {t.acknowledged_twice:,}",
        f"out of order {t.out_of_order + t.reordered:,}  seq missing {t.seq_missing:,}",
        f"delivered {report.delivered_per_second:,.0f}/s; client {report.processor_us_per_message:.1f} µs a message",
    ]
    for name, latency in (("ack", report.ack), ("delivery", report.delivery)):
        if latency.count:
            lines.append(
                f"{name:9s} p50 {latency.p50_ms:.2f}  p95 {latency.p95_ms:.2f}  p99 {latency.p99_ms:.2f}  "
                f"max {latency.max_ms:.2f} ms  ({latency.count:,} measured)"
            )
    if report.errors or report.closes:
        lines.append(f"errors {report.errors}  closes {report.closes}")
    lines += [f"NOT IN ORDER: {problem}" for problem in report.problems] or ["accounts in order"]
    return "\n".join(lines)


def to_builtins(report: SwarmReport) -> dict[str, Any]:
    """Plain values for a result file."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain
