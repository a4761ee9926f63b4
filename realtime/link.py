"""The contract between a transport and a session: what each side may call on the other, all of it synchronous.

Rules both transports keep (tests/gateway/test_contract.py): `Peer.text` comes in order and never after `lost`; `lost`
comes exactly once and never from inside a call that the session itself makes on its link.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from actors.shapes.frames import Frame


class LostReason(enum.Enum):
    """Why a connection can no longer be used by its session."""

    CLIENT_CLOSED = "client_closed"  # the client sent a close frame
    ENDED = "ended"  # end of stream without a close frame
    RESET = "reset"  # the socket failed
    VIOLATION = "violation"  # the client broke RFC 6455 (1002, 1003, 1007, 1009)
    NO_HELLO = "no_hello"  # unauthenticated for too long (4401)
    NO_PONG = "no_pong"  # nothing heard after a ping (4002)
    SLOW = "slow"  # the outbox passed its hard bound (4001)
    SHED = "shed"  # unauthenticated and in the way of newcomers (4003)
    CLOSED = "closed"  # the session itself called close()
    FAULT = "fault"  # the session raised (1011)
    STOPPED = "stopped"  # the gateway is closing


class Link(Protocol):
    """What a session may do to its connection. Nothing here blocks and nothing here raises."""

    @property
    def remote(self) -> str:
        """The client's address, after the PROXY header and X-Forwarded-For were resolved."""

    @property
    def read_at(self) -> float:
        """perf_counter of the read that is being handled."""

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait in the outbox; a replay pulls its next page when this is at most `low_water_bytes`."""

    def send(self, frame: Frame) -> None:
        """Queue a frame; it leaves with everything else of this tick in one system call. Ignored once closing."""

    def close(self, code: int, reason: str = "", before: Frame | None = None) -> None:
        """Send what is queued and `before` (in `Admitted.words`), then the close frame, then end the socket; all within
        a bounded time."""

    def authenticated(self) -> None:
        """The session knows who this is: the hello deadline and the cap on unauthenticated connections end here."""


class Peer(Protocol):
    """What a transport tells the session. Nothing here may block, and bad input is no reason to raise."""

    def text(self, payload: bytes) -> None:
        """One whole text message, valid UTF-8, at most 256 KiB."""

    def lost(self, reason: LostReason) -> None:
        """The connection is gone; comes exactly once, and nothing is called afterwards."""

    def idle_hello(self) -> None:
        """A connection authenticated by its upgrade has been silent for 250 ms: take it as a hello without cursor."""

    def drained(self) -> None:
        """The outbox was above its low-water mark and is not any more."""


class UpgradeRequest(msgspec.Struct, frozen=True):
    """A valid WebSocket upgrade, before it is answered. Repeated headers are joined with a comma, credentials never
    repeat."""

    path: str
    query: str
    headers: Mapping[bytes, bytes]  # names in lower case
    remote: str
    subprotocols: tuple[str, ...] = ()
    secure: bool = False


class Admitted(msgspec.Struct, frozen=True):
    """The door says yes. `seat` is called once, after the 101 is on its way."""

    seat: Callable[[Link], Peer]
    subprotocol: str | None = None
    # True: the upgrade carried a valid credential, so `idle_hello` takes the place of the hello deadline.
    authenticated: bool = False
    # For the last words of a connection, which are the transport's own (`lagging`, `going_away`) or go with a close().
    # None: they are said as they are.
    words: Callable[[Frame], Frame] | None = None


class Refused(msgspec.Struct, frozen=True):
    """The door says no, in plain HTTP."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Reception(Protocol):
    """The door: decides on an upgrade before the 101. Must not block; what needs a query is decided after the
    upgrade."""

    def upgrade(self, request: UpgradeRequest) -> Admitted | Refused:
        """Look at credentials and path only."""
