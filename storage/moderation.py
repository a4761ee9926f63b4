"""All stores of moderation on one PostgreSQL."""

from actors.moderation_ports import Moderation
from storage.appeals import PostgresAppeals
from storage.audit import PostgresAudit
from storage.node import NodeIdentity
from storage.people import PostgresPeople
from storage.postgres import Postgres
from storage.reports import PostgresReports
from storage.standing import PostgresStanding, Standings
from storage.waking import NOBODY, Waking


def postgres_moderation(postgres: Postgres, identity: NodeIdentity, waking: Waking = NOBODY) -> Moderation:
    standings = Standings(identity, waking)
    return Moderation(
        PostgresStanding(postgres, standings),
        PostgresReports(postgres, standings),
        PostgresAppeals(postgres, standings),
        PostgresAudit(postgres),
        PostgresPeople(postgres),
    )
