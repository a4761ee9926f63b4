"""Client ids that say which run, which line of the users' file and which of its messages they are; as native/wire.h."""

from typing import NamedTuple

MAX_USERS = 1 << 28


class Identity(NamedTuple):
    run: int
    user: int
    number: int


def client_id(run: int, user: int, number: int) -> str:
    """A UUID by form: version 4, variant 8."""
    return f"{run:08x}-{user >> 12:04x}-4{user & 0xFFF:03x}-8000-{number:012x}"


def parse(text: str) -> Identity | None:
    """The reverse; None when it is nobody's of the swarm."""
    if len(text) != 36 or text[14] != "4" or text[19:23] != "8000":
        return None
    try:
        return Identity(int(text[:8], 16), int(text[9:13] + text[15:18], 16), int(text[24:], 16))
    except ValueError:
        return None
