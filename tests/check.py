"""`make check`: every part that must pass, what each cost beside its budget, and one last line that counts.

.venv/bin/python tests/check.py [part …]      parts: format lint types tests coverage
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST_COVERED_PERCENT = 90
# Half of the tests wait for processes to start. Stealing, for the slow ones stand together and would end on one core.
AT_ONCE = ("-n", "2", "--dist", "worksteal")


@dataclass(frozen=True)
class Part:
    name: str
    budget_seconds: int
    command: tuple[str, ...]


@dataclass
class Result:
    part: Part
    seconds: float
    passed: int
    failed: int


def parts(report: Path) -> list[Part]:
    return [
        Part("format", 5, ("-m", "ruff", "format", "--check", ".")),
        Part("lint", 5, ("-m", "ruff", "check", ".")),
        Part("types", 40, ("-m", "mypy")),
        Part(
            "tests", 515, ("-m", "coverage", "run", "-m", "pytest", *AT_ONCE, f"--junitxml={report}", "--durations=10")
        ),
        Part("coverage", 30, ("-m", "coverage", "report", f"--fail-under={LEAST_COVERED_PERCENT}")),
    ]


def run(part: Part, report: Path) -> Result:
    print(f"\n=== {part.name}", flush=True)
    began = time.perf_counter()
    if part.name == "tests":
        forget_coverage()
    elif part.name == "coverage":
        # Every process of the tests, also the servers they started, wrote a file of its own.
        call("-m", "coverage", "combine", "--quiet")
    code = call(*part.command)
    passed, failed = (0, 1) if code else (1, 0)
    if part.name == "tests" and report.exists():
        passed, failed = counted(report)
        failed += code != 0 and failed == 0
    return Result(part, time.perf_counter() - began, passed, failed)


def call(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT).returncode


def forget_coverage() -> None:
    for old in ROOT.glob(".coverage*"):
        old.unlink()


def counted(report: Path) -> tuple[int, int]:
    """Passed and failed of a junit file; what was skipped is neither, and says why in pytest's own output."""
    passed = failed = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        bad = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        failed += bad
        passed += int(suite.get("tests", "0")) - bad - int(suite.get("skipped", "0"))
    return max(passed, 0), failed


def main(wanted: list[str]) -> int:
    os.environ["PYTHONUNBUFFERED"] = "1"
    with tempfile.TemporaryDirectory(prefix="kith-check-") as folder:
        report = Path(folder, "tests.xml")
        results = [run(part, report) for part in parts(report) if not wanted or part.name in wanted]
    print(f"\n{'part':<10} {'seconds':>8} {'budget':>7}")
    for result in results:
        over = "  over budget" if result.seconds > result.part.budget_seconds else ""
        print(f"{result.part.name:<10} {result.seconds:>8.1f} {result.part.budget_seconds:>7}{over}")
    total = sum(result.seconds for result in results)
    print(f"{'all':<10} {total:>8.1f} {sum(result.part.budget_seconds for result in results):>7}")
    failed = sum(result.failed for result in results)
    print(f"{sum(result.passed for result in results)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if re.fullmatch("[a-z]+", name)]))
