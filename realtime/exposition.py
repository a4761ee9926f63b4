"""Which numbers of a node's parts are metrics, and under which names."""

from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from actors.metrics import Metrics, Reading
from actors.shapes.frames import FrameClass
from actors.system import ActorSystem
from realtime.gateway.counters import GatewayCounters


class JournalNumbers(Protocol):
    """What a journal counts; see storage/journal/counters.py."""

    flushes: int
    units: int
    rows: int
    messages: int
    fenced: int
    contended: int
    repeated: int
    taken: int
    poisoned: int
    refused: int
    unanswered: int
    retries: int
    proved: int


class Journal(Protocol):
    @property
    def counters(self) -> JournalNumbers: ...
    @property
    def waiting_rows(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def queue_age(self) -> float: ...


JOURNAL_TEXTS = {
    "flushes": "Transactions committed",
    "units": "Batches of actors committed",
    "rows": "Rows committed",
    "fenced": "Batches decided on a revision that was not the newest, and decided again",
    "contended": "Batches whose row another flush held, moved to the next flush",
    "repeated": "Sends that were stored before",
    "taken": "Births and names that somebody else had",
    "poisoned": "Batches that PostgreSQL cannot store",
    "refused": "Batches turned away because too much waits",
    "unanswered": "Batches that ended with an unknown outcome",
    "retries": "Flushes repeated because PostgreSQL did not answer",
    "proved": "Commits whose answer was lost, proved by their receipt",
}


def expose_journal(metrics: Metrics, journal: Journal) -> None:
    for name, text in JOURNAL_TEXTS.items():
        metrics.callback(f"journal_{name}_total", text, _number(journal.counters, name))
    metrics.callback("journal_waiting_rows", "Rows that wait for their commit", lambda: journal.waiting_rows)
    metrics.callback("journal_waiting_bytes", "Bytes that wait for their commit", lambda: journal.waiting_bytes)
    metrics.callback("journal_queue_age_seconds", "How long the oldest has waited", lambda: journal.queue_age)
    metrics.callback("messages_total", "Messages committed", _number(journal.counters, "messages"))


def expose_tasks(metrics: Metrics) -> None:
    """Read inside the loop, so whoever reads is one of them."""
    metrics.callback("trio_tasks", "Tasks alive", lambda: trio.lowlevel.current_statistics().tasks_living)


SWEEP_TEXTS = {
    "rounds": "Looks at what other nodes committed",
    "failures": "Looks that failed because PostgreSQL was away",
    "heads": "Conversations and users that other nodes changed",
    "events": "Events of other nodes' commits, handed to users of this node",
    "resyncs": "Times that every connection was closed, because too much was committed elsewhere",
    "unpublished": "Own commits that their actor failed to tell of (bugs)",
}
BUS_TEXTS = {
    "published": "Calls to other nodes that something was committed",
    "heard": "Calls of other nodes",
    "losses": "Connections with Redis that were lost or refused",
}


def expose_sweep(metrics: Metrics, counters: object, others: Callable[[], float]) -> None:
    for name, text in SWEEP_TEXTS.items():
        metrics.callback(f"sweep_{name}_total", text, _number(counters, name))
    metrics.callback("nodes_beside", "Other nodes that were alive at the last look", others)


def expose_bus(metrics: Metrics, counters: object, connected: Callable[[], float]) -> None:
    for name, text in BUS_TEXTS.items():
        metrics.callback(f"bus_{name}_total", text, _number(counters, name))
    metrics.callback("bus_connected", "Whether Redis can be spoken and listened to", connected)


def expose_gateway(metrics: Metrics, counters: GatewayCounters) -> None:
    for name, text in {
        "connections": "Open connections of any kind",
        "websockets": "Open WebSockets",
        "http_connections": "Open connections with the HTTP server",
        "unauthenticated": "Connections nobody has signed in on yet",
    }.items():
        metrics.callback(f"gateway_{name}", text, _number(counters, name))
    for name, text in {
        "accepted": "Connections accepted",
        "handshakes": "WebSockets opened",
        "frames_in": "Messages read",
        "frames_out": "Messages sent",
        "bytes_in": "Bytes read",
        "bytes_out": "Bytes sent",
        "reads": "Reads",
        "sends": "System calls that sent",
        "short_sends": "Sends that the socket took only in part",
        "pings_sent": "Pings sent",
        "resets": "Sockets reset because a goodbye was not taken",
        "http_write_timeouts": "HTTP clients that stopped reading",
        "peer_errors": "Exceptions out of a session (bugs)",
        "edge_errors": "Exceptions of the edge itself (bugs)",
        "http_shed": "Idle HTTP connections ended for a newcomer",
        "http_violations": "HTTP connections ended for breaking the protocol",
    }.items():
        metrics.callback(f"gateway_{name}_total", text, _number(counters, name))
    by_label: dict[str, tuple[str, str, Callable[[], Iterable[tuple[object, float]]]]] = {
        "refused": ("Connections refused", "reason", counters.refused.items),
        "closed": ("WebSockets closed", "code", counters.closed.items),
        "lost": ("WebSockets ended", "reason", counters.lost.items),
        "accept_errors": ("Failed accepts", "error", counters.accept_errors.items),
        "dropped": ("Frames dropped for a slow reader", "class", lambda: _classes(counters)),
    }
    for name, (text, label, items) in by_label.items():
        metrics.callbacks(f"gateway_{name}_total", text, (label,), _labelled(items))


def expose_actors(metrics: Metrics, system: ActorSystem) -> None:
    for name, text in {
        "awake": "Actors in memory",
        "waiting": "Commands waiting in mailboxes",
        "deepest": "Commands in the fullest mailbox",
    }.items():
        metrics.callbacks(f"actors_{name}", text, ("kind",), _census(system, name))
    metrics.callbacks(
        "actors_oldest_seconds", "How long the oldest command has waited", ("kind",), _census(system, "oldest")
    )
    for name, text in {
        "activations": "Actors woken",
        "passivations": "Actors sent to sleep",
        "crashes": "Actors that raised",
        "gave_up": "Actors that crashed too often",
        "refused": "Commands refused by a full mailbox",
    }.items():
        metrics.callbacks(f"actors_{name}_total", text, ("kind",), _census(system, name))


def _number(source: object, name: str) -> Callable[[], float]:
    getattr(source, name)  # a name that is not there fails at the start, not at the first scrape
    return lambda: float(getattr(source, name))


def _census(system: ActorSystem, name: str) -> Callable[[], Reading]:
    return lambda: [((census.kind,), float(getattr(census, name))) for census in system.census()]


def _classes(counters: GatewayCounters) -> Iterable[tuple[object, float]]:
    return [(kind.name.lower(), counters.dropped[kind]) for kind in FrameClass]


def _labelled(items: Callable[[], Iterable[tuple[object, float]]]) -> Callable[[], Reading]:
    return lambda: [((str(label),), float(number)) for label, number in items()]
