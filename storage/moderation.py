"""All stores of moderation on one PostgreSQL."""

from collections.abc import Callable

from actors.moderation_ports import Moderation
from storage.appeals import PostgresAppeals
from storage.audit import PostgresAudit
from storage.node import NodeIdentity
from storage.people import PostgresPeople
from storage.postgres import Postgres
from storage.reports import PostgresReports
from storage.standing import PostgresStanding, Standings, nobody_to_wake


def postgres_moderation(
    postgres: Postgres, identity: NodeIdentity, ring: Callable[[], None] = nobody_to_wake
) -> Moderation:
    """`ring` wakes the other nodes after the commit of what they have to hear."""
    standings = Standings(identity, ring)
    return Moderation(
        PostgresStanding(postgres, standings),
        PostgresReports(postgres, standings),
        PostgresAppeals(postgres, standings),
        PostgresAudit(postgres),
        PostgresPeople(postgres),
    )
