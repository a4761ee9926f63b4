"""What the operator may set about sockets, with defaults that are safe on a small machine."""

import ssl

import msgspec

from realtime.outbox import Bounds


class GatewayOptions(msgspec.Struct, frozen=True):
    """Every bound of the gateway. `0` switches a cap off where the comment says so."""

    transport: str = (
        "auto"  # auto | epoll | portable; auto takes epoll where the system has it and TLS is not asked for
    )
    websocket_paths: tuple[str, ...] = ("/ws", "/api/v1/ws", "/ws/notifications", "/api/v1/ws/notifications")
    trusted_proxies: tuple[str, ...] = ()  # CIDRs whose PROXY header and X-Forwarded-For are believed
    tls: ssl.SSLContext | None = None  # portable transport only
    public_is_https: bool = False  # clients come by TLS, whatever we see of it: browsers are told to stay with it

    # Admission
    max_connections: int = 20_000  # everything on the port; lowered to what the descriptors allow
    max_http_connections: int = 4_000  # of these, held by the HTTP server: idle keep-alives must not lock sockets out
    max_connections_per_address: int = 0  # IPv6 counts per /64; 0 = off
    max_unauthenticated: int = 8_000  # reading a head, or waiting for a hello
    unauthenticated_grace_seconds: float = 1.0  # younger ones are not shed for a newcomer
    handshakes_per_second: float = 5_000.0
    handshake_burst: float = 5_000.0
    descriptor_reserve: int = 512  # kept for the database, files, push, health checks
    # Workers that accept from one listening socket leave a connection to the others when full; a lone node says 503.
    shared_listener: bool = False

    # Time
    head_seconds: float = 10.0
    hello_seconds: float = 10.0
    idle_hello_seconds: float = 0.25
    heartbeat_seconds: float = 25.0
    pong_timeout_seconds: float = 10.0
    close_seconds: float = 5.0  # to flush, say goodbye and hear the echo
    sweep_seconds: float = 0.05

    # One tick
    frames_per_tick: int = 64  # of one connection, before the others get their turn
    outbox: Bounds = Bounds()

    # HTTP
    http_write_seconds: float = 30.0  # for each 64 KiB of an answer
    http_keep_alive_seconds: float = 75.0
    http_idle_grace_seconds: float = 1.0  # idle for less, a connection is not ended for another's sake
    http_send_buffer_bytes: int = 0  # 0 = the kernel's choice; tests make it small
