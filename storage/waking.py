"""Who is woken after the commit of a transaction beside the journal."""

from collections.abc import Callable

from msgspec import Struct


def nobody() -> None:
    """For a node that is alone, and for tests."""


class Waking(Struct, frozen=True):
    """To be called behind the commit, never before: whoever is woken looks at once, and must find it."""

    flushed: Callable[[], None] = nobody  # there is a flush row
    logins_ended: Callable[[], None] = nobody  # on every node, this one too: not each ended login is named to an actor


NOBODY = Waking()
