"""KITH_VAR, the one folder a node writes to: made private, and refused when data would not be safe in it."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from realtime.refusal import RefusalError

LEAST_FREE_BYTES = 500_000_000
# Locks and fsync of these lie often enough that a database does not belong there.
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs")
OURS = ("kith.lock", "secret", "postgres-password")


def prepare_var(var: Path) -> None:
    """Make the folder if there is none (0700); one that exists keeps its mode."""
    try:
        if not var.is_dir():
            var.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The only honest question about writing is to write.
        with tempfile.TemporaryFile(dir=var):
            pass
        used_by = [(var / name).lstat().st_uid for name in OURS if os.path.lexists(var / name)]
    except OSError as error:
        owner = f" (it belongs to {owner_of(var)})" if var.exists() else ""
        raise RefusalError(
            f"KITH_VAR={var} cannot be used{owner}: {error.strerror}. Set KITH_VAR to a folder you may write to."
        ) from None
    if used_by and used_by[0] != os.geteuid():
        raise RefusalError(
            f"{var} holds the data of {user_name(used_by[0])}: start Kith as {user_name(used_by[0])}, or set KITH_VAR"
            " to another folder."
        )
    check_disk(var)


def check_disk(folder: Path) -> None:
    """Also for where the data really lie, when that is not in KITH_VAR."""
    kind = file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        raise RefusalError(f"{folder} is on {kind}, where a database is not safe; set KITH_VAR to a local folder.")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise RefusalError(
            f"{folder} has {free // 1_000_000} MB free and Kith wants {LEAST_FREE_BYTES // 1_000_000}; free some, or"
            " set KITH_VAR to a folder on another disk."
        )


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system a folder lies on, as Linux tells it; empty where that cannot be asked."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted and after:
            return after.split()[0]
    return ""


def owner_of(path: Path) -> str:
    return user_name(path.stat().st_uid)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
