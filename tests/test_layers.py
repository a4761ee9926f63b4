"""Imports point down only, some packages have one door, and time comes from the clock that was handed in."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("actors", "loadtest", "realtime", "storage", "tests", "webapi")

# Who may import what of ours, by longest prefix. An entry covers the module of that name and all below it.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "actors.shapes": ("actors.shapes",),
    "actors.rules": ("actors.shapes", "actors.rules"),
    "actors.ports": ("actors.shapes", "actors.rules"),
    "actors": ("actors",),
    "storage": ("actors", "storage"),
    "webapi": ("actors", "webapi"),
    "realtime": ("actors", "realtime"),
    # What puts a node together: main.py and assembly/, and the commands that start it or work beside it.
    "realtime.main": OURS,
    "realtime.assembly": OURS,
    "realtime.commands": ("actors", "storage", "realtime"),
    "realtime.cli": ("storage.database_errors", "storage.embedded.errors", "realtime"),
    # Runs before anything is installed.
    "realtime.installer": (),
    "loadtest": OURS,
    "tests": OURS,
}

# Packages without types, or with a knowledge that must stay in one place, and the modules that may import them.
ONE_DOOR: dict[str, tuple[str, ...]] = {
    "asyncpg": ("storage.postgres",),
    "trio_asyncio": ("storage.postgres",),
    "hiredis": ("storage.redis.replies",),
    "psutil": ("storage.embedded.processes",),
    "prometheus_client": ("actors.metrics",),
}

# What decides must not be able to look around.
PURE = ("actors.rules", "actors.shapes")
IMPURE = {"trio", "time", "random", "secrets", "socket", "os", "asyncio", "threading", "subprocess", "pathlib"}
IMPURE |= {"uuid_utils", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"}  # but uuid.UUID is a type

CLOCK_READS = {
    ("time", "time"),
    ("time", "time_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("trio", "current_time"),
}
CLOCK = "actors.clock"


def sources() -> Iterator[tuple[str, Path]]:
    for folder in ("actors", "loadtest", "realtime", "storage"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield module_name(path.relative_to(ROOT)), path
    for path in sorted((ROOT / "http").rglob("*.py")):
        yield module_name(path.relative_to(ROOT / "http")), path


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            # `from actors import rules` names a module, `from actors.rules import decide` a thing in one.
            for name in node.names:
                yield f"{node.module}.{name.name}", node.lineno


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def allowed_for(module: str) -> tuple[str, ...]:
    named = [prefix for prefix in MAY_IMPORT if within(module, (prefix,))]
    return MAY_IMPORT[max(named, key=len)]


def offences(module: str, text: str) -> list[str]:
    """Every line of one module that breaks a rule of this file."""
    tree = ast.parse(text)
    found = []
    for imported, line in imports(tree):
        top = imported.split(".")[0]
        where = f"{module}:{line} imports {imported}"
        if top in OURS and not within(imported, allowed_for(module)):
            found.append(f"{where}, which is not below it")
        if top == "http" and not imported.startswith(("http.client", "http.server", "http.cookies", "http.HTTP")):
            found.append(f"{where}: http is the standard library's, ours is webapi")
        if within(module, PURE) and (top in IMPURE or imported in IMPURE):
            found.append(f"{where}, and what decides has no clock, chance or I/O")
        doors = ONE_DOOR.get(top)
        if doors is not None and module not in doors and not exempt(module):
            found.append(f"{where}, whose door is {', '.join(doors)}")
    if module != CLOCK and not exempt(module):
        found += [
            f"{module}:{line} reads {call}, and time comes from the clock handed in" for call, line in clock(tree)
        ]
    return found


def exempt(module: str) -> bool:
    return module.split(".")[0] == "loadtest"


def clock(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if (name, node.attr) in CLOCK_READS:
                yield f"{name}.{node.attr}", node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (node.module, alias.name) in CLOCK_READS:
                    yield f"{node.module}.{alias.name}", node.lineno


def test_every_module_keeps_to_its_layer() -> None:
    found = [offence for module, path in sources() for offence in offences(module, path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_http_stays_a_bare_folder() -> None:
    # A package of that name would stand in front of the standard library's.
    assert not (ROOT / "http" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("actors.rules.story", "import trio"),
        ("actors.rules.story", "from actors import mailbox"),
        ("actors.rules.story", "from uuid import uuid4"),
        ("actors.shapes.story", "from actors.rules import story"),
        ("actors.ports", "import actors.mailbox"),
        ("actors.story", "from storage.journal import Journal"),
        ("webapi.stories", "from storage.stories import load"),
        ("webapi.stories", "import realtime.session"),
        ("realtime.session", "import webapi"),
        ("realtime.gateway.edge", "from storage.postgres import Postgres"),
        ("storage.stories", "import asyncpg"),
        ("storage.stories", "from realtime import settings"),
        ("actors.story", "import time; time.time()"),
        ("actors.story", "import datetime; datetime.datetime.now()"),
        ("actors.story", "from trio import current_time"),
        ("realtime.main", "from http.webapi import app"),
    ],
)
def test_the_rules_catch(module: str, line: str) -> None:
    """Each of these once seemed harmless to somebody; a rule that lets one pass is no rule."""
    assert offences(module, line)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("realtime.main", "from storage.journal import Journal\nfrom webapi.app import make_app"),
        ("storage.postgres", "import asyncpg\nimport trio_asyncio"),
        ("actors.clock", "import time\ntime.time_ns()"),
        ("webapi.app", "from http.cookies import SimpleCookie\nfrom actors.ports import Journal"),
        ("loadtest.swarm", "import time\ntime.time()\nimport storage.postgres"),
    ],
)
def test_the_rules_let_pass(module: str, line: str) -> None:
    assert not offences(module, line)
