"""Tickets for connections whose client cannot send a header: browsers' WebSockets and event streams."""

from typing import Final

from msgspec import Struct

from actors.shapes.users import IssueTicket
from actors.tickets import TICKET_LIFETIME
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Route


class IssuedTicket(Struct, frozen=True):
    ticket: str  # for `?ticket=` of one connection
    expires_in: int  # seconds


async def issue_ticket(call: Call) -> Answer:
    """A ticket for one connection, good once and for 30 s: `GET /ws?ticket=…` in place of the header."""
    caller, services = call.caller, call.services
    text, ticket = services.tickets.issue(caller.user_id, caller.login_id, call.now)
    command = IssueTicket(ticket.id, caller.login_id, ticket.claims.expires_at)
    await services.users.ask(call.me, command, services.options.ask_timeout)
    return Answer(IssuedTicket(text, int(TICKET_LIFETIME)), 201)


ROUTES: Final = (Route("POST", "/auth/ticket", issue_ticket, gives=((201, IssuedTicket),)),)
