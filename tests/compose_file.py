"""docker-compose.yml as Compose would read it: merged, extended, and with its variables filled in."""

import re
from pathlib import Path
from typing import Any

import yaml

from storage.migrator import FOLDER

CHECKOUT = FOLDER.parent
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Z0-9_]+)(?:(?P<kind>:[?-])(?P<rest>[^}]*))?\})")

Document = dict[str, Any]


class MissingVariableError(Exception):
    """Compose would refuse to start: a variable has no value and no default."""


def read(name: str = "docker-compose.yml") -> Document:
    document: Document = yaml.safe_load((CHECKOUT / name).read_text(encoding="utf-8"))
    for service in document["services"].values():
        other = service.pop("extends", None)
        if other is not None:
            for key, value in read(other["file"])["services"][other["service"]].items():
                service.setdefault(key, value)
    return document


def filled(value: Any, variables: dict[str, str]) -> Any:
    """With every ${NAME}, ${NAME:-default} and ${NAME:?why} replaced, and $$ for a dollar."""
    if isinstance(value, dict):
        return {name: filled(entry, variables) for name, entry in value.items()}
    if isinstance(value, list):
        return [filled(entry, variables) for entry in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        text = variables.get(match["name"], "")
        if not text and match["kind"] == ":?":
            raise MissingVariableError(match["name"])
        return text or (match["rest"] or "")

    return _VARIABLE.sub(replace, value)


def variables(value: Any) -> set[tuple[str, str, str]]:
    """(name, `:-` or `:?` or nothing, default) of every variable that is asked for."""
    if isinstance(value, dict):
        return {found for entry in value.values() for found in variables(entry)}
    if isinstance(value, list):
        return {found for entry in value for found in variables(entry)}
    matches = _VARIABLE.finditer(value) if isinstance(value, str) else ()
    return {(match["name"], match["kind"] or "", match["rest"] or "") for match in matches if match["name"]}


def read_variables(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


_WORD = re.compile(r"\b[a-z_][a-z0-9_]*\b")
_NOT_NAMES = {"by", "le", "sum", "max", "min", "rate", "increase", "histogram_quantile", "and", "or", "on", "without"}


def metrics_in(expression: str) -> set[str]:
    """The metrics a PromQL expression names: the words that are no function, no label and no label's value."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)', " ", expression)
    return {word for word in _WORD.findall(bare) if word not in _NOT_NAMES}
