"""What the gateway counts: plain integers, read by whoever exposes them."""

from collections import Counter

from actors.shapes.frames import FrameClass


class GatewayCounters:
    """One per node; written by its gateway only."""

    def __init__(self) -> None:
        self.connections = 0  # open now, of any kind
        self.websockets = 0  # open now
        self.http_connections = 0  # open now, with the HTTP server
        self.unauthenticated = 0  # now: reading a head, or waiting for a hello
        self.accepted = 0
        self.handshakes = 0  # 101s sent
        self.refused: Counter[str] = Counter()  # by reason
        self.closed: Counter[int] = Counter()  # by the close code we sent, or were sent; 1006 without one
        self.lost: Counter[str] = Counter()  # by LostReason
        self.frames_in = 0  # text messages
        self.frames_out = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.reads = 0
        self.sends = 0
        self.short_sends = 0
        self.pings_sent = 0
        self.resets = 0  # sockets we had to reset: a goodbye that was not taken in time
        self.http_write_timeouts = 0  # HTTP clients that stopped reading
        self.http_violations = 0  # HTTP clients that broke the protocol in ways hypercorn has no answer for
        self.http_shed = 0  # idle HTTP connections ended for somebody with a request
        self.accept_errors: Counter[str] = Counter()  # by errno name
        self.edge_errors = 0  # exceptions out of the edge's own code: bugs, logged, one connection each
        self.peer_errors = 0  # exceptions out of a session: bugs, logged
        self.dropped: list[int] = [0] * len(FrameClass)  # by class; shared with every outbox
