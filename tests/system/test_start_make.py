"""START.md's points 8 and 9 in trials: `make run` under a terminal's signals, and `make test` beside it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import copy_of_var
from tests.system.started import (
    CHECKOUT,
    Started,
    assert_nothing_left,
    environment,
    eventually,
    folder_for_var,
    left_behind,
)

MAKE = shutil.which("make") or "make"
pytestmark = pytest.mark.skipif(
    not (CHECKOUT / ".venv" / ".stamp").exists(), reason="these tests run from another environment than make's"
)


@pytest.fixture
def var(stopped_var: Path) -> Iterator[Path]:
    with folder_for_var() as folder:
        yield copy_of_var(stopped_var, folder.parent)


@pytest.mark.alone
def test_make_run_is_the_server_itself(var: Path) -> None:
    """One line on stdout, ready within 5 s of a warm start, and Ctrl-C ends make, server and PostgreSQL in order."""
    began = time.monotonic()
    first = Started(var, [MAKE, "run"])
    first.ready()
    assert time.monotonic() - began < 5.0, f"ready after {time.monotonic() - began:.1f} s"
    home = first.home
    os.killpg(first.process.pid, signal.SIGINT)
    # 130 is make's own word for it; the server's is in its log.
    assert first.end() in (-signal.SIGINT, 130)
    assert len(first.out) == 1, first.out
    assert '"stopped"' in first.text()
    assert "haste" not in first.text()
    assert_nothing_left(var, home)


def test_a_sigterm_to_make_alone_stops_the_server(var: Path) -> None:
    """What a supervisor does that knows only the process it started; make passes it on."""
    started = Started(var, [MAKE, "run"])
    started.ready()
    assert started.stop(signal.SIGTERM) in (-signal.SIGTERM, 2, 143)
    assert '"stopped"' in started.text()
    assert_nothing_left(var, started.home)


def test_the_tests_have_a_database_of_their_own_and_leave_nothing(var: Path) -> None:
    """Beside a running server, with a shell that names another database; then every process is gone."""
    temporary = Path(tempfile.mkdtemp(prefix="kith-nested-"))
    temporary.chmod(0o755)
    beside = Started(var)
    beside.ready()
    tests = (
        "tests/storage/test_embedded.py::test_the_log_holds_nothing_that_people_wrote",
        "tests/system/test_start.py::test_a_newer_schema_is_one_sentence",
    )
    inner = {"TMPDIR": str(temporary), "DATABASE_URL": "postgresql://nobody@192.0.2.1/nothing"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=CHECKOUT,
        env=environment(var, **inner),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert left_behind(temporary) == []
    assert not list(temporary.glob("kith-*")), list(temporary.iterdir())
    assert beside.stop() == 0
    shutil.rmtree(temporary)


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.soak), signal.SIGKILL])
def test_a_test_run_that_is_cut_off_leaves_nothing(end: signal.Signals, tmp_path: Path) -> None:
    """A CI that gives up used to leave a PostgreSQL behind for each run; nobody stopped it ever again."""
    temporary = Path(tempfile.mkdtemp(prefix="kith-nested-"))
    temporary.chmod(0o755)
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text("import time\ndef test_it(cluster):\n    print('http://', flush=True)\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "-p", "tests.conftest", str(hanging)]
    run = Started(tmp_path / "var", command, TMPDIR=str(temporary))
    eventually(lambda: any("http://" in line for line in run.out), "the hanging test to begin", 30.0)
    assert left_behind(temporary)
    run.process.send_signal(end)
    run.end()
    assert_nothing_left(temporary)
    eventually(lambda: not list(temporary.glob("kith-*")), "the cluster's folders to go")
    shutil.rmtree(temporary)
