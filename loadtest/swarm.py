"""`python -m loadtest.swarm chat|idle --file USERS --seconds S`: starts engine processes and adds up what they saw."""

import argparse
import contextlib
import os
import resource
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from loadtest import native, report, roster
from loadtest.plan import Mode, Plan

RESERVE = 64  # descriptors a process needs for itself
FIRST_SOURCE = 2  # engine k connects from 127.0.0.(2 + k): 28,000 ports each


class SwarmError(Exception):
    """The swarm could not run; nothing was measured."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks of a swarm; `plans` makes the engines' plans of it."""

    file: Path
    seconds: float
    url: str = "ws://127.0.0.1:8000/ws"
    mode: Mode = "closed"
    connections: int = 0  # 0: everybody in the file
    processes: int = 1
    in_flight: int = 1
    per: Literal["pair", "user"] = "pair"
    rate: float = 0.0
    warmup: float = 0.0
    payload_bytes: int = 100
    messages: int = 0
    auth: Literal["header", "hello"] = "header"
    engine: Literal["auto", "native", "python"] = "auto"
    slot: float = 1.0
    stall: float = 5.0
    quiet: float = 5.0
    tick_us: int = 200


def _target(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    if parts.scheme != "ws" or not parts.hostname:
        raise SwarmError(
            f"{url} is not a ws:// address (TLS belongs to a proxy in front, which is not what is measured)"
        )
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, parts.port or 80, parts.path or "/ws"


def _shares(lines: list[roster.Line], processes: int) -> list[tuple[int, int]]:
    """Neighbouring lines per process; a conversation never spans two, so each can account for its messages exactly."""
    starts = [i for i in range(len(lines)) if i == 0 or lines[i].conversation_id != lines[i - 1].conversation_id]
    cuts = [starts[len(starts) * k // processes] for k in range(processes)] + [len(lines)]
    return [(cuts[k], cuts[k + 1] - cuts[k]) for k in range(processes) if cuts[k + 1] > cuts[k]]


def _whole_conversations(lines: list[roster.Line], connections: int) -> list[roster.Line]:
    """At most so many users, and nobody whose peer is not there."""
    if not connections or connections >= len(lines):
        return lines
    stop = connections
    while stop and lines[stop].conversation_id == lines[stop - 1].conversation_id:
        stop -= 1
    return lines[:stop]


def plans(wish: Wish, lines: list[roster.Line], run: int) -> list[Plan]:
    host, port, path = _target(wish.url)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(hard if hard != resource.RLIM_INFINITY else 1 << 20, soft) - RESERVE
    shares = _shares(lines, max(wish.processes, -(-len(lines) // room)))
    slot_ms = max(round(wish.slot * 1000), round(wish.seconds * 1000) // 500, 10)
    return [
        Plan(
            host=host,
            port=port,
            path=path,
            file=str(wish.file.absolute()),
            skip=skip,
            lines=count,
            run=run,
            mode=wish.mode,
            per=wish.per,
            in_flight=wish.in_flight,
            rate_milli=round(wish.rate * 1000 * count / len(lines)),
            seconds_ms=round(wish.seconds * 1000),
            warmup_ms=round(wish.warmup * 1000),
            payload_bytes=wish.payload_bytes,
            messages=-(-wish.messages * count // len(lines)),
            auth=wish.auth,
            source=f"127.0.0.{FIRST_SOURCE + k}" if host.startswith("127.") else "",
            slot_ms=slot_ms,
            stall_ms=round(wish.stall * 1000),
            quiet_ms=round(wish.quiet * 1000),
            tick_us=wish.tick_us,
        )
        for k, (skip, count) in enumerate(shares)
    ]


def _command(wish: Wish, lines: list[roster.Line]) -> list[str]:
    python = [sys.executable, "-m", "loadtest.engine"]
    groups = any(line.in_group for line in lines)
    if wish.engine == "python" or (wish.engine == "auto" and groups):
        return python
    program = native.engine()
    if program is None or groups:
        if wish.engine == "native":
            raise SwarmError("the native engine needs gcc and Linux, and pairs only")
        return python
    return [str(program)]


def _ready_line(process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    line = output.readline()
    if not line.startswith(b"ready "):
        raise SwarmError(f"an engine ended before it was ready: exit code {process.wait()}")


class Processes:
    """The engine processes of one swarm: started together, told to go together, ended whatever happens."""

    def __init__(self, command: list[str], plans: list[Plan]) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))  # inherited by the engines
        root = str(Path(__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, os.path.join(root, "http")))}
        self._plans = plans
        self._running = [
            subprocess.Popen(
                [*command, *plan.arguments()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            for plan in plans
        ]

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def wait_until_ready(self) -> None:
        """Each engine gives up by itself after `connect_ms`, so this ends."""
        for process in self._running:
            assert process.stdout is not None
            _ready_line(process, process.stdout)

    def go(self) -> None:
        for process in self._running:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died: its missing result says so
                process.stdin.write(b"go\n")
                process.stdin.flush()

    def results(self) -> list[report.EngineResult]:
        """Bounded by the plan: the run, the drain, and some time for a result of megabytes."""
        deadline = time.monotonic() + max((p.seconds_ms + p.drain_ms) / 1000 for p in self._plans) + 30
        decoded = []
        for process in self._running:
            try:
                output, _ = process.communicate(timeout=max(deadline - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                raise SwarmError("an engine did not end by itself after its run and its drain") from None
            if process.returncode != 0:
                raise SwarmError(f"an engine ended with exit code {process.returncode}")
            decoded.append(msgspec.json.decode(output, type=report.EngineResult))
        return decoded

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._running]


class Watcher(Protocol):
    """Whoever measures beside the swarm, between everybody being connected and the last result."""

    def ready(self, engine_pids: list[int]) -> None: ...

    def over(self) -> None: ...


def run(wish: Wish, watcher: Watcher | None = None) -> report.SwarmReport:
    """The whole of it: connect, go, account."""
    lines = _whole_conversations(roster.read(wish.file), wish.connections)
    if not lines:
        raise SwarmError(f"{wish.file} has no users to connect")
    run_id = secrets.randbits(32)
    made = plans(wish, lines, run_id)
    with Processes(_command(wish, lines), made) as processes:
        processes.wait_until_ready()
        if watcher is not None:
            watcher.ready(processes.pids)
        processes.go()
        results = processes.results()
        if watcher is not None:
            watcher.over()
    wrong = [reason for result in results for reason in report.wrong_samples(result, lines, run_id, wish.payload_bytes)]
    return report.merge(wish.mode, wish.warmup, results, wrong)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.swarm", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, words in (("chat", "send messages and account for each"), ("idle", "connect and stay")):
        one = kinds.add_parser(kind, help=words)
        one.add_argument("--file", type=Path, required=True, help="what loadtest.provision wrote")
        one.add_argument("--seconds", type=float, required=True)
        one.add_argument("--url", default="ws://127.0.0.1:8000/ws")
        one.add_argument("--connections", type=int, default=0, help="users of the file to connect (default: all)")
        one.add_argument("--processes", type=int, default=1)
        one.add_argument("--auth", choices=("header", "hello"), default="header")
        one.add_argument("--engine", choices=("auto", "native", "python"), default="auto")
        one.add_argument("--out", type=Path, help="write the result as JSON, too")
        one.add_argument("--tick-us", type=int, default=200, help="look at the sockets not oftener than this")
        if kind == "chat":
            one.add_argument("--in-flight", type=int, default=1, help="closed loop: messages under way per lane")
            one.add_argument("--per", choices=("pair", "user"), default="pair", help="closed loop: what a lane is")
            one.add_argument("--rate", type=float, default=0, help="open loop: messages a second of the whole swarm")
            one.add_argument("--warmup", type=float, default=0, help="seconds whose latency is not counted")
            one.add_argument("--payload-bytes", type=int, default=100)
            one.add_argument("--messages", type=int, default=0, help="stop after about so many")
    return parser


def main() -> int:
    given = vars(_parser().parse_args())
    out, kind = given.pop("out"), given.pop("kind")
    mode = "idle" if kind == "idle" else "open" if given.get("rate") else "closed"
    try:
        result = run(Wish(**{**given, "mode": mode}))
    except (SwarmError, roster.RosterError, native.NativeError, OSError) as error:
        print(f"swarm: {error}", file=sys.stderr)
        return 2
    print(report.in_words(result))
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
