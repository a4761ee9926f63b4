"""What a figure depends on: machine, versions, commit, and the settings in force of node and database."""

import os
import platform
import resource
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import trio

from realtime.settings import load_settings
from storage.postgres import Statements, run_once

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("trio", "trio-asyncio", "trio-websocket", "asyncpg", "msgspec", "hypercorn", "quart-trio")
# What decides how much a commit costs and what survives a crash.
DATABASE_SETTINGS: Final = (
    "server_version", "fsync", "full_page_writes", "synchronous_commit", "wal_level", "wal_sync_method",
    "shared_buffers", "commit_delay", "max_wal_size", "checkpoint_timeout", "synchronous_standby_names",
)  # fmt: skip


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    return done.stdout.strip()


def commit() -> str:
    """The short name of what is measured; `+` when the checkout has changes beside it."""
    name = _said("git", "rev-parse", "--short=10", "HEAD") or "unknown"
    return name + ("+" if _said("git", "status", "--porcelain", "--untracked-files=no") else "")


def machine() -> dict[str, Any]:
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_mb": memory[0] // 1024 if memory else None,
        "system": platform.platform(),
        "file_system": _said("stat", "-f", "-c", "%T", str(CHECKOUT)),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "load_before": os.getloadavg()[0],
    }


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except FileNotFoundError:
        return []


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def node_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """As the node reads them, secrets masked; folders of this machine are nobody's business."""
    shown = dict(load_settings(environment).shown())
    return {name: text for name, text in shown.items() if name not in ("KITH_VAR", "KITH_NODE", "DATABASE_URL")}


def database_settings(url: str) -> dict[str, str]:
    async def ask(database: Statements) -> list[tuple[str, str]]:
        names = list(DATABASE_SETTINGS)
        return await database.fetch(_pair, "select name, setting from pg_settings where name = any($1)", names)

    return dict(sorted(trio.run(run_once, url, ask)))


def _pair(name: str, setting: str) -> tuple[str, str]:
    return name, setting


def unlogged_tables(url: str) -> int:
    """Must be none: what is not in the log is not durable."""

    async def ask(database: Statements) -> int:
        return await database.fetchval(int, "select count(*) from pg_class where relpersistence = 'u'") or 0

    return trio.run(run_once, url, ask)
