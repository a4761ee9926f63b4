"""As whom PostgreSQL runs: ourselves, or, because it refuses root, a system user of its own."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from storage.embedded.errors import EmbeddedPostgresError

SYSTEM_USER = "kith"
ELSEWHERE = "set DATABASE_URL to a PostgreSQL that already runs"


@dataclass(frozen=True)
class Account:
    """A user of this machine, and whether a process has to change to it."""

    name: str
    uid: int
    gid: int

    @property
    def is_ourselves(self) -> bool:
        return self.uid == os.geteuid()

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        output: IO[bytes] | int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
        own_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a program as this user, from / (it may not be able to enter our folder)."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=postgres_environment(environment or {}),
            umask=0o077,
            start_new_session=own_session,
            user=None if self.is_ourselves else self.uid,
            group=None if self.is_ourselves else self.gid,
            extra_groups=None if self.is_ourselves else [],
        )

    def run(self, command: Sequence[str | Path]) -> tuple[int, str]:
        """Run a program to its end: its exit code and all it said."""
        with self.spawn(command) as process:
            said, _ = process.communicate()
            return process.returncode, said.decode(errors="replace")

    def can_enter(self, folder: Path) -> bool:
        """Asked of the kernel, which knows about access lists and name spaces that modes do not show."""
        return self.run(["/bin/sh", "-c", 'cd "$1"', "sh", folder])[0] == 0

    def can_run(self, program: Path) -> bool:
        return self.run(["/bin/sh", "-c", '"$1" --version', "sh", program])[0] == 0


def postgres_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's: a PGDATA, PGOPTIONS or a locale that is not installed would be obeyed."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **extra}


def postgres_account() -> Account:
    """Ourselves, or as root the system user `kith`, which is made when there is none."""
    uid = os.geteuid()
    if uid != 0:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            raise EmbeddedPostgresError(
                f"PostgreSQL refuses to run as uid {uid}, which has no name in /etc/passwd: {ELSEWHERE}."
            ) from None
        return Account(name, uid, os.getegid())
    account = system_user() or make_system_user()
    try:
        usable = account.run(["/bin/sh", "-c", ":"])[0] == 0
    except OSError:
        usable = False
    if not usable:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and this container does not let root become the user"
            f" {account.name} (it has one uid): {ELSEWHERE}."
        )
    return account


def system_user() -> Account | None:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def make_system_user() -> Account:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    reason = "there is no useradd"
    if useradd is not None:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        done = subprocess.run([useradd, *options, "--shell", "/bin/false", SYSTEM_USER], capture_output=True, text=True)
        reason = done.stderr.strip() or f"useradd ended with {done.returncode}"
    account = system_user()
    if account is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root and the user {SYSTEM_USER} cannot be made ({reason}): {ELSEWHERE}."
        )
    return account
