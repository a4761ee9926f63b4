"""How many messages of others wait for one user, per conversation: read once from the database, then counted along."""

from typing import Final

from actors.shapes.ids import ConversationId

KEPT: Final = 500  # conversations whose count is known; the one counted longest ago is forgotten first


class Inbox:
    """A count is (unread, head): a message counts only above the head that the count was read at, so that one which was
    on its way while the database was read is not counted twice."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[ConversationId, tuple[int, int]] | None = None  # made when somebody asks for counts

    def note(self, conversation: ConversationId, seq: int, *, own: bool) -> None:
        """A message was committed, or, with its seq negative, deleted. On the way of every message, so it does nothing
        for counts nobody asked for."""
        counts = self._counts
        if counts is None:
            return
        known = counts.get(conversation)
        if known is None or seq <= known[1]:
            if seq < 0:  # whether it was counted depends on what was read: the database counts anew
                counts.pop(conversation, None)
            return
        if seq == known[1] + 1:
            counts[conversation] = (known[0] if own else known[0] + 1, seq)
        else:  # one in between never came here: what is not known is counted by the database, never guessed
            del counts[conversation]

    def forget(self) -> None:
        """Messages went past unseen: every count is read again when it is asked for."""
        self._counts = None

    def unknown(self, conversations: tuple[ConversationId, ...]) -> list[ConversationId]:
        return [id for id in conversations if self._counts is None or id not in self._counts]

    def learn(self, counts: dict[ConversationId, tuple[int, int]]) -> None:
        known = self._counts = self._counts or {}
        known.update(counts)
        while len(known) > KEPT:
            del known[next(iter(known))]

    def counts(self, conversations: tuple[ConversationId, ...]) -> dict[ConversationId, int]:
        known = self._counts or {}
        return {id: known[id][0] for id in conversations if id in known}
