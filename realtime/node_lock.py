"""At most one node per KITH_VAR: a lock that the kernel gives back, however the process ends."""

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

from realtime.refusal import RefusalError


class LockUnwritableError(RefusalError):
    """Nobody holds it; the folder or its disk will not have it."""


class NodeLock:
    """Holds KITH_VAR/kith.lock, in which the next one finds who runs here and where."""

    def __init__(self, var: Path) -> None:
        self._path = var / "kith.lock"
        self._handle: int | None = None

    def __enter__(self) -> "NodeLock":
        # Not inherited by children: an orphaned PostgreSQL must not keep Kith from starting.
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(handle, 4_096).decode(errors="replace").split()
            os.close(handle)
            pid = who[0] if who else "unknown"
            url = who[1] if len(who) > 1 else "not ready yet"
            raise RefusalError(f"Kith already runs here: pid {pid}, {url} (lock: {self._path}).") from None
        self._handle = handle
        try:
            os.ftruncate(handle, 0)
            self.note("")
        except OSError as error:
            self.__exit__(None, None, None)
            raise self._unwritable(error) from None
        return self

    def _unwritable(self, error: OSError) -> LockUnwritableError:
        return LockUnwritableError(f"{self._path} cannot be written: {error.strerror or error}.")

    def note(self, url: str) -> None:
        """Write down who runs here, and once it is ready, where."""
        if self._handle is not None:
            # Written over what is there and never first emptied: a disk that has filled since would not give the block
            # back, and nobody would find the server any more.
            size = os.pwrite(self._handle, f"{os.getpid()} {url}\n".encode(), 0)
            os.ftruncate(self._handle, size)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            # The file stays: removing it would let two nodes lock two files of the same name.
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
