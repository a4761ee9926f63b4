"""How much this machine has of what a node needs: processors, memory, descriptors, disk."""

import os
import platform
import resource
import shutil
from pathlib import Path

from actors.passwords import PasswordOptions
from realtime.commands.doctor.report import Report, Rows
from realtime.settings import Settings
from realtime.var_folder import LEAST_FREE_BYTES, file_system, prepare_var

# Kept back from connections: the database, files, health checks.
DESCRIPTOR_RESERVE = 512
# Measured: a worker with all its modules, and an idle signed-in connection (5.4 KB of ours; the rest is the kernel's).
PROCESS_BYTES, CONNECTION_BYTES = 120_000_000, 16_000
HASH_BYTES = PasswordOptions().memory


def machine_rows(settings: Settings, report: Report) -> Rows:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows = [("system", platform.platform()), ("processors", str(processors))]
    if settings.kith_workers > processors:
        report.note(
            f"KITH_WORKERS is {settings.kith_workers}, and there are {processors} processors.",
            "The workers take turns: each message waits longer, and no more of them get through.",
        )
    rows += _descriptors(settings, report) + _memory(settings, report)
    with report.catching():
        prepare_var(settings.var)
        rows.append(("KITH_VAR", _disk(settings.var)))
        data = (settings.var / "postgres").resolve() / "data"
        if not settings.database_url and data.exists():
            rows.append(("PostgreSQL's data", _disk(data)))
            _judge_disk(data, report)
    return rows


def _descriptors(settings: Settings, report: Report) -> Rows:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return [("descriptors", f"{soft} now, without an end")]
    planned = -(-settings.max_connections // settings.kith_workers)
    room = max(0, hard - DESCRIPTOR_RESERVE)
    if room < planned:
        each = " of a worker" if settings.kith_workers > 1 else ""
        report.note(
            f"MAX_CONNECTIONS is {settings.max_connections}, and {hard} descriptors leave room for {room}{each}.",
            "Who comes after that is refused with 503: raise the hard limit (ulimit -Hn) or add workers.",
        )
    return [("descriptors", f"{soft} now, {hard} at most; room for {room} connections of each worker")]


def _memory(settings: Settings, report: Report) -> Rows:
    most = memory_bytes()
    if most is None:
        return []
    planned = settings.kith_workers * PROCESS_BYTES + settings.max_connections * CONNECTION_BYTES
    planned += settings.password_hash_concurrency * HASH_BYTES
    if planned > most:
        report.note(
            f"MAX_CONNECTIONS={settings.max_connections} and KITH_WORKERS={settings.kith_workers} come to"
            f" {planned // 1_000_000} MB when all are idle, and there are {most // 1_000_000} MB.",
            "With all of them connected the kernel would end the server, or PostgreSQL.",
        )
    return [("memory", f"{most // 1_000_000} MB to be had; {planned // 1_000_000} MB with MAX_CONNECTIONS idle ones")]


def memory_bytes(root: Path = Path("/")) -> int | None:
    """What is available, or what the container is allowed if that is less."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        found = [int(line.split()[1]) * 1_024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        return None
    try:
        allowed = int((root / "sys/fs/cgroup/memory.max").read_text())
        used = int((root / "sys/fs/cgroup/memory.current").read_text())
        found.append(max(0, allowed - used))
    except (OSError, ValueError):
        pass  # no container, or one without a bound ("max")
    return min(found, default=None)


def _disk(folder: Path) -> str:
    usage = shutil.disk_usage(folder)
    kind = file_system(folder)
    return f"{folder}, {usage.free // 1_000_000} of {usage.total // 1_000_000} MB free{f', {kind}' if kind else ''}"


def _judge_disk(folder: Path, report: Report) -> None:
    usage = shutil.disk_usage(folder)
    if usage.free < max(LEAST_FREE_BYTES * 4, usage.total // 20):
        report.note(
            f"The disk of {folder} has {usage.free // 1_000_000} MB left.",
            "When it is full PostgreSQL stops, and nothing that is sent is acknowledged any more.",
        )
