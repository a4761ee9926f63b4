"""`python -m loadtest.logins`: does a flood of logins slow the messages of those who are connected?

Chat at a steady rate, in turns with and without logins beside it: as many as argon2id allows, until the count is done.
The verdict is the ratio of the two p99s, each the median of its rounds.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from loadtest import crowd, node, provision, surroundings, swarm
from loadtest.bench import RESULTS

PASSWORD: Final = "a password of the load test"
ACCOUNTS: Final = 20
AT_ONCE: Final = 20
PAIRS: Final = 100
NICENESS: Final = 15  # of the threads that log in: what they cost is the client's, and not what is measured
BAR: Final = 1.5


class Round(msgspec.Struct, frozen=True):
    logins: int  # answered with 200 while the chat ran
    login_seconds: float
    delivered: int
    p50_ms: float
    p99_ms: float
    problems: list[str]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result file."""

    at: str
    commit: str
    command: str
    rate: float
    seconds: float
    machine: dict[str, object]
    without: list[Round]
    beside: list[Round]
    logins: int
    ratio: float


class Crowd:
    """Clients that sign in as fast as they are let, from being told to go until the count is done."""

    def __init__(self, url: str, count: int) -> None:
        self._address = urlsplit(url).netloc
        self._left = count
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(AT_ONCE)]
        self.done = 0
        self.seconds = 0.0
        self._begun = 0.0

    @staticmethod
    def register(url: str) -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
        for number in range(ACCOUNTS):
            status = _post(connection, "/auth/register", number)
            if status not in (201, 409):
                raise node.NodeError(f"an account of the load test was answered with {status}")
        connection.close()

    def ready(self, engine_pids: list[int]) -> None:
        del engine_pids
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()

    def over(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        connection = HTTPConnection(self._address, timeout=60)
        while True:
            with self._lock:
                if self._left == 0:
                    break
                self._left -= 1
            good = _post(connection, "/auth/login", number % ACCOUNTS) == 200
            with self._lock:
                self.done += good
                self.seconds = time.monotonic() - self._begun
        connection.close()


def _post(connection: HTTPConnection, path: str, number: int) -> int:
    body = json.dumps({"email": f"login{number}@load.test", "password": PASSWORD})
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def one_round(one: node.Node, file: Path, rate: float, seconds: float, logins: int) -> Round:
    clients = Crowd(one.url, logins)
    wish = swarm.Wish(
        file=file, seconds=seconds, url=one.socket_url, mode="open", connections=2 * PAIRS, rate=rate, warmup=1.0
    )
    told = swarm.run(wish, clients)
    return Round(
        clients.done,
        round(clients.seconds, 2),
        told.totals.received,
        told.delivery.p50_ms,
        told.delivery.p99_ms,
        told.problems,
    )


def measure(rate: float, seconds: float, logins: int, rounds: int) -> Verdict:
    without: list[Round] = []
    beside: list[Round] = []
    with node.folder() as var:
        file = var / "users"
        with node.running(var, RATE_LIMIT_EXEMPT_NETS="127.0.0.0/8") as one:
            provision.provision(one.database_url, (var / "secret").read_text().strip(), crowd.Request(PAIRS), file)
            Crowd.register(one.url)
            for _ in range(rounds):
                without.append(one_round(one, file, rate, seconds, 0))
                beside.append(one_round(one, file, rate, seconds, logins // rounds))
    p99 = [statistics.median(one.p99_ms for one in part) for part in (beside, without)]
    return Verdict(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=surroundings.commit(),
        command="python -m loadtest.logins",
        rate=rate,
        seconds=seconds,
        machine=surroundings.machine(),
        without=without,
        beside=beside,
        logins=sum(one.logins for one in beside),
        ratio=round(p99[0] / p99[1], 2),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.logins", description=__doc__)
    parser.add_argument("--rate", type=float, default=2_000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=15, help="of one round")
    parser.add_argument("--logins", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    verdict = measure(given.rate, given.seconds, given.logins, given.rounds)
    for name, part in (("without", verdict.without), ("beside", verdict.beside)):
        for one in part:
            print(
                f"{name:8s} {one.logins:5d} logins in {one.login_seconds:5.1f} s  p50 {one.p50_ms} p99 {one.p99_ms} ms"
            )
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / f"{verdict.at[:10]}-{verdict.commit.rstrip('+')}-logins.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(verdict), indent=1) + b"\n")
    problems = [problem for one in (*verdict.without, *verdict.beside) for problem in one.problems]
    print(
        f"{verdict.logins} logins; p99 beside them is {verdict.ratio} times that without (bar {BAR}); written: {file}"
    )
    for problem in problems:
        print(f"NOT IN ORDER: {problem}", file=sys.stderr)
    return 1 if problems or verdict.logins < given.logins // given.rounds * given.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
