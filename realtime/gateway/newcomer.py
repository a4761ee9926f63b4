"""Connections of the epoll edge that are no WebSocket yet, and those that are turned away."""

import contextlib
import socket
from typing import TYPE_CHECKING

from realtime.gateway.arrival import Destination, Knock, ToHttp, Turned
from realtime.gateway.connection import Connection
from realtime.gateway.deadlines import NOT_SET
from realtime.gateway.refusals import in_http
from realtime.link import Refused
from realtime.wire.handshake import switching_protocols

if TYPE_CHECKING:
    from realtime.gateway.edge import Edge

# A head and the frames a client sends right behind it; larger reads wait until it is known who reads on.
_RECV_BYTES = 16 * 1024
LINGER_SECONDS = 2.0


class Newcomer:
    """Reads until the arrival knows where to. An attacker pays one of these per connection: no task, no thread, one
    timer slot."""

    __slots__ = ("_address_key", "_arrival", "_edge", "_sock", "arrived_at", "bucket", "fd")

    def __init__(self, edge: "Edge", sock: socket.socket, peer: str) -> None:
        self._edge = edge
        self._sock = sock
        self._arrival = edge.doorway.arrival(peer)
        self._address_key = ""
        self.fd = sock.fileno()
        self.arrived_at = edge.now
        self.bucket = NOT_SET

    def start(self) -> None:
        """Admitted to the books. The address is counted now unless a proxy has yet to name it."""
        self._edge.deadlines.set(self, self.arrived_at + self._edge.options.head_seconds)
        if not self._arrival.expects_proxy:
            self._claim(self._arrival.remote)

    def _claim(self, remote: str) -> bool:
        """False: turned away, for its address has enough connections."""
        if not self._address_key:
            key = self._edge.admission.claim_address(remote)
            if key is None:
                self._turn_away(self._edge.doorway.overloaded("address"))
                return False
            self._address_key = key
        return True

    def ready(self, _events: int) -> None:
        try:
            data = self._sock.recv(_RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.stop()
            return
        destination = self._arrival.feed(data)
        if destination is not None:
            self._go(destination)

    def _go(self, destination: Destination) -> None:
        if isinstance(destination, Turned):
            self._turn_away(self._edge.doorway.turn_away(destination))
        elif isinstance(destination, Knock):
            if self._claim(destination.request.remote):
                self._knock(destination)
        elif self._claim(self._arrival.remote):
            self._hand_over(destination)

    def _knock(self, knock: Knock) -> None:
        edge = self._edge
        answer = edge.doorway.answer(knock.request)
        if isinstance(answer, Refused):
            self._turn_away(in_http(answer))
            return
        connection = Connection(edge, self._sock, knock.request.remote, self.arrived_at, self._address_key)
        self._release()
        edge.admission.becomes(self, connection)
        edge.adopt(connection.fd, connection)
        connection.open(answer, switching_protocols(knock.key, answer.subprotocol), knock.rest)

    def _hand_over(self, to_http: ToHttp) -> None:
        edge = self._edge
        answer = edge.doorway.enter_http()
        if answer is not None:
            self._turn_away(answer)
            return
        self._release()
        edge.admission.known(self)
        edge.release(self.fd)
        edge.give_to_http(self._sock, to_http.data, self._arrival, self._address_key)

    def due(self, _now: float) -> None:
        self._turn_away(self._edge.doorway.turn_away(Turned(408, "The request head did not come in time")))

    def shed(self) -> None:
        self._turn_away(self._edge.doorway.overloaded("shed"))

    def _turn_away(self, answer: bytes) -> None:
        self._release()
        self._edge.admission.known(self)
        leaver = Leaver(self._edge, self._sock, answer, self._address_key)
        self._edge.adopt(self.fd, leaver)
        leaver.start()

    def _release(self) -> None:
        self._edge.deadlines.clear(self)

    def stop(self) -> None:
        self._release()
        self._edge.admission.known(self)
        self._edge.admission.leave_address(self._address_key)
        self._edge.forget(self.fd)
        self._sock.close()


class Leaver:
    """Has an answer to read before the door closes. Closing at once would reset the connection, and with it the
    answer."""

    __slots__ = ("_address_key", "_answer", "_edge", "_sock", "bucket", "fd")

    def __init__(self, edge: "Edge", sock: socket.socket, answer: bytes, address_key: str) -> None:
        self._edge = edge
        self._sock = sock
        self._answer = answer
        self._address_key = address_key
        self.fd = sock.fileno()
        self.bucket = NOT_SET

    def start(self) -> None:
        """An answer fits into any socket's buffer; one that does not take it is not worth waiting for."""
        with contextlib.suppress(OSError):
            self._sock.send(self._answer)
            self._sock.shutdown(socket.SHUT_WR)
        if self._edge.admission.roomy:
            self._edge.deadlines.set(self, self._edge.clock() + LINGER_SECONDS)
        else:
            # No descriptor to spare. What is unread when a socket closes turns its end into a reset, so read what is
            # there.
            with contextlib.suppress(OSError):
                self._sock.recv(_RECV_BYTES)
            self.stop()

    def ready(self, _events: int) -> None:
        try:
            if self._sock.recv(_RECV_BYTES):
                return  # whatever it still says is thrown away
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.stop()

    def due(self, _now: float) -> None:
        self.stop()

    def stop(self) -> None:
        self._edge.deadlines.clear(self)
        self._edge.admission.leave_address(self._address_key)
        self._edge.forget(self.fd)
        self._sock.close()
