"""One question to Redis or Valkey over a plain socket: who it is. Blocking, because a doctor has time."""

import socket
import ssl
from typing import IO
from urllib.parse import unquote, urlsplit

# Whoever answers there need not be Redis, and may go on for ever.
LONGEST_LINE, LONGEST_ANSWER = 1_000, 1_000_000


class RedisAwayError(Exception):
    """It cannot be asked; the text says why and shows no password."""


def ask_redis(url: str, seconds: float) -> dict[str, str]:
    """What it says of itself under INFO server."""
    parts = urlsplit(url)
    host, port = parts.hostname or "localhost", parts.port or 6_379
    try:
        with socket.create_connection((host, port), seconds) as plain:
            plain.settimeout(seconds)
            if parts.scheme == "rediss":
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as line:
                    return _talk(line, parts.username, parts.password)
            return _talk(plain, parts.username, parts.password)
    except OSError as error:
        raise RedisAwayError(f"{host}:{port}: {error.strerror or error}") from None


def _talk(line: socket.socket, user: str | None, password: str | None) -> dict[str, str]:
    with line.makefile("rb") as answers:
        if password:
            who = [unquote(user)] if user else []
            _ask(line, answers, "AUTH", *who, unquote(password))
        about = _ask(line, answers, "INFO", "server")
    fields = (row.partition(":") for row in about.splitlines() if ":" in row)
    return {name: value.strip() for name, _, value in fields}


def _ask(line: socket.socket, answers: IO[bytes], *words: str) -> str:
    parts = [f"*{len(words)}\r\n".encode()]
    parts += [f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words]
    line.sendall(b"".join(parts))
    first = answers.readline(LONGEST_LINE).decode(errors="replace").rstrip()
    if first.startswith("$") and first[1:].isdecimal() and int(first[1:]) <= LONGEST_ANSWER:
        return answers.read(int(first[1:]) + 2).decode(errors="replace")
    if first.startswith("+"):
        return first[1:]
    # An error begins with a word of capitals, which is safe to show; the rest may quote what was sent.
    error = first[1:].split()
    raise RedisAwayError(f"it answers {error[0]}" if first.startswith("-") and error else "something else answers")
