"""The native engine: native/chat.c, compiled once for its content into a private folder of the temporary one."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent / "native"
FLAGS: Final = ("-O2", "-std=gnu17", "-Wall", "-Wextra")


class NativeError(Exception):
    """There is a compiler, and it does not like what it is given."""


def compiler() -> str | None:
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")


def _folder() -> Path:
    """Only ours to write: another user of this machine must not be able to put a program there."""
    folder = Path(tempfile.gettempdir()) / f"kith-native-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise NativeError(f"{folder} is not a private folder of this user")
    return folder


def engine() -> Path | None:
    """The compiled engine; None on a machine without a compiler, where the Python twin does the work."""
    gcc = compiler()
    if gcc is None or os.uname().sysname != "Linux":  # epoll
        return None
    content = hashlib.sha256(" ".join((gcc, *FLAGS)).encode())
    for source in sorted(SOURCES.iterdir()):
        content.update(source.read_bytes())
    program = _folder() / f"chat-{content.hexdigest()[:16]}"
    if program.exists():
        return program
    partial = program.with_name(f"{program.name}.{os.getpid()}")
    done = subprocess.run(
        [gcc, *FLAGS, "-o", str(partial), str(SOURCES / "chat.c")], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NativeError(done.stderr.strip())
    partial.replace(program)
    return program
