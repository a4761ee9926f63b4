"""`make bench`: runs B1, B2 and the idle connections against real nodes and writes a result file and a page."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtest import crowd, node, page, provision, surroundings
from loadtest.jobs import Job, Measured, measure, steps_of_one_send
from loadtest.steps import STEPS_OF_A_SEND
from loadtest.swarm import SwarmError

RESULTS: Final = node.CHECKOUT / "bench" / "results"
PAIRS: Final = 500
# B2 gets what its transport can carry: above that an open loop measures nothing but the length of its own queue.
OPEN_RATES: Final = {"epoll": 8_000.0, "portable": 1_500.0}


class Scale(msgspec.Struct, frozen=True):
    """How long and how large; `--quick` only proves that everything works."""

    closed_seconds: float = 20.0
    open_seconds: float = 20.0
    warmup_seconds: float = 5.0
    idle_connections: int = 15_000
    idle_seconds: float = 10.0


QUICK: Final = Scale(2.0, 2.0, 0.5, 1_000, 1.0)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result file."""

    at: str
    commit: str
    command: str
    machine: dict[str, Any]
    versions: dict[str, str]
    node_settings: dict[str, str]
    database_settings: dict[str, str]
    unlogged_tables: int
    workers: int
    start_seconds: float
    jobs: list[Measured]
    steps: dict[str, list[str]]  # by transport: what the measured node did for one more message

    @property
    def problems(self) -> list[str]:
        found = [f"{one.job.name}: {problem}" for one in self.jobs for problem in one.report["problems"]]
        found += [f"{self.unlogged_tables} tables are UNLOGGED"] if self.unlogged_tables else []
        lanes = [name for name, taken in self.steps.items() if tuple(taken) != STEPS_OF_A_SEND]
        return [*found, *(f"the {name} node did not take the steps of a send" for name in lanes)]


def chat_jobs(number: str, transport: str, scale: Scale) -> list[Job]:
    """The same for both transports but for the rate."""
    rate = OPEN_RATES[transport]
    # A tick of 0.5 ms will do in the closed loop, where latency is what the load makes it: tens of milliseconds.
    return [
        Job(
            name=f"{number} closed", title=f"{PAIRS} pairs, one message in flight each", mode="closed",
            connections=2 * PAIRS, seconds=scale.closed_seconds, warmup=scale.closed_seconds / 10, tick_us=500,
        ),
        Job(
            name=f"{number} open", title=f"{rate:,.0f} messages a second, from when each was due", mode="open",
            connections=2 * PAIRS, seconds=scale.open_seconds, warmup=scale.warmup_seconds, rate=rate,
        ),
    ]  # fmt: skip


def idle_jobs(scale: Scale) -> list[Job]:
    """First a few, so that what the first connection ever costs is not counted as the price of each."""
    few = Job(name="warm", title="", mode="idle", connections=200, seconds=1.0)
    many = Job(
        name="idle", title=f"{scale.idle_connections:,} idle connections", mode="idle",
        connections=scale.idle_connections, seconds=scale.idle_seconds, processes=2,
    )  # fmt: skip
    return [few, many]


def run(scale: Scale, command: str) -> Result:
    """Each job group gets a node that was just started; the database stays."""
    measured: list[Measured] = []
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    machine = surroundings.machine()
    steps: dict[str, list[str]] = {}
    with node.folder() as var:
        file = var / "users"
        with node.running(var, TRANSPORT="epoll") as one:
            pairs = max(PAIRS, scale.idle_connections // 2)
            provision.provision(one.database_url, (var / "secret").read_text().strip(), crowd.Request(pairs), file)
            measured += [measure(job, one, file) for job in idle_jobs(scale)][1:]
            database_settings = surroundings.database_settings(one.database_url)
            unlogged = surroundings.unlogged_tables(one.database_url)
            start_seconds, environment = one.start_seconds, one.environment
        for number, transport in (("B1", "epoll"), ("B2", "portable")):
            with node.running(var, TRANSPORT=transport) as one:
                for job in chat_jobs(number, transport, scale):
                    measured.append(measure(job, one, file))
                    print(told(measured[-1]), flush=True)
                steps[transport] = steps_of_one_send(one, file)
    return Result(
        at=at,
        commit=surroundings.commit(),
        command=command,
        machine=machine,
        versions=surroundings.versions(),
        node_settings=surroundings.node_settings(environment),
        database_settings=database_settings,
        unlogged_tables=unlogged,
        workers=1,
        start_seconds=round(start_seconds, 2),
        jobs=sorted(measured, key=lambda one: one.job.name),
        steps=steps,
    )


def told(one: Measured) -> str:
    """One line for the terminal."""
    delivery, cost = one.report["delivery"], one.cost
    return (
        f"{one.job.name:10s} {one.report['delivered_per_second']:>9,.0f}/s  p50 {delivery['p50_ms']:.1f}"
        f"  p95 {delivery['p95_ms']:.1f}  p99 {delivery['p99_ms']:.1f} ms  server {cost.server_ms_per_1000:.1f} +"
        f" database {cost.database_ms_per_1000:.1f} ms per 1,000  {'in order' if one.in_order else 'NOT IN ORDER'}"
    )


def write(result: Result, folder: Path) -> Path:
    """The file and the page beside it; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{result.at[:10]}-{result.commit.rstrip('+')}"
    (folder / f"{stem}.json").write_bytes(msgspec.json.encode(result) + b"\n")
    written = folder / f"{stem}.html"
    written.write_text(page.render(result), encoding="utf-8")
    return written


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: does everything work?")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file and the page")
    given = parser.parse_args()
    command = "make bench" + (' ARGS="--quick"' if given.quick else "")
    try:
        result = run(QUICK if given.quick else Scale(), command)
    except (node.NodeError, SwarmError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    idle = next(one for one in result.jobs if one.job.mode == "idle")
    print(f"idle       {idle.bytes_per_connection:,.0f} bytes of server memory per connection")
    print(f"written: {write(result, given.out)}")
    for problem in result.problems:
        print(f"NOT IN ORDER: {problem}", file=sys.stderr)
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
