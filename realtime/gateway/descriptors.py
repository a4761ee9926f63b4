"""File descriptors: how many this process may have, and the one it keeps for saying no when all are gone."""

import contextlib
import os
import sys


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one; returns how many descriptors there are."""
    if sys.platform == "win32":  # no such limit there
        return 1_000_000
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1_048_576)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it; then the soft limit counts
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return hard
    return soft


class ReserveDescriptor:
    """A descriptor kept open only to be given up: accept() fails without one, and who is not accepted waits for
    ever."""

    def __init__(self) -> None:
        self._fd = self._open()

    @staticmethod
    def _open() -> int:
        try:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1

    def give_up(self) -> bool:
        """True: there is one free descriptor now."""
        if self._fd < 0:
            return False
        os.close(self._fd)
        self._fd = -1
        return True

    def take_back(self) -> None:
        if self._fd < 0:
            self._fd = self._open()

    close = give_up
