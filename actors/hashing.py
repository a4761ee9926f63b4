"""One piece of argon2id work: a password to hash, or to check against a hash. Knows no task, thread or process."""

from collections.abc import Awaitable, Callable

from msgspec import Struct
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id


class HashWork(Struct, frozen=True):
    """`known` is the hash to check against; None asks for a new one."""

    password: str
    known: str | None
    passes: int
    memory: int  # bytes

    def __repr__(self) -> str:
        """Without the password: neither a log line nor a traceback may show one."""
        return f"HashWork(known={self.known is not None})"


# Answers a new hash, RIGHT or WRONG, or FAILED: there was no memory for it.
Hashing = Callable[[HashWork], Awaitable[str]]
RIGHT, WRONG, FAILED = "right", "wrong", "failed"


def perform(work: HashWork) -> str:
    """Milliseconds of one core, without the interpreter's lock."""
    if work.known is None:
        hashed: bytes = argon2id.str(work.password.encode(), opslimit=work.passes, memlimit=work.memory)
        return hashed.decode()
    try:
        return RIGHT if argon2id.verify(work.known.encode(), work.password.encode()) else WRONG
    except (CryptoError, ValueError):  # wrong, or no hash of argon2id
        return WRONG
