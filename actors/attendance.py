"""The open connections of one user: one per device, so many at most."""

from collections.abc import Collection, Iterable
from typing import Final

from actors.shapes.ids import LoginId, SocketId
from actors.shapes.users import Ending, Socket

DEVICES_REMEMBERED: Final = 64  # whose highest attempt is kept after they left


class Attendance:
    """`attempt` rises with each connection of a device: whoever comes with an equal or lower one is late, and goes.
    A device that does not count its attempts is taken to be newer than it was before."""

    __slots__ = ("_devices", "_sockets")

    def __init__(self) -> None:
        self._sockets: dict[SocketId, Socket] = {}
        self._devices: dict[str, tuple[int, SocketId]] | None = None  # made when a device names itself

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def sockets(self) -> Collection[Socket]:
        return self._sockets.values()

    def join(self, socket: Socket, device_id: str | None, attempt: int | None, most: int) -> Ending | None:
        """Enter a connection, ending the one it replaces; or say why it may not."""
        displaced: Socket | None = None
        highest = -1
        if device_id is not None and self._devices is not None and device_id in self._devices:
            highest, held_by = self._devices[device_id]
            if attempt is not None and attempt <= highest:
                return Ending.REPLACED
            displaced = self._sockets.get(held_by)
        if displaced is None and len(self._sockets) >= most:
            return Ending.TOO_MANY
        if displaced is not None:
            del self._sockets[displaced.id]
            displaced.end(Ending.REPLACED)
        self._sockets[socket.id] = socket
        if device_id is not None:
            self._remember(device_id, highest + 1 if attempt is None else attempt, socket.id)
        return None

    def _remember(self, device_id: str, attempt: int, socket_id: SocketId) -> None:
        devices = self._devices = self._devices or {}
        devices.pop(device_id, None)
        devices[device_id] = (attempt, socket_id)
        if len(devices) > DEVICES_REMEMBERED:
            gone = next((name for name, (_, held_by) in devices.items() if held_by not in self._sockets), None)
            del devices[gone if gone is not None else next(iter(devices))]

    def leave(self, socket_id: SocketId) -> None:
        self._sockets.pop(socket_id, None)

    def end_logins(self, logins: Iterable[LoginId]) -> None:
        ended = set(logins)
        for socket in [socket for socket in self._sockets.values() if socket.login_id in ended]:
            del self._sockets[socket.id]
            socket.end(Ending.REVOKED)

    def end_all(self, ending: Ending) -> None:
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            socket.end(ending)
