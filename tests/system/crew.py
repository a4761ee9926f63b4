"""A node of three workers, as the trials of tests/system/test_workers.py look at it."""

import contextlib
import time
from collections.abc import Callable

import psutil
import trio

from tests.system.harness import KithNode

WORKERS = 3
MANY = {
    "KITH_WORKERS": str(WORKERS),
    "RATE_MESSAGES_PER_MINUTE": "1000000",
    "RATE_MESSAGES_BURST": "1000000",
    "RATE_REQUESTS_PER_MINUTE": "1000000",
    "RATE_REQUESTS_BURST": "1000000",
    "RATE_UNAUTHENTICATED_PER_MINUTE": "1000000",
    "RATE_UNAUTHENTICATED_BURST": "1000000",
    "RATE_REGISTRATIONS_BURST": "300",
    "RATE_LOGINS_BURST": "300",
}


def workers_of(node: KithNode) -> dict[int, int]:
    """The pid of each worker by its number."""
    found = {}
    for child in psutil.Process(node.pid).children():
        with contextlib.suppress(psutil.Error):  # it has just died
            arguments = child.cmdline()
            if "serve-worker" in arguments:
                found[int(arguments[arguments.index("--number") + 1])] = child.pid
    return found


def family_of(node: KithNode) -> list[psutil.Process]:
    """The supervisor and everything it started."""
    supervisor = psutil.Process(node.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def lives(process: psutil.Process) -> bool:
    """A zombie does not: its parent was killed, and who inherits it need not be in a hurry."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


async def until(what: Callable[[], bool], named: str, seconds: float = 10.0) -> float:
    """Wait for something outside of this process; how long it took."""
    begun = time.monotonic()
    while not what():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"waited {seconds} s for {named}")
        await trio.sleep(0.05)
    return time.monotonic() - begun


async def by_worker(node: KithNode, name: str) -> dict[int, float]:
    """A metric of each worker, summed over its other labels."""
    async with node.http() as http:
        lines = (await http.get("/metrics")).text.splitlines()
    found: dict[int, float] = {}
    for line in lines:
        if line.startswith(f'{name}{{worker="'):
            number = int(line.split('"')[1])
            found[number] = found.get(number, 0.0) + float(line.rsplit(" ", 1)[1])
    return found


async def until_crew_is(node: KithNode, state: str, seconds: float = 5.0) -> None:
    """Until `/healthz` says this of the crew, whichever worker is asked."""
    agreed = 0
    with trio.move_on_after(seconds):
        while agreed < 2 * WORKERS:
            async with node.http() as http:
                found = (await http.get("/healthz")).json()["checks"]["workers"]["state"]
            agreed = agreed + 1 if found == state else 0
            await trio.sleep(0.02)
        return
    raise AssertionError(f"waited {seconds} s for workers to be {state}; they are {found}")
