"""The process that hashes passwords: `python -m actors.hashing_worker THREADS`; JSON lines in and out."""

import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec

from actors.hashing import FAILED, HashWork, perform

# What is left over by everybody else of this machine, and all of a core that is idle.
NICENESS = 19


class Errand(msgspec.Struct, frozen=True):
    number: int
    work: HashWork


class Outcome(msgspec.Struct, frozen=True):
    number: int
    result: str


def main(threads: int) -> None:
    """Until whoever started us closes our stdin, by wish or by its death."""
    os.nice(NICENESS)
    # Linux shares the cores among sessions before it looks at who is nice in them, and we are a session of our own.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write(str(NICENESS))
    decode, lock = msgspec.json.Decoder(Errand).decode, threading.Lock()

    def serve(line: bytes) -> None:
        errand = decode(line)
        try:
            result = perform(errand.work)
        except (
            Exception
        ):  # the pool would keep it to itself, and whoever asked would wait, and hold his place, for good
            result = FAILED
        outcome = msgspec.json.encode(Outcome(errand.number, result)) + b"\n"
        with lock:
            os.write(1, outcome)  # shorter than a pipe's atomic size

    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin.buffer:
            pool.submit(serve, line)


if __name__ == "__main__":
    main(int(sys.argv[1]))
