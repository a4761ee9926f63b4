"""Spent tickets in memory: the twin of storage/tickets.py for tests; passes the same contract."""

from actors.ports import WriteToken
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.users import TicketId, TicketStub


class MemoryTickets:
    def __init__(self) -> None:
        self._spent: set[TicketId] = set()

    async def spend(self, token: WriteToken, ticket: TicketStub) -> bool:
        if not token.valid:
            raise KithError(ErrorCode.UNAVAILABLE, outcome="none")
        first = ticket.id not in self._spent
        self._spent.add(ticket.id)
        return first
