"""What both transports do with a newcomer: find out where it goes, ask the books and the reception, and word the
refusal."""

import logging
from collections.abc import Callable

from realtime.gateway.address import TrustedProxies
from realtime.gateway.admission import Admission
from realtime.gateway.arrival import Arrival, Turned
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.options import GatewayOptions
from realtime.gateway.refusals import Refusals
from realtime.link import Admitted, Reception, Refused, UpgradeRequest

_log = logging.getLogger("kith.gateway")


class Doorway:
    """Shared by everything that lets connections in. `draining`: nobody new, whoever asks is told to come back."""

    def __init__(
        self,
        reception: Reception,
        options: GatewayOptions,
        counters: GatewayCounters,
        admission: Admission,
        refusals: Refusals,
    ) -> None:
        self.options = options
        self.counters = counters
        self.admission = admission
        self.trusted = TrustedProxies(options.trusted_proxies)
        self.draining = False
        self.http_is_open = True
        self.shed_idle_http: Callable[[], bool] = lambda: False
        self._reception = reception
        self._refusals = refusals

    def arrival(self, peer: str, *, secure: bool = False) -> Arrival:
        return Arrival(peer, self.options.websocket_paths, self.trusted, secure=secure)

    def answer(self, request: UpgradeRequest) -> Admitted | Refused:
        """A valid upgrade: the answer to it. A reception that raises is a bug of ours and lets nobody in."""
        answer = self._answer(request)
        return self._refusals.protected(answer, request.secure) if isinstance(answer, Refused) else answer

    def _answer(self, request: UpgradeRequest) -> Admitted | Refused:
        if self.draining:
            return self._refused("draining", 503, "This node is going away")
        wait = self.admission.handshake()
        if wait:
            return self._refused("handshake_rate", 503, "Too many new connections at the moment", wait)
        try:
            answer = self._reception.upgrade(request)
        except Exception:
            _log.exception("the reception failed on an upgrade of %s", request.path)
            self.counters.peer_errors += 1
            return self._refused("error", 500, "A fault of the server")
        if isinstance(answer, Refused):
            self.counters.refused[str(answer.status)] += 1
        else:
            self.counters.handshakes += 1
        return answer

    def _refused(self, reason: str, status: int, message: str, retry_after: float = 1.0) -> Refused:
        self.counters.refused[reason] += 1
        return self._refusals.refused(status, message, retry_after)

    def no_such_route(self, secure: bool) -> Refused:
        """An upgrade on a path where no WebSocket is."""
        return self._refusals.protected(self._refused("no_route", 404, "No such route"), secure)

    def turn_away(self, turned: Turned) -> bytes:
        """The answer to a head that is no good."""
        self.counters.refused[f"head_{turned.status}"] += 1
        return self._refusals.answer(turned.status, turned.reason)

    def enter_http(self) -> bytes | None:
        """None: go on to the HTTP server, and leave by `admission.leave_http`. Else the answer instead."""
        if not self.http_is_open:
            self.counters.refused["draining"] += 1
            return self._refusals.answer(503, "This node is going away")
        if self.admission.enter_http():
            return None
        # A place that somebody only keeps warm is given to who has a request.
        if self.shed_idle_http():
            self.admission.enter_http_beyond_the_cap()
            return None
        return self.overloaded("http")

    def overloaded(self, reason: str) -> bytes:
        """The answer to a connection that there is no room for."""
        self.counters.refused[reason] += 1
        return self._refusals.answer(503, "Too many connections at the moment")
