"""START.md's points 3 to 5 in trials: .venv is made anywhere, filled with what the pins name, and then left alone.

The wheel installed here is made on the spot, so that nothing of this needs a network.
"""

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from realtime import installer
from realtime.installer import InstallError
from tests.system.started import CHECKOUT

MAKE = shutil.which("make") or "make"


def make_wheel(folder: Path) -> str:
    """A package `tiny` of one module; the hash of its wheel."""
    files = {
        "tiny.py": "value = 7\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: trial\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr("tiny-1.0.dist-info/RECORD", record + "tiny-1.0.dist-info/RECORD,,\n")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the install needs of a checkout, at a path with a space, asking for the one small package."""
    root = tmp_path / "my checkout"
    (root / "realtime").mkdir(parents=True)
    for name in ("Makefile", "realtime/installer.py", "realtime/__init__.py"):
        shutil.copy(CHECKOUT / name, root / name)
    (tmp_path / "wheels").mkdir()
    pin = f"# a comment\ntiny==1.0 \\\n    --hash=sha256:{make_wheel(tmp_path / 'wheels')}\n"
    (root / "constraints.txt").write_text(pin)
    (root / "constraints-test.txt").write_text("# nothing more\n")
    return root


def make(checkout: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "../wheels", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [MAKE, *arguments], cwd=checkout, env={**kept, **offline, **more}, capture_output=True, text=True, timeout=120
    )


def python_of(checkout: Path, code: str) -> str:
    command = [str(checkout / ".venv" / "bin" / "python"), "-I", "-c", code]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd="/").stdout.strip()


def with_another_hash(checkout: Path) -> str:
    """Pins as they look beside a mirror that rebuilds wheels; returns what they were."""
    pins = (checkout / "constraints.txt").read_text()
    (checkout / "constraints.txt").write_text(re.sub("sha256:.{8}", "sha256:00000000", pins))
    return pins


def test_installed_once_and_then_offline(checkout: Path) -> None:
    pins = with_another_hash(checkout)
    refused = make(checkout, "install")
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert "HASHES=0 make run" in refused.stderr
    (checkout / "constraints.txt").write_text(pins)

    first = make(checkout, "install")
    assert first.returncode == 0, first.stdout + first.stderr
    # A hundred lines of pip were the first that a newcomer saw; a line a step is what he wants to know.
    assert first.stdout.splitlines() == ["Installing 1 pinned packages ...", "  1 of 1 looked up", "  unpacking"]
    assert first.stderr == ""
    # The pinned package, and Kith itself from the checkout, at a path with a space.
    code = "import tiny, realtime.installer as i; print(tiny.value, i.ROOT)"
    assert python_of(checkout, code) == f"7 {checkout}"
    launcher = (checkout / ".venv" / "bin" / "kith").read_text()
    assert str(checkout) not in launcher
    assert os.access(checkout / ".venv" / "bin" / "kith", os.X_OK)

    # Neither a network nor pip is needed from here on, whatever the times of the files say.
    shutil.rmtree(checkout.parent / "wheels")
    (packages,) = (checkout / ".venv" / "lib").glob("python*/site-packages")
    shutil.rmtree(packages / "pip")
    for name in ("Makefile", "constraints.txt", "constraints-test.txt"):
        os.utime(checkout / name)
    second = make(checkout, "install")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")

    # Other pins are another matter: what cannot be had stops the start.
    (checkout / "constraints.txt").write_text(f"{pins}other==1.0 --hash=sha256:{'0' * 64}\n")
    third = make(checkout, "install")
    assert third.returncode != 0
    assert "the pinned packages could not be installed" in third.stderr or "there is no pip" in third.stderr


def test_without_a_python_one_sentence(checkout: Path) -> None:
    (checkout / "empty").mkdir()
    refused = make(checkout, "install", PATH=str(checkout / "empty"))
    assert refused.returncode != 0
    assert refused.stderr.startswith("Kith needs Python 3.11 or newer")
    assert not (checkout / ".venv").exists()


