"""The jobs of the benchmark and what each of them measured."""

from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from loadtest import report, swarm, usage
from loadtest.histogram import Histogram
from loadtest.node import Node

SAMPLE_SECONDS: Final = 0.5
SHARES: Final = (*(k / 50 for k in range(1, 50)), 0.99, 0.995, 0.999, 0.9999, 1.0)
Mode = Literal["closed", "open", "idle"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the swarm against a node that nobody else uses."""

    name: str
    title: str
    mode: Mode
    connections: int
    seconds: float
    warmup: float = 0.0
    rate: float = 0.0
    processes: int = 1
    tick_us: int = 200


class Cost(msgspec.Struct, frozen=True):
    """What one job cost, from everybody being connected until the last message was accounted for."""

    server_ms_per_1000: float
    database_ms_per_1000: float
    clients_ms_per_1000: float
    server_cores: float
    database_cores: float
    clients_cores: float
    server_rss_mb: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its result."""

    job: Job
    transport: str
    report: dict[str, Any]
    distribution: list[tuple[float, float]]  # (share of deliveries, at most so many ms)
    cost: Cost
    samples: list[usage.Sample]
    rss_before_bytes: int
    rss_connected_bytes: int

    @property
    def in_order(self) -> bool:
        return not self.report["problems"]

    @property
    def bytes_per_connection(self) -> float:
        return (self.rss_connected_bytes - self.rss_before_bytes) / self.job.connections


def measure(job: Job, node: Node, file: Path) -> Measured:
    """Run one job; the server's memory is read before the first connection, too."""
    before = usage.resident_bytes(node.pid)
    sampler = usage.Sampler(node.pid, node.postmaster, SAMPLE_SECONDS)
    wish = swarm.Wish(
        file=file,
        seconds=job.seconds,
        url=node.socket_url,
        mode=job.mode,
        connections=job.connections,
        processes=job.processes,
        rate=job.rate,
        warmup=job.warmup,
        tick_us=job.tick_us,
        slot=0.5,
    )
    told = swarm.run(wish, sampler)
    samples = sampler.samples
    plain = report.to_builtins(told)
    del plain["delivery_counts"]
    return Measured(
        job=job,
        transport=node.environment.get("TRANSPORT", "auto"),
        report=plain,
        distribution=_distribution(told),
        cost=_cost(samples, told),
        samples=samples,
        rss_before_bytes=before,
        rss_connected_bytes=samples[0].server_rss_bytes if job.mode != "idle" else samples[-1].server_rss_bytes,
    )


class StepsWatcher:
    """Records between everybody being connected and the end, so that the steps are those of the message alone."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.taken: list[str] = []

    def ready(self, engine_pids: list[int]) -> None:
        del engine_pids
        self._node.recording(begin=True)

    def over(self) -> None:
        self.taken = self._node.recording(begin=False)


def steps_of_one_send(node: Node, file: Path) -> list[str]:
    """What the node that was just measured does for one message, after the fact and with the same users."""
    watcher = StepsWatcher(node)
    wish = swarm.Wish(file=file, seconds=2.0, url=node.socket_url, connections=2, messages=1, quiet=2.0)
    swarm.run(wish, watcher)
    return watcher.taken


def _distribution(told: report.SwarmReport) -> list[tuple[float, float]]:
    histogram = Histogram()
    histogram.add(round(told.delivery.max_ms * 1e6), told.delivery_counts)
    return [(share, round(histogram.percentile_ms(share), 3)) for share in SHARES] if histogram.total else []


def _cost(samples: list[usage.Sample], told: report.SwarmReport) -> Cost:
    first, last = samples[0], samples[-1]
    sending = [sample for sample in samples if sample.at_seconds <= told.seconds] or samples
    # The clients' own word about themselves: after their end /proc says nothing any more.
    clients = told.processor_us_per_message * told.totals.received / 1e6
    spent = (last.server - first.server, last.database - first.database, clients)
    seconds = max(sending[-1].at_seconds - first.at_seconds, 1e-9)
    delivered = told.totals.received
    server, database, client = (round(part / delivered * 1e6, 2) if delivered else 0.0 for part in spent)
    return Cost(
        server_ms_per_1000=server,
        database_ms_per_1000=database,
        clients_ms_per_1000=client,
        server_cores=round((sending[-1].server - first.server) / seconds, 3),
        database_cores=round((sending[-1].database - first.database) / seconds, 3),
        clients_cores=round((sending[-1].clients - first.clients) / seconds, 3),
        server_rss_mb=round(max(sample.server_rss_bytes for sample in samples) / 1e6, 1),
    )
