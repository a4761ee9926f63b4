"""The file .env: its NAME=value lines, the lines that are none, and the names that nobody obeys."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from realtime.setting_options import OPTIONS

# Of the source documents and of tools that read the same file; not ours, and no typing error either.
OTHERS = ("COMPOSE_", "DOCKER_", "GF_", "GRAFANA_", "POSTGRES_", "VALKEY_", "PROMETHEUS_", "PG")


def scan_env_file(file: Path) -> tuple[dict[str, str], list[str]]:
    """What it sets, and a sentence for each line that sets nothing; # begins a comment line; one pair of quotes around
    a value is taken off."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{file} cannot be read: {error}."]
    found: dict[str, str] = {}
    problems = []
    for number, raw in enumerate(lines, 1):
        line = raw.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            problems.append(f"{file.name} line {number} must be NAME=value.")
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name.strip()] = value
    return found, problems


def unknown_names(names: Iterable[str]) -> list[str]:
    """A misspelt name in .env is obeyed by nobody; of the shell's environment nobody asks, it is full of others'."""
    known = [option.name for option in OPTIONS] + [option.alias for option in OPTIONS if option.alias]
    sentences = []
    for name in names:
        if name in known or name.startswith(OTHERS):
            continue
        close = difflib.get_close_matches(name.upper(), known, 1)
        meant = f" Was {close[0]} meant?" if close else ""
        sentences.append(f".env sets {name}, which Kith does not know.{meant}")
    return sentences
