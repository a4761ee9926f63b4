"""`kith doctor`: what is set, what runs and what would break; exit code 1 when something would. One question a file."""

import os

import trio

from realtime.commands.database import command_database
from realtime.commands.doctor.buckets import limit_rows
from realtime.commands.doctor.database import database_rows, judge_database
from realtime.commands.doctor.database_facts import database_facts
from realtime.commands.doctor.in_force import judge_names, judge_settings, settings_rows
from realtime.commands.doctor.kernel import kernel_rows
from realtime.commands.doctor.machine import machine_rows
from realtime.commands.doctor.neighbours import neighbour_rows
from realtime.commands.doctor.port import port_rows
from realtime.commands.doctor.report import Report
from realtime.commands.doctor.versions import judge_versions, version_rows
from realtime.env_file import scan_env_file
from realtime.settings import CHECKOUT, Reading

# Without one of these the doctor would examine, or even make, another database than the one that is meant.
WHICH_DATABASE = {"database_url", "kith_var"}


def doctor(reading: Reading, *, as_json: bool = False) -> int:
    report = examine(reading)
    print(report.json() if as_json else report.text())
    return 1 if report.problems else 0


def examine(reading: Reading) -> Report:
    """All of it, also when a setting is wrong: whoever mends one mistake wants to know of the next one, too."""
    report, settings = Report(), reading.settings
    env_file, _ = scan_env_file(CHECKOUT / ".env")
    for sentence in reading.problems:
        report.problem(sentence)
    report.chapter("Versions", version_rows())
    judge_versions(CHECKOUT / "constraints.txt", report)
    report.chapter("Settings", settings_rows(settings, os.environ, env_file, reading.unusable))
    judge_names(env_file, report)
    judge_settings(settings, report)
    each = ", in each worker" if settings.kith_workers > 1 else ""
    report.chapter(f"Limits (per user or address{each})", limit_rows(settings))
    report.chapter("Machine", machine_rows(settings, report))
    report.chapter("Kernel", kernel_rows(settings, report))
    with report.catching():
        report.chapter("Node", port_rows(settings, report))
    report.chapter("Neighbours", neighbour_rows(settings, report))
    if reading.unusable & WHICH_DATABASE:
        return report
    with report.catching(), command_database(settings) as url:
        facts = trio.run(database_facts, url)
        report.chapter("Database", database_rows(facts))
        judge_database(facts, settings, report)
    return report
