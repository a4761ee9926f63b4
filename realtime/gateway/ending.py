"""How connections end, whatever transport they are on."""

import contextlib
import enum
import socket
import struct

import trio

from actors.shapes.frames import Frame

LAGGING = Frame(b'{"type":"lagging","payload":{}}')


class State(enum.Enum):
    """OPEN until somebody ends it, CLOSING while goodbyes are under way, then GONE."""

    OPEN = "open"
    CLOSING = "closing"
    GONE = "gone"


def reset_on_close(sock: socket.socket | trio.socket.SocketType) -> None:
    """Closing will reset the connection, and the kernel forgets what it still wanted to send."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
