"""`kith migrate` and `kith seed`: the database's schema, and a few people to look at."""

import trio

from realtime.commands.database import bring_up_to_date, command_database
from realtime.settings import Settings


def migrate_now(settings: Settings) -> int:
    with command_database(settings) as url:
        applied = trio.run(bring_up_to_date, url)
    print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
    return 0


def seed_now(settings: Settings) -> int:
    from storage.seed import seed

    with command_database(settings) as url:
        trio.run(bring_up_to_date, url)
        trio.run(seed, url)
    return 0
