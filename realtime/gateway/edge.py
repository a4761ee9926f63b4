"""The epoll edge: one task and one epoll for all sockets of the node; Linux only. Knows no HTTP and no session.

One tick: take what epoll has, let every ready connection read once and handle a bounded number of frames, accept, tell
sessions whose connection ended, then write: each touched socket gets everything of the tick in one send(). What other
tasks queue between two ticks wakes the writer task, which does the same.
"""

import contextlib
import errno
import logging
import select
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from realtime.gateway.arrival import Arrival
from realtime.gateway.connection import Connection
from realtime.gateway.deadlines import Deadlines
from realtime.gateway.descriptors import ReserveDescriptor
from realtime.gateway.doorway import Doorway
from realtime.gateway.newcomer import Newcomer
from realtime.gateway.wakeup import WakeUp
from realtime.link import LostReason

_log = logging.getLogger("kith.gateway")

EVENTS_PER_TICK = 128
ACCEPTS_PER_TICK = 128
# Of a listener that others accept from, too: a burst is for all of them, and not for who woke up first.
SHARED_ACCEPTS_PER_TICK = 16
WRITES_PER_TICK = 128  # of 5 µs each; a longer turn keeps the journal and everybody else waiting
_BACK_OFF_SECONDS = 0.1
# Who knocks while somebody else has fewer connections waits this long, and if he is still there he is let in: the other
# may be busy, stopped, or gone.
_LET_OTHERS_SECONDS = 0.02
# The accepted connection died while it waited; the listener is well (accept(2) lists these as to be retried).
_DIED_WAITING = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}
)
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})


class Handler(Protocol):
    """Whatever owns a socket of the edge at the moment."""

    def ready(self, events: int) -> None: ...

    def stop(self) -> None: ...


class GiveToHttp(Protocol):
    """Takes a connection that is no WebSocket, with the bytes read so far, and gives its place back when it ends."""

    def __call__(self, sock: socket.socket, data: bytes, arrival: Arrival, address_key: str) -> None: ...


