"""How the node is: in detail for people and alerts, in one word for load balancers."""

from typing import Final

from msgspec import Struct

from webapi.answers import Answer
from webapi.call import Call
from webapi.examiner import Found, Part
from webapi.routing import Access, Route


class Checkup(Struct, frozen=True):
    """`status` is `ok`, `degraded` (something is wrong, the node serves) or `down`."""

    status: str
    checks: dict[str, Part]


class Readiness(Struct, frozen=True):
    ready: bool


_FINE: Final = frozenset({"ok", "not configured"})


async def show_health(call: Call) -> Answer:
    """503 only when the node cannot serve: whoever restarts what is degraded makes it worse."""
    found = await _examine(call)
    checks = {name: part for name, (part, _) in found.items()}
    if not all(serves for _, serves in found.values()):
        return Answer(Checkup("down", checks), 503, (("Retry-After", "1"),))
    fine = all(part.state in _FINE for part in checks.values())
    return Answer(Checkup("ok" if fine else "degraded", checks))


async def show_readiness(call: Call) -> Answer:
    """Whether to send it new clients: not while it starts or drains, and not while a part it needs is away."""
    ready = call.services.serving() and all(serves for _, serves in (await _examine(call)).values())
    return Answer(Readiness(ready), 200 if ready else 503, () if ready else (("Retry-After", "1"),))


async def _examine(call: Call) -> Found:
    return await call.services.health.examine(call.services.options.health_timeout)


ROUTES: Final = (
    Route("GET", "/healthz", show_health, Access.OPEN, gives=((200, Checkup), (503, Checkup))),
    Route("GET", "/readyz", show_readiness, Access.OPEN, gives=((200, Readiness), (503, Readiness))),
)
