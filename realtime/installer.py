"""Owns .venv: makes it, fills it with the pinned packages, and leaves it alone while it is up to date.

It knows nothing of Kith and uses the standard library only, because it runs before anything is there.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".stamp"
SETS = {"run": ["constraints.txt"], "test": ["constraints.txt", "constraints-test.txt"]}

# -I: neither the folder it is called from nor PYTHONPATH may put a module in front of Kith's. A
# shebang would break on a path with a space, hence a shell script.
LAUNCHER = """#!/bin/sh
exec "$(dirname "$0")/python" -I -m realtime.cli "$@"
"""


class InstallError(Exception):
    """Something about this machine stops the install; the text is one sentence for its owner."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="installer.py", description=__doc__)
    parser.add_argument("what", choices=sorted(SETS))
    parser.add_argument("--hashes", choices=["0", "1"], default="1")
    arguments = parser.parse_args()
    try:
        install(arguments.what, check_hashes=arguments.hashes == "1")
    except InstallError as error:
        print(f"kith: {error}", file=sys.stderr)
        return 1
    return 0


def install(what: str, *, check_hashes: bool) -> None:
    """Bring .venv to the state that `what` asks for; two calls at once wait for each other."""
    if f"{what} {fingerprint(what)}" in stamped():
        return
    try:
        VENV.mkdir(exist_ok=True)
        lock = os.open(VENV / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InstallError(f"{VENV} cannot be written ({error.strerror}).") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever held the lock may have installed just this.
        if f"{what} {fingerprint(what)}" in stamped():
            return
        if not working(PYTHON):
            make_venv()
        fill(what, check_hashes=check_hashes)
        write_links()
        # Last, so that an install that was cut off is begun again. The test set holds the run set.
        sets = ["run"] if what == "run" else ["run", "test"]
        STAMP.write_text("".join(f"{name} {fingerprint(name)}\n" for name in sets))
    finally:
        os.close(lock)


def stamped() -> list[str]:
    """What .venv holds; nothing if its interpreter is gone or is not the one it was filled for."""
    try:
        lines = STAMP.read_text().splitlines()
    except OSError:
        return []
    return lines if working(PYTHON) else []


def fingerprint(what: str) -> str:
    """Content, not times: a fresh checkout or a touched file is no reason to need the network."""
    digest = hashlib.sha256(f"{ROOT}\0{sys.version_info[:2]}\0".encode())
    for name in [*SETS[what], "Makefile", "realtime/installer.py"]:
        digest.update((ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()


def working(python: Path) -> bool:
    """Whether it runs and finds packages where this version of Python would have put them."""
    version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    try:
        return subprocess.run([python, "-I", "-c", version], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    for entry in VENV.iterdir():
        if entry.name == ".lock":
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    print(f"Making {VENV} with Python {sys.version.split()[0]} ...", flush=True)
    # Debian ships venv and ensurepip in a package of its own; without it a pip from elsewhere will do.
    if importlib.util.find_spec("venv") is not None:
        if importlib.util.find_spec("ensurepip") is not None:
            done = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True)
            if done.returncode == 0:
                return
        bare = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]
        if outside_pip() and subprocess.run(bare, capture_output=True).returncode == 0:
            return
    major_minor = "{}.{}".format(*sys.version_info[:2])
    raise InstallError(
        f"this Python cannot make virtual environments; on Debian and Ubuntu the missing package is"
        f" python{major_minor}-venv (apt install python{major_minor}-venv)."
    )


def outside_pip() -> list[str] | None:
    """A pip that can install into another environment (22.3 or newer), as a command."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        try:
            done = subprocess.run([*command, "--python", sys.executable, "--version"], capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return [*command, "--python", str(PYTHON)]
    return None


def fill(what: str, *, check_hashes: bool) -> None:
    has_pip = any(VENV.glob("lib/python*/site-packages/pip/__main__.py"))
    pip = [str(PYTHON), "-I", "-m", "pip"] if has_pip else outside_pip()
    if pip is None:
        raise InstallError("there is no pip, neither in .venv nor outside (python3-venv, python3-pip).")
    command = [*pip, "install", "--disable-pip-version-check", "--no-input", "--no-deps"]
    if check_hashes:
        command.append("--require-hashes")
    else:
        print("kith: HASHES=0: packages are installed without checking their hashes.", file=sys.stderr)
    for name in SETS[what]:
        pins = ROOT / name
        if not check_hashes:
            # pip checks hashes wherever it finds any, so they have to go.
            bare = [line.split()[0] for line in pins.read_text().splitlines() if "==" in line]
            pins = VENV / f"without-hashes-{name}"
            pins.write_text("\n".join(bare) + "\n")
        command += ["-r", str(pins)]
    environment = {**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    environment.pop("PYTHONPATH", None)
    wanted = sum("==" in line for name in SETS[what] for line in (ROOT / name).read_text().splitlines())
    print(f"Installing {wanted} pinned packages ...", flush=True)
    if not told_briefly(command, environment, wanted):
        raise InstallError(
            "the pinned packages could not be installed (see above); a mirror that rebuilds wheels has"
            " other hashes: HASHES=0 make run."
        )


def told_briefly(command: list[str], environment: dict[str, str], wanted: int) -> bool:
    """Run pip, whose hundred lines nobody reads unless it fails; of a minute of silence one must not think it hangs."""
    with subprocess.Popen(
        [*command, "--progress-bar", "off"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as pip:  # fmt: skip
        lines, fetched = [], 0
        for line in pip.stdout or ():
            lines.append(line)
            if line.startswith(("Collecting ", "Processing ")):  # the second: out of a folder
                fetched += 1
                if fetched * 4 // wanted != (fetched - 1) * 4 // wanted:
                    print(f"  {fetched} of {wanted} looked up", flush=True)
            elif line.startswith("Installing collected"):
                print("  unpacking", flush=True)
    if pip.returncode != 0:
        sys.stderr.write("".join(lines))
    return pip.returncode == 0


def write_links() -> None:
    """Kith runs from the checkout: its two source folders on the path, and one launcher."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, text=True, check=True)
    Path(done.stdout.strip(), "kith.pth").write_text(f"{ROOT}\n{ROOT / 'http'}\n")
    launcher = VENV / "bin" / "kith"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
