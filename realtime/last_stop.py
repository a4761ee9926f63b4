"""Whether the node before this one ended in order: a mark in KITH_VAR that is there only between two lives."""

import contextlib
from pathlib import Path

from realtime.refusal import RefusalError

MARK = "stopped-in-order"


def crashed_before(var: Path) -> bool:
    """Take the mark away, so that a crash leaves none. A folder that no node ever used counts as stopped in order."""
    mark, used = var / MARK, var / "started"
    try:
        if mark.exists():
            mark.unlink()
            return False
        first = not used.exists()
        used.touch(mode=0o600)
    except OSError as error:
        raise RefusalError(f"KITH_VAR={var} cannot be written: {error.strerror or error}.") from None
    return not first


def note_order(var: Path) -> None:
    """The last thing an ordered stop does; a full disk only costs the next start its mark."""
    with contextlib.suppress(OSError):
        (var / MARK).touch(mode=0o600)
