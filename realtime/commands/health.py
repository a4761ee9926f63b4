"""`kith healthcheck` for containers, and `kith timers` for who looks for a worker: one question to the running node."""

from realtime.commands.running import ask_health, noted_url, own_address, running_node
from realtime.settings import Settings, given_settings


def healthcheck(settings: Settings) -> int:
    """0 while the node can serve; what is merely degraded must not be restarted."""
    url = ""
    if not given_settings()["PORT"] or settings.port == 0:
        # A PORT that only the server was given is not known here; where it is stands in its lock.
        url = noted_url(settings)
    health = ask_health(url or own_address(settings))
    parts = "".join(f" {name}={state}" for name, state in health.parts.items())
    print(f"{health.status}{parts}")
    return 0 if health.serves else 1


def timers(settings: Settings) -> int:
    """What stands in for the sources' worker: 0 if something here minds the timers."""
    print("Kith has no worker beside the server: what has a time to keep is an actor, and wakes in `kith serve`.")
    node = running_node(settings)
    if node is None or not node.url:
        print("No server is ready here, so nothing keeps time: make dev.")
        return 1
    health = ask_health(node.url)
    print(f"The one that runs here (pid {node.pid}, {node.url}) is {health.status}.")
    return 0 if health.serves else 1
