"""Connections that were told the heads of their conversations a moment ago: what these cover is not given to them."""

from actors.shapes.ids import ConversationId, SocketId
from actors.shapes.times import Seconds

Heads = dict[ConversationId, int]


class Newcomers:
    """The heads are read after the connection is registered, so a change that is committed in between is in them and
    comes as an event, too. For a while after the heads were read the actor compares, then it forgets them: kept for
    good they would cost more memory than all else of an idle connection."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[SocketId, tuple[Seconds, Heads]] | None = None

    def __bool__(self) -> bool:
        return self._told is not None

    def note(self, socket: SocketId, heads: Heads, at: Seconds) -> None:
        if self._told is None:
            self._told = {}
        self._told[socket] = (at, heads)

    def knows(self, socket: SocketId, conversation: ConversationId, rev: int) -> bool:
        """Whether the heads that this connection was told cover the revision."""
        told = self._told.get(socket) if self._told is not None else None
        return told is not None and 0 < rev <= told[1].get(conversation, 0)

    def forget(self, before: Seconds) -> None:
        """Those who came before have been given everything that was committed before they came."""
        told = {socket: known for socket, known in (self._told or {}).items() if known[0] > before}
        self._told = told or None
