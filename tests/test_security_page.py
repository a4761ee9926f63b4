"""docs/security.md is true: the tests it names exist, and what it says of the whole program holds for all of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layers import sources

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "security.md"

# Whoever opens a connection to somewhere, and to where: each is set by the operator, none by a client.
CALL_OUT = {
    "storage.postgres": "PostgreSQL",
    "storage.direct_line": "PostgreSQL",
    "storage.redis.connection": "Redis",
    "storage.object_store": "the object store",
    "realtime.oidc.fetching": "the identity provider",
    "realtime.commands.doctor.neighbours": "the identity provider, asked by the operator",
    "realtime.commands.doctor.redis_line": "Redis, asked by the operator",
    "realtime.commands.running": "the node that runs here",
    "storage.embedded.valkey": "the Valkey that was started here",
}
CONNECTORS = {"httpx", "urllib.request", "http.client", "asyncpg", "requests", "aiohttp", "smtplib", "ftplib"}
CALLS = {"open_tcp_stream", "open_ssl_over_tcp_stream", "create_connection", "open_connection"}


def named_tests() -> Iterator[tuple[str, str]]:
    yield from re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), sorted(set(named_tests())))
def test_the_page_names_tests_that_exist(file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file(), f"{file} is not there"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_page_names_many() -> None:
    assert len(set(named_tests())) > 40


def calls_out(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(name.name in CONNECTORS for name in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module in CONNECTORS:
            return True
        if isinstance(node, ast.Attribute) and node.attr in CALLS:
            return True
    return False


def test_only_these_modules_call_out() -> None:
    found = {
        module
        for module, path in sources()
        if not module.startswith("loadtest") and calls_out(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found <= CALL_OUT.keys(), f"{sorted(found - CALL_OUT.keys())} call out: to whom, and who says so?"


STATEMENT = re.compile(
    r"\b(select|insert into|update|delete from|with)\b .*\b(from|into|set|values|as|where)\b", re.IGNORECASE | re.DOTALL
)


def made_up(tree: ast.AST) -> Iterator[int]:
    """Lines where a text that looks like SQL is put together at run time, inside a function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
                if STATEMENT.search(text):
                    yield node.lineno
            match node:
                case ast.BinOp(left=ast.Constant(value=value), op=ast.Mod()) if STATEMENT.search(str(value)):
                    yield node.lineno


_FILTERED = "its conditions are constants put together by storage/pages.py, their values parameters"
OF_CONSTANTS = {
    "storage.appeals": _FILTERED,
    "storage.audit": _FILTERED,
    "storage.people": _FILTERED,
    "storage.reports": _FILTERED,
    "storage.embedded.cluster": "the name of our own database",
}


def test_no_statement_is_made_of_what_somebody_sent() -> None:
    found = [
        f"{module}:{line}"
        for module, path in sources()
        if not module.startswith("loadtest") and module not in OF_CONSTANTS
        for line in made_up(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, f"{found} make SQL at run time; use parameters"


def test_such_a_statement_would_be_found() -> None:
    assert list(made_up(ast.parse("def f(x):\n    return f'select * from users where name = {x}'")))
    assert list(made_up(ast.parse("def f(x):\n    return 'delete from users where id = %s' % x")))
