"""docs/http.md lists every route and every error as they are.

`python tests/webapi/test_documented.py` writes the two tables anew.
"""

import re
from pathlib import Path

import pytest

from actors.limiter import Limit
from actors.shapes.errors import TABLE
from webapi.app import ROUTES
from webapi.routing import Access, Route

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "http.md"


_BESIDE = {
    "/auth/register": Limit.REGISTRATIONS,
    "/auth/login": Limit.LOGINS,
    "/auth/oidc/finish": Limit.LOGINS,
    "/appeals": Limit.REPORTS,
}


def payer(route: Route) -> str:
    if route.access is Access.OPEN:
        return "nobody"
    if route.access is Access.ADMIN:
        return f"an admin: {route.limit}"
    if route.access is Access.ANONYMOUS:
        return "the address: unauthenticated" + (f", {extra}" if (extra := _BESIDE.get(route.path)) else "")
    return f"the user: {route.limit}"


def route_rows() -> list[str]:
    first_line = {route: (route.handler.__doc__ or "").strip().split("\n")[0] for route in ROUTES}
    return [f"| `{route.method} {route.path}` | {payer(route)} | {first_line[route]} |" for route in ROUTES]


def error_rows() -> list[str]:
    return [
        f"| {row.status} | `{code}` | {row.text} | {'yes' if row.retryable else ''} |" for code, row in TABLE.items()
    ]


def rows_under(heading: str, document: str) -> list[str]:
    section = re.split(r"^## ", document, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(heading))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return lines[2:]


@pytest.mark.parametrize(("heading", "rows"), [("Routes", route_rows()), ("Errors", error_rows())])
def test_the_tables_are_those_of_the_code(heading: str, rows: list[str]) -> None:
    written = rows_under(heading, DOCUMENT.read_text(encoding="utf-8"))
    assert written == rows, "\n".join(["docs/http.md should have:", *rows])


def test_a_changed_field_would_be_noticed() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    changed = document.replace("| 401 | `TOKEN_EXPIRED`", "| 403 | `TOKEN_EXPIRED`")
    assert changed != document
    assert rows_under("Errors", changed) != error_rows()


def written_anew(document: str) -> str:
    for heading, rows in (("Routes", route_rows()), ("Errors", error_rows())):
        before, head, after = re.split(rf"^(## {heading}\n)", document, maxsplit=1, flags=re.MULTILINE)
        table = re.search(r"(?:^\|.*\n?)+", after, flags=re.MULTILINE)
        assert table is not None
        top = table[0].splitlines()[:2]
        document = before + head + after[: table.start()] + "\n".join([*top, *rows]) + "\n" + after[table.end() :]
    return document


def test_the_tables_can_be_written_anew() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    damaged = document.replace("| 401 | `TOKEN_EXPIRED`", "| 403 | `TOKEN_EXPIRED`")
    assert written_anew(damaged) == document


if __name__ == "__main__":
    DOCUMENT.write_text(written_anew(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
