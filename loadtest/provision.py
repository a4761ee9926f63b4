"""`python -m loadtest.provision`: users, sessions and conversations for load tests, in the database of the settings."""

import argparse
import multiprocessing
import os
import secrets
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import trio
from nacl.pwhash import argon2id

from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.tokens import TokenAuthority
from loadtest import crowd, crowd_rows, roster
from realtime.commands.database import bring_up_to_date, command_database
from realtime.refusal import RefusalError
from realtime.secret import settle_secret
from realtime.settings import SettingsError, process_settings
from realtime.var_folder import prepare_var
from storage.database_errors import DatabaseError
from storage.embedded.errors import EmbeddedPostgresError
from storage.postgres import Postgres, Statements, open_postgres

LIFETIME: Final = Seconds(24 * 3600)
PEOPLE_PER_COMMIT: Final = 2_000  # 0.1 to 0.2 s: commits come at least once a second
PEOPLE_PER_SIGNER: Final = 5_000  # a signature takes 50 us; below this a process of its own costs more than it saves
NOW: Final = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"
SMALLEST_GROUP: Final = 2


def sign(secret: str, now: WallTime, people: list[tuple[str, str]]) -> list[str]:
    """Access tokens of these (user, login)s, as the running server would issue them, but for a day."""
    authority = TokenAuthority(secret)
    return [authority.issue(UserId(user), LoginId(login), now, LIFETIME) for user, login in people]


def sign_all(secret: str, now: WallTime, gatherings: list[crowd.Gathering]) -> Iterator[roster.Line]:
    """Lines of the users' file; signed by several processes when there is much to sign."""
    everybody = [(person.user_id, person.login_id) for gathering in gatherings for person in gathering.members]
    parts = [everybody[i : i + PEOPLE_PER_SIGNER] for i in range(0, len(everybody), PEOPLE_PER_SIGNER)]
    if len(parts) < 2:
        signed = [sign(secret, now, part) for part in parts]
    else:
        # Spawned, not forked: a fork copies whatever threads the caller has in whatever state they are.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(len(parts), os.cpu_count() or 1), context) as signers:
            signed = list(signers.map(partial(sign, secret, now), parts))
    tokens = iter([token for part in signed for token in part])
    for gathering in gatherings:
        for person in gathering.members:
            yield roster.Line(person.user_id, next(tokens), gathering.id, gathering.peer_of(person))


async def store(database: Postgres, gatherings: list[crowd.Gathering], prefix: str) -> WallTime:
    """Write them, a commit at a time; returns the database's time, by which the tokens are issued."""
    # A real hash of a password that nobody knows, so that a sign-in of such a user fails like any other.
    password_hash: str = argon2id.str(secrets.token_bytes(16), opslimit=1, memlimit=8 << 20).decode()
    for n, batch in enumerate(crowd.batches(iter(gatherings), PEOPLE_PER_COMMIT), 1):

        async def work(statements: Statements, batch: list[crowd.Gathering] = batch, n: int = n) -> None:
            await crowd_rows.write(statements, batch, password_hash, prefix, n)

        await database.transaction(work)
    # The planner of a server that was empty a moment ago must know that it is not any more.
    await database.execute("analyze users, sessions, conversations, conversation_members")
    now = await database.fetchval(int, NOW)
    assert now is not None  # a select without from has one row
    return WallTime(now)


def provision(url: str, secret: str, request: crowd.Request, out: Path) -> int:
    """Everything; returns how many users the file has. Used by the benchmark, too."""
    prefix = secrets.token_hex(4)
    gatherings = list(crowd.gatherings(request, prefix))

    async def store_all() -> WallTime:
        async with open_postgres(url, connections=1) as database:
            return await store(database, gatherings, prefix)

    return roster.write(out, sign_all(secret, trio.run(store_all), gatherings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.provision", description=__doc__)
    parser.add_argument("--pairs", type=int, default=0, help="1:1 conversations, two users each")
    parser.add_argument("--groups", type=int, default=0)
    parser.add_argument("--group-size", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="`user_id access_token conversation_id peer_user_id`")
    return parser


def _request(given: argparse.Namespace) -> crowd.Request:
    request = crowd.Request(given.pairs, given.groups, given.group_size)
    if min(request) < 0 or not (request.pairs or request.groups):
        raise SystemExit("provision: nothing to make: give --pairs or --groups")
    if request.groups and request.group_size < SMALLEST_GROUP:
        raise SystemExit(f"provision: --groups needs a --group-size of at least {SMALLEST_GROUP}")
    return request


def main() -> int:
    given = _parser().parse_args()
    request = _request(given)
    began = time.monotonic()
    try:
        settings = process_settings()
        prepare_var(settings.var)
        settings = settle_secret(settings)
        with command_database(settings) as url:
            trio.run(bring_up_to_date, url)
            users = provision(url, settings.jwt_secret, request, given.out)
    except (SettingsError, RefusalError, DatabaseError, EmbeddedPostgresError, OSError) as error:
        print(f"provision: {error}", file=sys.stderr)
        return 1
    print(f"{users} users in {given.out}, {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
