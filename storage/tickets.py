"""Spent tickets in PostgreSQL: the port `SpentTickets`. The primary key decides who of two was first, on all nodes."""

from typing import Final

from actors.ports import Clock, WriteToken
from actors.shapes.users import TicketStub
from storage.account_rows import write
from storage.postgres import Postgres, Statements

# Two for each that comes: the table stays as small as what is spent in these minutes. Longer than clocks differ, for a
# row must outlive the last node that would still open its ticket.
_FORGET: Final = """
delete from spent_tickets where id in
 (select id from spent_tickets where expires_at < to_timestamp($1::bigint / 1000.0::float8) - interval '10 minutes'
   order by expires_at limit 2 for update skip locked)
"""
_SPEND: Final = """
insert into spent_tickets (id, expires_at) values ($1, to_timestamp($2::bigint / 1000.0::float8))
on conflict do nothing returning 'spent'
"""


class PostgresTickets:
    """A row that was written and whose answer was lost counts as spent: the client comes back with another ticket."""

    def __init__(self, postgres: Postgres, clock: Clock) -> None:
        self._postgres = postgres
        self._clock = clock

    async def spend(self, token: WriteToken, ticket: TicketStub) -> bool:
        async def work(statements: Statements) -> bool:
            await statements.execute(_FORGET, self._clock.now())
            return await statements.fetchval(str, _SPEND, ticket.id, ticket.expires_at) is not None

        return await write(self._postgres, token, work)
