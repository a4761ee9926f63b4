"""All stores of moderation on one PostgreSQL."""

from actors.moderation_ports import Moderation
from storage.appeals import PostgresAppeals
from storage.audit import PostgresAudit
from storage.node import NodeIdentity
from storage.people import PostgresPeople
from storage.postgres import Postgres
from storage.reports import PostgresReports
from storage.standing import PostgresStanding, Standings


def postgres_moderation(postgres: Postgres, identity: NodeIdentity) -> Moderation:
    standings = Standings(identity)
    return Moderation(
        PostgresStanding(postgres, standings),
        PostgresReports(postgres, standings),
        PostgresAppeals(postgres, standings),
        PostgresAudit(postgres),
        PostgresPeople(postgres),
    )