class Edge:
    """Owns the epoll and everything registered with it."""

    def __init__(
        self,
        doorway: Doorway,
        deadlines: Deadlines,
        clock: Callable[[], float],
        observe: Callable[[float], None],
        give_to_http: GiveToHttp,
    ) -> None:
        self.doorway = doorway
        self.options = doorway.options
        self.counters = doorway.counters
        self.admission = doorway.admission
        self.bounds = doorway.options.outbox
        self.frames_per_tick = doorway.options.frames_per_tick
        self.deadlines = deadlines
        self.clock = clock
        self.observe = observe
        self.give_to_http = give_to_http
        self.now = clock()
        self.again: list[Connection] = []  # frames left over for the next tick
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._knocking: list[socket.socket] = []  # listeners that are ready
        self._accepting = True
        self._resume_at = 0.0
        self._left_to_others = False
        self._my_turn_until = 0.0
        self._dirty: list[Connection] = []
        self._ended: list[tuple[Connection, LostReason]] = []
        self._in_tick = False
        self._wake = WakeUp()
        self._reserve = ReserveDescriptor()

    # ---- tasks ----

    async def run(self) -> None:
        """Read for ever; the gateway cancels."""
        poll, handlers = self._epoll.poll, self._handlers
        while True:
            if self.again:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.now = self.clock()
            self._in_tick = True
            if self.again:
                again, self.again = self.again, []
                for connection in again:
                    self._guard(connection, connection.resume)
            for fd, events in poll(0, EVENTS_PER_TICK):
                handler = handlers.get(fd)
                if handler is not None:
                    try:
                        handler.ready(events)
                    except Exception:
                        # It may have given the socket to another handler, whose session must be told. Nothing accepts
                        # within this loop, so the number still means this socket.
                        self._failed(handlers.get(fd, handler))
                else:
                    self._listener_ready(fd)
            # After the reads: a descriptor freed in this tick must not be given to a newcomer while its events are
            # still listed.
            while self._knocking:
                self._accept(self._knocking.pop())
            self._in_tick = False
            self.settle()

    async def write(self) -> None:
        """Send what other tasks have queued, for ever."""
        while True:
            await self._wake.wait()
            self.settle()

    def settle(self) -> None:
        """Tell sessions of their end, then write; what is left or comes up meanwhile is for the writer's next turn."""
        ended, self._ended = self._ended, []
        for connection, reason in ended:
            connection.tell_lost(reason)
        dirty = self._dirty
        if len(dirty) > WRITES_PER_TICK:
            dirty, self._dirty = dirty[:WRITES_PER_TICK], dirty[WRITES_PER_TICK:]
        else:
            self._dirty = []
        for connection in dirty:
            try:
                connection.write()
            except Exception:
                self._failed(connection)
        if self._dirty or self._ended:
            self._wake.ring()

    def _guard(self, handler: Handler, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            self._failed(handler)

    def _failed(self, handler: Handler) -> None:
        """A bug of ours met one connection; it must not end the task that serves all of them."""
        self.counters.edge_errors += 1
        _log.exception("the edge failed on a connection, which is closed")
        with contextlib.suppress(Exception):
            handler.stop()

    def swept(self, now: float) -> None:
        """Part of the gateway's sweep: look whether accepting may go on, and settle what deadlines brought up."""
        self.now = now
        full = self.admission.full and self.options.shared_listener
        if self._resume_at and now >= self._resume_at and not full:
            self._resume_at = 0.0
            if self._left_to_others:
                self._left_to_others, self._my_turn_until = False, now + _LET_OTHERS_SECONDS
            for fd in self._listeners:
                self._watch_listener(fd)
        self._reserve.take_back()
        self.settle()

    # ---- what handlers call ----

    def adopt(self, fd: int, handler: Handler) -> None:
        """The socket has a new owner."""
        self._handlers[fd] = handler

    def watch(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """The socket is about to be closed."""
        self.release(fd)
        self.admission.leave()

    def release(self, fd: int) -> None:
        """The socket goes elsewhere."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def touch(self, connection: Connection) -> None:
        """It has something to send in this tick."""
        self._dirty.append(connection)
        if not self._in_tick:
            self._wake.ring()

    def ended(self, connection: Connection, reason: LostReason) -> None:
        self.counters.lost[reason.value] += 1
        self._ended.append((connection, reason))
        if not self._in_tick:
            self._wake.ring()

    def peer_failed(self) -> None:
        """Called where the exception was caught."""
        self.counters.peer_errors += 1
        _log.exception("a session raised; its connection is closed")

    # ---- accepting ----

    def listen(self, listener: socket.socket) -> None:
        """Accept from this socket, which may be shared with other processes (EPOLLEXCLUSIVE: only some of them wake
        up)."""
        listener.setblocking(False)
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by every accepted socket
        self._listeners[listener.fileno()] = listener
        self._watch_listener(listener.fileno())

    def _watch_listener(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def _unwatch_listener(self, fd: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # paused already
            self._epoll.unregister(fd)

    def _listener_ready(self, fd: int) -> None:
        listener = self._listeners.get(fd)
        if listener is not None:
            self._knocking.append(listener)

    def _accept(self, listener: socket.socket) -> None:
        shared = self.options.shared_listener
        for _ in range(SHARED_ACCEPTS_PER_TICK if shared else ACCEPTS_PER_TICK):
            if shared and self.admission.full:
                self._pause(_BACK_OFF_SECONDS)
                return
            if shared and self.admission.ahead and self.now >= self._my_turn_until:
                self._left_to_others = True
                self._pause(_LET_OTHERS_SECONDS)
                return
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if self._accept_failed(listener, error):
                    continue
                return
            self.counters.accepted += 1
            self._welcome(sock, address)

    def _welcome(self, sock: socket.socket, address: object) -> None:
        sock.setblocking(False)
        peer = str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else "unix"
        newcomer = Newcomer(self, sock, peer)
        if not self.admission.arrive(newcomer):
            self._say_no(sock)
            return
        self._handlers[newcomer.fd] = newcomer
        self._epoll.register(newcomer.fd, select.EPOLLIN)
        newcomer.start()

    def _say_no(self, sock: socket.socket) -> None:
        """No room: one write, one read so that the close is no reset, and gone."""
        with contextlib.suppress(OSError):
            sock.send(self.doorway.overloaded("full"))
            sock.shutdown(socket.SHUT_WR)
            sock.recv(4096)
        sock.close()

    def _accept_failed(self, listener: socket.socket, error: OSError) -> bool:
        """True: go on accepting."""
        self.counters.accept_errors[errno.errorcode.get(error.errno or 0, "unknown")] += 1
        if error.errno in _DIED_WAITING:
            return True
        if error.errno in _NO_DESCRIPTOR and not self.options.shared_listener and self._reserve.give_up():
            # Without this the listener stays ready and the loop spins, while clients wait for a timeout.
            try:
                sock, _ = listener.accept()
            except OSError:
                return False  # nobody there: Linux wants the descriptor before it looks
            else:
                sock.setblocking(False)
                self._say_no(sock)
                return True
            finally:
                self._reserve.take_back()
        self._pause(_BACK_OFF_SECONDS)
        return False

    def _pause(self, seconds: float) -> None:
        """Leave newcomers in the backlog, for another process or a better time."""
        for fd in self._listeners:
            self._unwatch_listener(fd)
        self._resume_at = self.now + seconds

    def stop_accepting(self) -> None:
        """Who waits in the backlog of our own listener is still let in: closing it would reset them."""
        if not self._accepting:
            return
        self._accepting = False
        self.now = self.clock()
        if not self.options.shared_listener:
            for listener in self._listeners.values():
                self._accept(listener)
        for fd, listener in self._listeners.items():
            self._unwatch_listener(fd)
            listener.close()
        self._listeners.clear()
        self._knocking.clear()
        self._resume_at = 0.0

    # ---- the end ----

    @property
    def newcomers(self) -> bool:
        """Whether somebody was let in and has not said yet what he wants."""
        return any(isinstance(handler, Newcomer) for handler in self._handlers.values())

    def links(self) -> Iterable[Connection]:
        """Every WebSocket there is now."""
        return [handler for handler in self._handlers.values() if isinstance(handler, Connection)]

    def stop(self) -> None:
        """Close everything at once; sessions are told."""
        self.stop_accepting()
        for handler in list(self._handlers.values()):
            handler.stop()
        while self._ended:
            self.settle()
        self._reserve.close()
        self._epoll.close()
