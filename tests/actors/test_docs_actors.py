"""docs/actors.md tells the truth: its code runs, the tests that it names exist, and so do the reasons it lists."""

import re
from pathlib import Path
from typing import Any

import pytest

from actors.mailbox import StopReason

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "actors.md"
TEXT = PAGE.read_text()


def blocks() -> list[tuple[int, str]]:
    """Each block of Python with the line it begins in."""
    found = re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [(TEXT.count("\n", 0, match.start(1)), match.group(1)) for match in found]


@pytest.mark.filterwarnings("error")
def test_every_block_of_the_page_runs() -> None:
    """One after the other in one namespace, as a reader would type them."""
    names: dict[str, Any] = {"__name__": "docs_actors"}
    for line, block in blocks():
        # The blank lines make a traceback point into the page.
        exec(compile("\n" * line + block, str(PAGE), "exec"), names)
    assert names["STORED"]["customers"] == 7, "the last block was reached"


def test_every_heading_that_promises_code_has_some() -> None:
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    without = [section.splitlines()[0] for section in sections if "```python" not in section]
    assert without == ["The idea in a page", "What is guaranteed", "What it costs"]


def test_the_tests_that_the_page_names_exist() -> None:
    written = "\n".join(path.read_text() for path in (ROOT / "tests" / "actors").glob("test_*.py"))
    named = re.findall(r"\| `(test_\w+)` \|", TEXT)
    assert len(named) >= 20
    assert [name for name in named if f"def {name}(" not in written] == []
    assert all((ROOT / path).exists() for path in re.findall(r"`(tests/\S+\.py)`", TEXT))


def test_the_page_lists_every_stop_reason() -> None:
    assert [reason for reason in StopReason if f"`{reason}`" not in TEXT] == []


def test_the_blocks_are_written_like_the_code() -> None:
    assert all(len(line) <= 120 for _, block in blocks() for line in block.splitlines())
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", TEXT)
