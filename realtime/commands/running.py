"""The node that runs in KITH_VAR, if one does: found by its lock, asked at its address."""

import http.client
import json
import urllib.error
import urllib.request
from typing import NamedTuple

from realtime.node_lock import LockUnwritableError, NodeLock
from realtime.refusal import RefusalError
from realtime.settings import Settings

ANSWER_SECONDS = 3.0
LONGEST_BYTES = 1_000_000


class Running(NamedTuple):
    """What the lock says; `url` is empty while the node is not ready yet, `pid` 0 in the moment before it is noted."""

    pid: int
    url: str


class Health(NamedTuple):
    """`status` is `ok`, `degraded` or `down`, or why there was no answer; `parts` are what it says of each."""

    serves: bool
    status: str
    parts: dict[str, str]


def running_node(settings: Settings) -> Running | None:
    try:
        with NodeLock(settings.var):
            return None
    except LockUnwritableError:
        return None
    except RefusalError:
        # Taken: whoever holds it has written down who he is.
        pid, _, url = (settings.var / "kith.lock").read_text().strip().partition(" ")
        return Running(int(pid) if pid.isdecimal() else 0, url)


def noted_url(settings: Settings) -> str:
    """Where the last one said it was. Only read: whoever tried the lock could keep a server that starts just now from
    starting."""
    try:
        return (settings.var / "kith.lock").read_text(errors="replace").strip().partition(" ")[2]
    except OSError:
        return ""


def own_address(settings: Settings) -> str:
    """Where a node with these settings answers on its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host[0], settings.host[0])
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def ask_health(url: str) -> Health:
    # Without the shell's proxy: the node is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            with opener.open(f"{url}/healthz", timeout=ANSWER_SECONDS) as answer:
                return _read(answer.read(LONGEST_BYTES), serves=True)
        except urllib.error.HTTPError as refused:
            return _read(refused.read(LONGEST_BYTES), serves=False)
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Health(False, f"no answer ({reason})", {})
    except http.client.HTTPException:  # no OSError: something that does not speak HTTP, or breaks off in the middle
        return Health(False, "something else answers there", {})


def _read(text: bytes, *, serves: bool) -> Health:
    try:
        found = json.loads(text)
        return Health(serves, str(found["status"]), {name: part["state"] for name, part in found["checks"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return Health(False, "something else answers there", {})
