"""The command line: `kith serve | migrate | seed | admin | doctor | reset`; each is a module of realtime/commands."""

import argparse
import logging
import sys
from collections.abc import Sequence

import msgspec

from realtime.logs import log_to
from realtime.refusal import RefusalError
from realtime.settings import Reading, SettingsError, process_reading

WORKER = "serve-worker"


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    given = (worker_parser() if arguments[:1] == [WORKER] else parser()).parse_args(arguments)
    try:
        # A doctor goes on with what can be used, and names what cannot beside all the rest.
        reading = process_reading({"KITH_WORKERS": given.workers} if given.workers else {})
        if reading.problems and given.command != "doctor":
            raise SettingsError(reading.problems)
        if given.unsafe:
            unsafe = msgspec.structs.replace(reading.settings, unsafe_durability=True)
            reading = reading._replace(settings=unsafe)
        log_to(sys.stderr, reading.settings.log_level)
        return run(given, reading)
    except SettingsError as error:
        for problem in error.problems:
            say(problem)
    except RefusalError as error:
        say(str(error))
    return 1


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="kith", description="A realtime server for messages and stories.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run a node until it is told to stop")
    serve.add_argument("--workers", default="", metavar="N", help="so many processes behind one port (KITH_WORKERS)")
    commands.add_parser("migrate", help="bring the database's schema up to date")
    commands.add_parser("seed", help="create a small world to look at: people, talks, groups, stories")
    commands.add_parser("bucket", help="make S3_BUCKET in the object store if there is none")
    commands.add_parser("dev", help="run a node that logs everything and starts anew when its sources change")
    commands.add_parser("healthcheck", help="ask the node at PORT how it is; exit code 1 when it cannot serve")
    commands.add_parser("timers", help="say who minds what has a time to keep")
    doctor = commands.add_parser("doctor", help="say what is set, what runs, and what would break")
    doctor.add_argument("--json", action="store_true", help="for a machine to read")
    for parts in (serve, doctor):
        text = "accept a database that can lose what was acknowledged (fsync or full_page_writes off)"
        parts.add_argument("--unsafe", action="store_true", help=text)
    reset = commands.add_parser("reset", help="delete everything that is stored in KITH_VAR; asks first")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    admin = commands.add_parser("admin", help="say who may use /admin")
    deeds = admin.add_subparsers(dest="deed", required=True, metavar="grant|revoke|list")
    for deed, text in (("grant", "make somebody a platform admin"), ("revoke", "take that right away")):
        deeds.add_parser(deed, help=text).add_argument("person", metavar="EMAIL|USERNAME")
    deeds.add_parser("list", help="list the platform admins")
    whole.set_defaults(unsafe=False, yes=False, workers="", person="")
    return whole


def worker_parser() -> argparse.ArgumentParser:
    """Of what `serve --workers` starts; apart, because argparse names whatever it knows when somebody mistypes."""
    worker = argparse.ArgumentParser(prog="kith")
    worker.add_argument("command", choices=[WORKER])
    worker.add_argument("--number", type=int, required=True)
    worker.add_argument("--line", type=int, required=True)
    worker.add_argument("--listeners", required=True)
    worker.add_argument("--after-crash", action="store_true")
    worker.set_defaults(unsafe=False, workers="")
    return worker


def run(given: argparse.Namespace, reading: Reading) -> int:
    """Imported when asked for: `kith doctor` must be able to speak where a node could not even be imported."""
    from realtime.commands.database import sentence
    from storage.database_errors import DatabaseError
    from storage.embedded.errors import EmbeddedError

    try:
        return dispatch(given, reading)
    except (DatabaseError, EmbeddedError) as error:
        raise RefusalError(sentence(error)) from None
    except BaseExceptionGroup as group:
        # trio wraps what a node raises; if it is nothing but errors of the world's, the first is the sentence.
        found = leaves(group)
        if all(isinstance(error, DatabaseError | EmbeddedError | RefusalError) for error in found):
            raise RefusalError(sentence(found[0])) from None
        logging.getLogger("kith").critical("the node crashed", exc_info=group)
        return 1


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def dispatch(given: argparse.Namespace, reading: Reading) -> int:
    command: str = given.command
    settings = reading.settings
    if command == "serve":
        from realtime.commands.serve import serve

        return serve(settings)
    if command == WORKER:
        from realtime.commands.worker import Berth, work

        listeners = tuple(map(int, given.listeners.split(",")))
        return work(settings, Berth(given.number, given.line, listeners, given.after_crash))
    if command == "doctor":
        from realtime.commands.doctor import doctor

        return doctor(reading, as_json=given.json)
    if command == "dev":
        from realtime.commands.dev import develop

        return develop()
    if command == "bucket":
        from realtime.commands.bucket import make_bucket

        return make_bucket(settings)
    if command in ("healthcheck", "timers"):
        from realtime.commands.health import healthcheck, timers

        return healthcheck(settings) if command == "healthcheck" else timers(settings)
    if command == "admin":
        from realtime.commands.admin import admin

        return admin(settings, given.deed, given.person)
    if command == "reset":
        from realtime.commands.reset import reset

        return reset(settings, asked=given.yes)
    from realtime.commands.schema import migrate_now, seed_now

    return migrate_now(settings) if command == "migrate" else seed_now(settings)


def say(sentence: str) -> None:
    print(f"kith: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
