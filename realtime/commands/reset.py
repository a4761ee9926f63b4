"""`kith reset`: everything that is stored in KITH_VAR goes, after somebody has said so."""

import shutil
import sys

from realtime.node_lock import NodeLock
from realtime.refusal import RefusalError
from realtime.settings import Settings
from realtime.var_folder import prepare_var
from storage.embedded.cluster import remove_home

WORD = "reset"


def reset(settings: Settings, *, asked: bool) -> int:
    var = settings.var
    if not var.exists():
        print(f"{var} does not exist; there is nothing to reset.")
        return 0
    prepare_var(var)
    with NodeLock(var):
        if not asked:
            print(f"This deletes every account, message and file stored in {var}.\nType {WORD} to go on: ", end="")
            sys.stdout.flush()
            if sys.stdin.readline().strip() != WORD:
                raise RefusalError("nothing was deleted.")
        remove_home(var)
        # By name: KITH_VAR may be a folder that holds other things, too. The lock is in use, and stays.
        for name in ("secret", "postgres.log", "postgres.old.log"):
            (var / name).unlink(missing_ok=True)
        shutil.rmtree(var / "valkey", ignore_errors=True)
    print(f"{var} holds nothing of Kith's any more.")
    return 0
