"""At most one node per KITH_VAR: a lock that the kernel gives back, however the process ends."""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from realtime.refusal import RefusalError


class NodeLock:
    """Holds KITH_VAR/kith.lock, in which the next one finds who runs here and where."""

    def __init__(self, var: Path) -> None:
        self._path = var / "kith.lock"
        self._handle: int | None = None

    def __enter__(self) -> "NodeLock":
        # Not inherited by children: an orphaned PostgreSQL must not keep Kith from starting.
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(handle, 4_096).decode(errors="replace").split()
            os.close(handle)
            pid = who[0] if who else "unknown"
            url = who[1] if len(who) > 1 else "not ready yet"
            raise RefusalError(f"Kith already runs here: pid {pid}, {url} (lock: {self._path}).") from None
        self._handle = handle
        self.note("")
        return self

    def note(self, url: str) -> None:
        """Write down who runs here, and once it is ready, where."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()} {url}\n".encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            # The file stays: removing it would let two nodes lock two files of the same name.
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
