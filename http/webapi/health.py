"""How the node is: in detail for people and alerts, in one word for load balancers."""

import logging
from typing import Final

import trio
from msgspec import Struct

from actors.ports import Health
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Access, Route

log = logging.getLogger("kith.web")


class Part(Struct, frozen=True):
    state: str
    latency_ms: float


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


async def _examine(call: Call) -> dict[str, tuple[Part, bool]]:
    """All parts at once, in the order they were given; one that does not answer is told from one that says no."""
    timeout = call.services.options.health_timeout
    found: dict[str, tuple[Part, bool]] = {
        part.name: (Part("timeout", timeout * 1000), False) for part in call.services.health
    }

    async def check(part: Health) -> None:
        with trio.move_on_after(timeout):
            try:
                state, latency, serves = await part.check()
            except Exception:  # a bug of the check; whoever asks for the health of all must hear of the others
                log.exception("health check failed", extra={"part": part.name})
                state, latency, serves = "failed", 0.0, False
            found[part.name] = (Part(state, round(latency * 1000, 3)), serves)

    async with trio.open_nursery() as nursery:
        for part in call.services.health:
            nursery.start_soon(check, part)
    return found


ROUTES: Final = (
    Route("GET", "/healthz", show_health, Access.OPEN, gives=((200, Checkup), (503, Checkup))),
    Route("GET", "/readyz", show_readiness, Access.OPEN, gives=((200, Readiness), (503, Readiness))),
)
