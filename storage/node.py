"""Who writes: a node's name, its incarnation, and the numbers of its flush rows."""

import itertools
from typing import Final

from msgspec import Struct

from storage.postgres import Postgres

# A node that starts again under its old name is a new writer: its flush rows must never meet those of its former life.
# Hence a name that was forgotten (node_retention.py) does not begin at 1 again either, but above all that it ever was.
_BEGIN: Final = """
insert into nodes (node, incarnation) values ($1, extract(epoch from clock_timestamp())::bigint)
on conflict (node) do update set incarnation = nodes.incarnation + 1, seen = now()
returning incarnation
"""


class NodeIdentity(Struct, frozen=True):
    """One per process. Whoever writes a flush row takes its number from here, the journal and the accounts alike."""

    node: str
    incarnation: int
    numbers: "itertools.count[int]"

    def next_number(self) -> int:
        return next(self.numbers)


async def begin_incarnation(postgres: Postgres, node: str) -> NodeIdentity:
    """Register this start of the node; raises when PostgreSQL is away, because nothing can be written without it."""
    incarnation = await postgres.fetchval(int, _BEGIN, node)
    if incarnation is None:
        raise AssertionError("the insert returns a row in any case")
    return NodeIdentity(node, incarnation, itertools.count(1))
