"""One SQL statement through the wheel's own client, for what has to happen before the driver is up."""

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from storage.embedded.errors import EmbeddedPostgresError


def psql(binaries: Path, uri: str, statement: str) -> str:
    """The statement's rows, one a line, columns divided by |."""
    parts = urlsplit(uri)
    # `ps` shows a command line to everybody, so the password goes another way.
    user, _, place = parts.netloc.rpartition("@")
    shown = urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{place}" if user else place))
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath), "PGCONNECT_TIMEOUT": "10"}
    if parts.password:
        environment["PGPASSWORD"] = unquote(parts.password)
    command = [str(binaries / "psql"), "--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1", "-d", shown, "-c", statement]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"PostgreSQL refused {statement!r}: {done.stderr.strip()}")
    return done.stdout.strip()
