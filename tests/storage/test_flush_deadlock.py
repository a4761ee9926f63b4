"""Two flushes that meet in the rows of users never wait for each other in a circle."""

import trio

from actors.ports import ProfileUnit, Unit
from actors.shapes.ids import UserId
from actors.shapes.times import WallTime
from actors.shapes.users import UpdateProfile
from storage.database_errors import StatementFailedError
from storage.journal.statement import Lost, flush_of
from storage.node import NodeIdentity, begin_incarnation
from storage.postgres import Dedicated, open_postgres
from tests.clocks import START
from tests.storage.worlds import add_user, birth, new_id

ROUNDS, BIRTHS = 20, 50


async def test_profiles_and_births_of_each_others_users_do_not_deadlock(database_url: str) -> None:
    """A foreign key on the creator would lock his row at the statement's end, after the profiles were locked."""
    a, b = UserId(new_id()), UserId(new_id())
    failures: list[str] = []

    async def flush(line: Dedicated, identity: NodeIdentity, profile: UserId, creator: UserId, rev: int) -> None:
        changes = UpdateProfile(bio=f"bio {rev}")
        units: list[Unit] = [ProfileUnit(profile, rev, rev + 1, changes, WallTime(START))]
        units += [birth(creator, profile, type="group") for _ in range(BIRTHS)]  # many: the two shall overlap
        sent = flush_of(identity, units)
        try:
            assert await line.flush(Lost, sent.sql, sent.values) == []
        except StatementFailedError as error:
            failures.append(error.sqlstate)

    async with open_postgres(database_url) as postgres:
        for id, name in ((a, "anna"), (b, "bert")):
            await add_user(postgres, id, name)
        lines = [postgres.dedicated(), postgres.dedicated()]
        identities = [await begin_incarnation(postgres, "one"), await begin_incarnation(postgres, "two")]
        for line in lines:
            await line.connect()
        for rev in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flush, lines[0], identities[0], a, b, rev)
                nursery.start_soon(flush, lines[1], identities[1], b, a, rev)
            assert failures == [], f"round {rev}"
        for line in lines:
            line.terminate()
