"""`kith migrate` and `kith seed`: the database's schema, and a world to look at."""

import trio

from realtime.commands.database import bring_up_to_date, command_database
from realtime.refusal import RefusalError
from realtime.settings import Settings
from storage.seed import DEMO_PASSWORD, seed
from storage.seed_people import PEOPLE


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
    if made.users:
        print(
            f"Made {made.users} people with {made.follows} follows, {made.conversations} conversations,"
            f" {made.messages} messages and {made.stories} stories."
        )
    else:
        print("The demo world is already there; nothing was made.")
    anna, *others = PEOPLE
    print(f"Sign in as {anna}@example.org with the password {DEMO_PASSWORD}; likewise {', '.join(others)}.")
    return 0
