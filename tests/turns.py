"""Who may run beside whom in a parallel run: a test that is marked `alone` has the machine to itself."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """Shared by all processes of a run through two files in a folder of theirs; a process that dies gives way.

    Who waits for his turn holds the door: without it, one lone test could wait for ever while the others hand the
    room to each other.
    """

    def __init__(self, folder: Path) -> None:
        self._door = (folder / "door").open("a")
        self._room = (folder / "room").open("a")

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        self._door.close()
        self._room.close()
