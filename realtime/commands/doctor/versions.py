"""Which Python and which packages run, and whether they are the pinned ones that everything was tried with."""

import platform
import re
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from realtime.commands.doctor.report import Report, Rows

# Those whose behaviour a report of a fault would ask for first.
SHOWN = ("trio", "asyncpg", "hypercorn", "quart-trio", "msgspec", "websockets", "pynacl", "httpx")
TESTED_ON = "3.11"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def version_rows() -> Rows:
    rows = [("Python", platform.python_version()), ("kernel", f"{platform.system()} {platform.release()}")]
    return rows + [(name, installed(name) or "not installed") for name in SHOWN]


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def judge_versions(pins: Path, report: Report) -> None:
    """A package that is missing is not named: an image leaves out what only the embedded servers need."""
    if not platform.python_version().startswith(f"{TESTED_ON}."):
        report.note(f"This is Python {platform.python_version()}.", f"Kith is tested on {TESTED_ON}.")
    try:
        pinned = {_folded(name): wanted for name, wanted in _PIN.findall(pins.read_text(encoding="utf-8"))}
    except OSError:
        return
    here = {_folded(found.name): found.version for found in distributions()}
    other = [f"{name} {here[name]} for {wanted}" for name, wanted in pinned.items() if here.get(name, wanted) != wanted]
    if other:
        report.note(
            f"{len(other)} packages are not the pinned ones: {', '.join(other[:5])}.",
            "They may work; what is tested are the pins (make install).",
        )


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
