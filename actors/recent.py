"""The last sends of one conversation by their client ids: a repeat is answered from memory when it comes soon."""

from typing import Final

from actors.shapes.ids import ClientId, UserId
from actors.shapes.messages import MessageSent

# Repeats come within seconds of a reconnect. Older ones are found by the flush, at the price of one more transaction;
# 25,000 awake conversations with 16 each hold about 100 MB at worst, with 200 each they would hold 1.2 GB.
KEPT: Final = 16

SendKey = tuple[UserId, ClientId]
Sent = tuple[MessageSent, int]  # the outcome and the hash of its text, to tell a repeat from another use of the id


class RecentSends:
    """Insertion order is age; the oldest leaves when the newest comes."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent: dict[SendKey, Sent] = {}

    def find(self, key: SendKey) -> Sent | None:
        return self._sent.get(key)

    def note(self, key: SendKey, sent: Sent) -> None:
        kept = self._sent
        kept[key] = sent
        if len(kept) > KEPT:
            del kept[next(iter(kept))]