def test_the_committed_pins_are_hashed_and_name_no_address() -> None:
    for name in ("constraints.txt", "constraints-test.txt"):
        text = (CHECKOUT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        for block in re.split(r"\n(?=\S)", text.strip()):
            if not block.startswith("#"):
                assert re.match(r"[a-z0-9._-]+==\S+ \\\n", block), block.splitlines()[0]
                assert re.search(r"--hash=sha256:[0-9a-f]{64}$", block), block.splitlines()[0]


# -- The installer itself, with the parts that take seconds replaced


def aim(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    venv = checkout / ".venv"
    for name, value in {"ROOT": checkout, "VENV": venv, "PYTHON": venv / "bin" / "python"}.items():
        monkeypatch.setattr(installer, name, value)
    monkeypatch.setattr(installer, "STAMP", venv / ".stamp")


def without_ensurepip(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))


@pytest.fixture
def small(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The installer on the small checkout; the list says which sets were filled."""
    aim(monkeypatch, checkout)
    filled: list[str] = []

    def make_venv() -> None:
        (installer.VENV / "bin").mkdir(exist_ok=True)
        installer.PYTHON.unlink(missing_ok=True)
        installer.PYTHON.symlink_to(sys.executable)

    def fill(what: str, *, check_hashes: bool) -> None:
        filled.append(what)

    monkeypatch.setattr(installer, "make_venv", make_venv)
    monkeypatch.setattr(installer, "fill", fill)
    monkeypatch.setattr(installer, "write_links", lambda: None)
    return filled


def test_each_set_is_filled_when_its_pins_change(small: list[str]) -> None:
    installer.install("run", check_hashes=True)
    installer.install("run", check_hashes=True)
    assert small == ["run"]
    installer.install("test", check_hashes=True)
    installer.install("run", check_hashes=True)
    installer.install("test", check_hashes=True)
    assert small == ["run", "test"]
    (installer.ROOT / "constraints-test.txt").write_text("# more\n")
    installer.install("run", check_hashes=True)
    assert small == ["run", "test"]
    installer.install("test", check_hashes=True)
    assert small == ["run", "test", "test"]
    (installer.ROOT / "Makefile").write_text("# changed\n")
    installer.install("run", check_hashes=True)
    assert small == ["run", "test", "test", "run"]


def test_an_install_that_was_cut_off_is_begun_again(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(installer, "write_links", cut_off)
        with pytest.raises(KeyboardInterrupt):
            installer.install("run", check_hashes=True)
    assert not installer.STAMP.exists()
    installer.install("run", check_hashes=True)
    assert small == ["run", "run"]


def test_a_venv_whose_python_has_gone_is_made_anew(small: list[str]) -> None:
    installer.install("run", check_hashes=True)
    installer.PYTHON.unlink()
    installer.PYTHON.symlink_to("/nowhere/python3")
    installer.install("run", check_hashes=True)
    assert small == ["run", "run"]
    assert installer.working(installer.PYTHON)


def test_two_at_once_install_once(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(what: str, *, check_hashes: bool) -> None:
        small.append(what)
        begun.set()
        assert go_on.wait(10), "waited 10 s for the second installer to have begun"

    monkeypatch.setattr(installer, "fill", slowly)
    both = [threading.Thread(target=installer.install, args=("run",), kwargs={"check_hashes": True}) for _ in range(2)]
    both[0].start()
    assert begun.wait(10), "waited 10 s for the first installer"
    both[1].start()
    go_on.set()
    for thread in both:
        thread.join(10)
    assert small == ["run"]


def test_a_checkout_that_cannot_be_written_is_one_sentence(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (installer.ROOT / "file").touch()
    monkeypatch.setattr(installer, "VENV", installer.ROOT / "file" / ".venv")
    with pytest.raises(InstallError, match="cannot be written"):
        installer.install("run", check_hashes=True)


def test_a_pip_from_outside_and_a_mirror_with_other_hashes(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Debian without python3-venv but with python3-pip, and HASHES=0."""
    aim(monkeypatch, checkout)
    without_ensurepip(monkeypatch)
    with_another_hash(checkout)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(checkout.parent / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    installer.install("run", check_hashes=False)
    assert "without checking their hashes" in capsys.readouterr().err
    assert python_of(checkout, "import tiny; print(tiny.value)") == "7"
    assert not list(installer.VENV.glob("lib/python*/site-packages/pip"))


def test_what_stops_an_install_is_one_sentence(
    small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_index(what: str, *, check_hashes: bool) -> None:
        raise InstallError("the index is away.")

    monkeypatch.setattr(sys, "argv", ["installer.py", "run", "--hashes", "1"])
    with monkeypatch.context() as patch:
        patch.setattr(installer, "fill", no_index)
        assert installer.main() == 1
    assert capsys.readouterr().err == "kith: the index is away.\n"
    assert installer.main() == 0
    assert small == ["run"]


def test_with_neither_the_missing_package_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aim(monkeypatch, checkout)
    without_ensurepip(monkeypatch)
    monkeypatch.setattr(installer, "outside_pip", lambda: None)
    installer.VENV.mkdir()
    (installer.VENV / "left-over").touch()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(InstallError, match=f"python{version}-venv"):
        installer.make_venv()
    assert not list(installer.VENV.iterdir())
