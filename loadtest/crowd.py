"""Who is provisioned: users with a session each, and the conversations they are in. Knows no database and no key."""

import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

import uuid_utils

from loadtest import roster


class Person(NamedTuple):
    user_id: str
    login_id: str
    token_hash: bytes
    username: str

    @property
    def email(self) -> str:
        return f"{self.username}@load.invalid"


class Gathering(NamedTuple):
    """A conversation and its members; the first one made it."""

    id: str
    type: Literal["direct", "group"]
    members: list[Person]

    def peer_of(self, person: Person) -> str:
        if self.type == "group":
            return roster.NO_PEER
        a, b = self.members
        return b.user_id if person is a else a.user_id


class Request(NamedTuple):
    pairs: int
    groups: int = 0
    group_size: int = 0


def _new_id() -> str:
    # Version 7, like the server's own: random keys would scatter 160,000 rows over every page of the indexes.
    return str(uuid_utils.uuid7())


def gatherings(request: Request, prefix: str) -> Iterator[Gathering]:
    """Pairs first, then groups. The prefix is random per run, so that runs never meet in a unique name."""
    count = 0

    def person() -> Person:
        nonlocal count
        count += 1
        # The refresh token is random and thrown away: nobody rotates a session of a load test.
        return Person(_new_id(), _new_id(), os.urandom(32), f"load_{prefix}_{count}")

    for _ in range(request.pairs):
        yield Gathering(_new_id(), "direct", [person(), person()])
    for _ in range(request.groups):
        yield Gathering(_new_id(), "group", [person() for _ in range(request.group_size)])


def batches(every: Iterator[Gathering], people: int) -> Iterator[list[Gathering]]:
    """Whole gatherings, about so many people at a time: what one transaction writes."""
    batch: list[Gathering] = []
    held = 0
    for gathering in every:
        batch.append(gathering)
        held += len(gathering.members)
        if held >= people:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
