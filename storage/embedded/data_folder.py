"""The data folder of the embedded PostgreSQL: made once and whole, with a password that stays in KITH_VAR."""

import os
import secrets
import shutil
from pathlib import Path

from storage.embedded.account import Account
from storage.embedded.binaries import MAJOR
from storage.embedded.errors import EmbeddedPostgresError

SUPERUSER = "kith"
INITDB = (
    f"--username={SUPERUSER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    # Sorts and folds every script of Unicode without asking the system for a locale it may not have.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)


def settle_password(var: Path) -> str:
    """The superuser's password: made once, on disk before any data folder knows it."""
    path = var / "postgres-password"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    except PermissionError:
        raise EmbeddedPostgresError(f"{path} cannot be read: another user made it.") from None
    password = secrets.token_urlsafe(24)
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    write_private(unfinished, password)
    unfinished.rename(path)
    return password


def write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def settle_data(home: Path, binaries: Path, account: Account, password: str) -> Path:
    """`home/data`, initialised; a kill in the middle leaves a folder that the next start removes."""
    data = home / "data"
    version = data / "PG_VERSION"
    if version.exists():
        found = version.read_text().strip()
        if found != str(MAJOR):
            raise EmbeddedPostgresError(
                f"{data} was made by PostgreSQL {found} and this Kith brings {MAJOR}: use the Kith that"
                " made it, or dump there and restore here (docs/operations.md)."
            )
        return data
    if data.exists():
        raise EmbeddedPostgresError(f"{data} exists and is not a data folder of PostgreSQL.")
    building, secret = home / "data.new", home / "password.new"
    shutil.rmtree(building, ignore_errors=True)
    secret.unlink(missing_ok=True)
    write_private(secret, password)
    os.chown(secret, account.uid, account.gid)
    try:
        code, said = account.run([binaries / "initdb", *INITDB, f"--pgdata={building}", f"--pwfile={secret}"])
    finally:
        secret.unlink()
    if code != 0:
        raise EmbeddedPostgresError(f"initdb could not make {building}: {last_words(said)}")
    building.rename(data)
    return data


def last_words(said: str) -> str:
    """The line of a program's output that says what went wrong: the last one that names an error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:"))]
    return (telling or lines or ["it said nothing"])[-1]
