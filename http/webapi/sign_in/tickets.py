"""Tickets for connections whose client cannot send a header: browsers' WebSockets and event streams."""

from typing import Final

from msgspec import Struct

from actors.tickets import TICKET_LIFETIME
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Route


class IssuedTicket(Struct, frozen=True):
    ticket: str  # for `?ticket=` of one connection
    expires_in: int  # seconds


async def issue_ticket(call: Call) -> Answer:
    """A ticket for one connection, good once and for 30 s: `GET /ws?ticket=…` in place of the header."""
    # Sealed and handed out, no more: nothing is written before somebody comes with it, and then his actor writes.
    ticket = call.services.tickets.issue(call.caller.user_id, call.caller.login_id, call.now)
    return Answer(IssuedTicket(ticket, int(TICKET_LIFETIME)), 201)


ROUTES: Final = (Route("POST", "/auth/ticket", issue_ticket, gives=((201, IssuedTicket),)),)
