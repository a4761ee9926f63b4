"""The listening sockets of a node, taken before anything else is started so that a taken port costs nothing."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from realtime.refusal import RefusalError

BACKLOG = 4_096
# An address of a family this machine does not have is left out while another one works (::1 in a container).
NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def open_listeners(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """One listening socket per address, all on one port (with 0: one that was free on the first)."""
    opened: list[socket.socket] = []
    missing: list[str] = []
    try:
        for host in hosts:
            try:
                opened.append(listen_on(host, port))
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                missing.append(f"{host} ({os.strerror(error.errno or 0)})")
            else:
                port = int(opened[0].getsockname()[1])
        if not opened:
            raise RefusalError(f"cannot listen on {', '.join(missing)}: set HOST to an address of this machine.")
    except BaseException as error:
        for listener in opened:
            listener.close()
        if isinstance(error, OSError):
            raise RefusalError(reason(error, port)) from None
        raise
    return opened


def listen_on(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of the last run that still fade out may not block the port. Never SO_REUSEPORT: two
        # servers would share the port, and each get half of the clients.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(port)
        by = f" (by pid {owner[0]}, {owner[1]})" if owner else ""
        return f"port {port} is taken{by}; PORT={port + 1 if port < 65_535 else 8_001} make run"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; PORT=8000 make run"
    return f"cannot listen on port {port}: {error.strerror}."


def port_owner(port: int) -> tuple[int, str] | None:
    """The process that listens on a port, as far as this user may see it; Linux only."""
    for inode in listening_inodes(port):
        for links in Path("/proc").glob("[0-9]*/fd"):
            # Processes come and go, and most of them are not ours to look at.
            with contextlib.suppress(OSError):
                if any(os.readlink(entry) == f"socket:[{inode}]" for entry in os.scandir(links)):
                    return int(links.parent.name), (links.parent / "comm").read_text().strip()
    return None


def listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                # Column 1 is address:port in hexadecimal, column 3 the state (0A: listening), column 9 the inode.
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def base_url(listeners: Sequence[socket.socket]) -> str:
    """Where a browser on this machine reaches the node."""
    host, port = listeners[0].getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
