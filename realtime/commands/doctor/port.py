"""Whether the port is free, or our own node's; and how that node says it is."""

from contextlib import ExitStack

from realtime.commands.doctor.report import Report, Rows
from realtime.commands.running import ask_health, running_node
from realtime.listeners import open_listeners
from realtime.node_lock import NodeLock
from realtime.refusal import RefusalError
from realtime.settings import Settings


def port_rows(settings: Settings, report: Report) -> Rows:
    """A taken port is a problem unless it is our own node that has it."""
    node = running_node(settings)
    if node is not None:
        return [("running here", f"pid {node.pid}, {node.url or 'not ready yet'}"), *_health(node.url, report)]
    with ExitStack() as stack:
        try:
            stack.enter_context(NodeLock(settings.var))
        except RefusalError:
            return []  # it came in this moment, or KITH_VAR cannot be used, which has been said
        for listener in open_listeners(settings.host, settings.port):
            listener.close()
    return [("running here", "nothing"), ("port", f"{settings.port} is free")]


def _health(url: str, report: Report) -> Rows:
    if not url:
        return []
    health = ask_health(url)
    if not health.serves:
        report.problem(f"The node at {url} cannot serve: {health.status}.", "Its clients wait, or are turned away.")
    elif health.status != "ok":
        wrong = ", ".join(
            f"{name} {state}" for name, state in health.parts.items() if state not in ("ok", "not configured")
        )
        report.note(f"The node at {url} is {health.status}: {wrong}.", "It serves without that part.")
    return [("health", health.status), *((f"  {name}", state) for name, state in health.parts.items())]
