"""Where the embedded PostgreSQL keeps its files: the data near KITH_VAR, the socket in a short path."""

import hashlib
import os
import pwd
import secrets
import stat
import tempfile
from pathlib import Path

from storage.embedded.account import Account
from storage.embedded.errors import EmbeddedPostgresError

# For data and programs of a PostgreSQL whose user cannot enter KITH_VAR or the checkout.
SYSTEM_HOME = Path("/var/lib/kith")
# A socket's whole path has room for 103 characters (macOS) and PostgreSQL adds 13 to the folder.
LONGEST_SOCKET_FOLDER = 90


def settle_home(var: Path, account: Account) -> Path:
    """The folder of this KITH_VAR's cluster, made when there is none.

    KITH_VAR is 0700, so as root its PostgreSQL user cannot enter it and no mode of a folder is changed
    to let it: `postgres` in KITH_VAR is then a link to a folder under /var/lib/kith. The name of that
    is random and stands only in the link: who removes KITH_VAR begins anew.
    """
    entry = var / "postgres"
    home = entry.resolve()
    if not home.exists():
        if entry.is_symlink():
            raise EmbeddedPostgresError(f"the data folder {home} has gone, but {entry} names it.")
        if not account.can_enter(var):
            SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
            home = SYSTEM_HOME / secrets.token_hex(8)
        home.mkdir(mode=0o700)
        os.chown(home, account.uid, account.gid)
        if home != entry:
            entry.symlink_to(home)
    owner = home.stat().st_uid
    if owner != account.uid:
        raise EmbeddedPostgresError(
            f"{home} belongs to {user_name(owner)} and PostgreSQL would run as {account.name}:"
            f" start Kith as {user_name(owner)}, or set KITH_VAR to another folder."
        )
    if not account.can_enter(home):
        raise EmbeddedPostgresError(
            f"{account.name}, as whom PostgreSQL runs, cannot enter {home}: a folder above it is closed."
        )
    return home


def settle_socket_folder(data: Path, account: Account) -> Path:
    """A 0700 folder of the account's, named after the data so that an orphan's is found again."""
    name = f"kith-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    above = [tempfile.gettempdir(), "/tmp"]
    if account.is_ourselves and "XDG_RUNTIME_DIR" in os.environ:
        above.insert(0, os.environ["XDG_RUNTIME_DIR"])
    for parent in above:
        folder = Path(parent, name)
        if len(str(folder)) <= LONGEST_SOCKET_FOLDER and made_private(folder, account):
            return folder
    # Somebody else took the name; /tmp belongs to everybody, so a name nobody can guess is the way out.
    folder = Path(tempfile.mkdtemp(prefix="kith-", dir="/tmp"))
    os.chown(folder, account.uid, account.gid)
    return folder


def made_private(folder: Path, account: Account) -> bool:
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        pass
    except OSError:
        return False
    # lstat: in /tmp anybody can lay a link under our name.
    state = folder.lstat()
    mine = stat.S_ISDIR(state.st_mode) and state.st_uid == account.uid
    return mine and stat.S_IMODE(state.st_mode) == 0o700 and account.can_enter(folder)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
