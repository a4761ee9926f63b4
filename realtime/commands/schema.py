"""`kith migrate` and `kith seed`: the database's schema, and a few people to look at."""

import trio

from realtime.commands.database import bring_up_to_date, command_database
from realtime.refusal import RefusalError
from realtime.settings import Settings
from storage.seed import DEMO_PASSWORD, PEOPLE, seed


def migrate_now(settings: Settings) -> int:
    with command_database(settings) as url:
        applied = trio.run(bring_up_to_date, url)
    print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
    return 0


def seed_now(settings: Settings) -> int:
    if settings.production:
        raise RefusalError("kith seed makes people whose password everybody knows; not with KITH_ENV=production.")
    with command_database(settings) as url:
        trio.run(bring_up_to_date, url)
        made = trio.run(seed, url)
    first = next(iter(PEOPLE))
    print(f"Made {made.users} people, {made.conversations} conversations and {made.messages} messages.")
    print(f"Sign in as {first}@example.org with the password {DEMO_PASSWORD}; likewise {', '.join(PEOPLE)}.")
    return 0
