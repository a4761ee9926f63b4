"""What stands for the sweep on a node that is alone on its database, as in tests of actors."""

from actors.shapes.ids import ConversationId, UserId


class Alone:
    """Implements the port `Sweeper`: nobody else commits anything, so nothing is to be read."""

    def wake(self) -> None:
        pass

    async def told(self) -> None:
        pass

    def unpublished(self, id: ConversationId, old_rev: int, new_rev: int) -> None:
        pass

    def arrived(self, user: UserId) -> None:
        pass
