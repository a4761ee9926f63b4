"""START.md from nothing: a fresh clone, the two commands, and then the same without a network (`make soak`).

Each takes an install of everything and so is no part of `make check`; docs/trials.md keeps what they said.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from storage.embedded.cluster import remove_home
from tests.system.started import CHECKOUT, Started, assert_nothing_left

MAKE = shutil.which("make") or "make"
NOBODY = 65_534
FIRST_SECONDS, LATER_SECONDS = 50.0, 5.0
# Whatever pip would try must fail: no index, no proxy that answers.
NO_NETWORK = {
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
    "https_proxy": "http://127.0.0.1:9",
}
pytestmark = pytest.mark.soak


@pytest.fixture(params=["as we are", "as nobody"])
def clone(request: pytest.FixtureRequest) -> Iterator[tuple[Path, int | None]]:
    """A clone of what is committed, at a path with a space, and the uid to run as."""
    uid = None
    if request.param == "as nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody else")
        uid = NOBODY
    above = Path(tempfile.mkdtemp(prefix="fresh clone "))
    above.chmod(0o755)
    folder = above / "kith"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(folder)], check=True)
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", str(above)], check=True)
    yield folder, uid
    remove_home(folder / "var")
    shutil.rmtree(above)


def start(clone: Path, uid: int | None, **more: str) -> tuple[Started, float]:
    """`make run` in the clone, and the seconds until a request was answered."""
    # PATH: a user without rights has the system's Python, not one in somebody's home.
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"} if uid is not None else {}
    began = time.monotonic()
    node = Started(clone / "var", [MAKE, "-C", str(clone), "--no-print-directory", "run"], uid=uid, **path, **more)
    url = node.ready(seconds=FIRST_SECONDS + 30.0)
    assert httpx.get(f"{url}/healthz").status_code == 200
    return node, time.monotonic() - began


def test_two_commands_on_a_bare_machine(
    clone: tuple[Path, int | None], record_property: Callable[[str, object], None]
) -> None:
    folder, uid = clone
    node, seconds = start(folder, uid)
    record_property("first make run, seconds", round(seconds, 1))
    assert seconds < FIRST_SECONDS
    assert node.out[-1].startswith("Kith is ready: http://")
    assert len([line for line in node.out if "http://127.0.0.1" in line]) == 1
    os.killpg(node.process.pid, signal.SIGINT)
    assert node.end() in (-signal.SIGINT, 130)

    node, seconds = start(folder, uid, **NO_NETWORK)
    record_property("second make run without a network, seconds", round(seconds, 1))
    assert seconds < LATER_SECONDS
    assert len(node.out) == 1

    # The second command beside the first, which goes on serving.
    arguments = [
        "-C",
        str(folder),
        "--no-print-directory",
        "test",
        "ARGS=-q tests/test_settings.py tests/storage/test_embedded.py",
    ]
    tests = Started(folder / "var", [MAKE, *arguments], uid=uid, **({"HOME": "/nonexistent"} if uid else {}))
    assert tests.end(seconds=300.0) == 0, "\n".join(tests.out[-50:]) + tests.text()
    assert node.process.poll() is None
    assert node.stop(signal.SIGTERM) in (-signal.SIGTERM, 2, 143)
    assert_nothing_left(folder)
