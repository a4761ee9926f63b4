"""The users' file: a line per user, `user_id access_token conversation_id peer_user_id`; other tools rely on it."""

import uuid
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

NO_PEER = "-"  # a member of a group


class RosterError(Exception):
    """The file does not say what it must."""


class Line(NamedTuple):
    user_id: str
    access_token: str
    conversation_id: str
    peer_user_id: str

    @property
    def in_group(self) -> bool:
        return self.peer_user_id == NO_PEER


def write(path: Path, lines: Iterable[Line]) -> int:
    """Write them all or nothing: a half file must not be mistaken for a small swarm. Returns how many."""
    partial = path.with_name(path.name + ".part")
    count = 0
    with partial.open("w", encoding="ascii") as out:
        for count, line in enumerate(lines, 1):  # noqa: B007 - the last count is the result
            out.write(" ".join(line) + "\n")
    partial.chmod(0o600)  # it holds tokens
    partial.replace(path)
    return count


def parse(number: int, text: str) -> Line:
    parts = text.split(" ")
    if len(parts) != 4:
        raise RosterError(f"line {number} has {len(parts)} fields instead of 4")
    line = Line(*parts)
    try:
        for field in (line.user_id, line.conversation_id, *([] if line.in_group else [line.peer_user_id])):
            if str(uuid.UUID(field)) != field:
                raise ValueError
    except ValueError:
        raise RosterError(f"line {number} names something that is no canonical UUID") from None
    return line


def read(path: Path, skip: int = 0, count: int | None = None) -> list[Line]:
    """These lines of the file; pairs stand in neighbouring lines, members of a group one after the other."""
    stop = None if count is None else skip + count
    with path.open(encoding="ascii") as source:
        return [parse(number, text.rstrip("\n")) for number, text in enumerate(islice(source, skip, stop), skip + 1)]
