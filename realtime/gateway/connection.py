"""One WebSocket of the epoll edge: bytes from and to its socket, its deadlines and its end. Has no task of its own.

Theory. A connection is OPEN until somebody ends it, then CLOSING until both sides have said goodbye or patience is
over, then GONE. The session is told `lost` when OPEN ends, by the edge and never from inside a call of the session;
what CLOSING still has to do is between the edge and the socket.

    OPEN     client's close frame            answer it, CLOSING          lost(CLIENT_CLOSED)
    OPEN     violation, deadline, overflow   close frame, CLOSING        lost(…)
    OPEN     close() by the session          flush, close frame, CLOSING lost(CLOSED)
    OPEN     end of stream, reset            GONE                        lost(ENDED), lost(RESET)
    CLOSING  goodbyes said, end of stream    GONE
    CLOSING  close_seconds over              GONE, by reset if not even our goodbye was taken
"""

import socket
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from actors.shapes.frames import Frame
from realtime.gateway.deadlines import NOT_SET
from realtime.gateway.ending import LAGGING, State, reset_on_close
from realtime.link import Admitted, LostReason, Peer
from realtime.outbox import Outbox, Pushed
from realtime.wire.close import Close, CloseCode, Violation, close_payload
from realtime.wire.frames import FROM_CLIENT, FROM_STRANGER, Decoder, Event, Opcode, Ping, encode

if TYPE_CHECKING:
    from realtime.gateway.edge import Edge

RECV_BYTES = 64 * 1024
# EPOLLIN and EPOLLOUT as Linux numbers them: this module is imported where `select` does not have them, too.
_IN = 0x1
_OUT = 0x4
_PING_FRAME = encode(Opcode.PING, b"")


_OPEN = State.OPEN


class Connection:
    """The Link of the epoll edge."""

    __slots__ = (
        "_address_key",
        "_blocked",
        "_by",
        "_decoder",
        "_dirty",
        "_edge",
        "_heard_close",
        "_high",
        "_knows",
        "_outbox",
        "_peer",
        "_pinged_at",
        "_sock",
        "_state",
        "_words",
        "arrived_at",
        "bucket",
        "fd",
        "heard_at",
        "read_at",
        "remote",
    )

    def __init__(self, edge: "Edge", sock: socket.socket, remote: str, arrived_at: float, address_key: str) -> None:
        self._edge = edge
        self._sock = sock
        self.fd = sock.fileno()
        self.remote = remote
        self.arrived_at = arrived_at
        self._address_key = address_key
        self._decoder = Decoder(FROM_STRANGER)
        self._outbox = Outbox(edge.bounds, edge.counters.dropped)
        self._peer: Peer | None = None
        self._state = State.OPEN
        self._heard_close = False
        self._blocked = False  # the kernel's buffer is full; EPOLLOUT is armed
        self._dirty = False  # stands in the edge's list of this tick
        self._high = False  # was above the low-water mark
        self._knows = False  # the session knows who this is
        self._by = 0.0  # OPEN: hello or idle_hello; CLOSING: reset; 0 = nothing
        self._pinged_at = 0.0
        self._words: Callable[[Frame], Frame] | None = None
        self.bucket = NOT_SET
        self.heard_at = edge.now
        self.read_at = 0.0

    # ---- what the session calls ----

    @property
    def queued_bytes(self) -> int:
        return self._outbox.queued_bytes

    @property
    def is_open(self) -> bool:
        return self._state is _OPEN

    def send(self, frame: Frame) -> None:
        if self._state is not _OPEN:
            return
        outbox = self._outbox
        if outbox.push(frame) is Pushed.OVERFLOW:
            self._end(LostReason.SLOW, CloseCode.SLOW_CONSUMER, "too slow", LAGGING)
        elif outbox.queued_bytes > self._edge.bounds.low_water_bytes:
            self._high = True
        if not self._dirty and not self._blocked:
            self._dirty = True
            self._edge.touch(self)

    def close(self, code: int, reason: str = "", before: Frame | None = None) -> None:
        if self._state is _OPEN:
            self._end(LostReason.CLOSED, code, reason, before)

    def authenticated(self) -> None:
        if not self._knows:
            self._knows = True
            self._by = 0.0
            self._decoder.obey(FROM_CLIENT)
            self._edge.admission.known(self)

    # ---- what the edge calls ----

    def open(self, admitted: Admitted, switching: bytes, rest: bytes) -> None:
        """The upgrade was admitted: send the 101, seat the session, give it the bytes that came with the head."""
        edge = self._edge
        edge.counters.websockets += 1
        self._outbox.overtake(switching)
        self.read_at = perf_counter()
        self._words = admitted.words
        if admitted.authenticated:
            self.authenticated()
            self._by = edge.now + edge.options.idle_hello_seconds
        else:
            self._by = edge.now + edge.options.hello_seconds
        self._touch()
        try:
            self._peer = admitted.seat(self)
        except Exception:
            self._peer_failed()
            return
        self._arm()
        if rest:
            self._receive(rest)

    def ready(self, events: int) -> None:
        """epoll has something to tell. A hang-up is believed only when a read says so: events may be of an older
        socket."""
        if events & _OUT:
            self.write()
            if events == _OUT:
                return
        if self._decoder.ready or self._state is State.GONE:
            return  # the frames of the last read have not had their turn yet
        try:
            data = self._sock.recv(RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._vanish(LostReason.RESET)
            return
        if data:
            self._receive(data)
        else:
            self._vanish(LostReason.ENDED)

    def resume(self) -> None:
        """Go on with the frames that an earlier tick left, for the others' sake."""
        if self._state is not State.GONE:
            self._feed(b"")

    def write(self) -> None:
        """Offer what is queued to the socket, in as few calls as it takes."""
        self._dirty = False
        outbox = self._outbox
        while outbox.queued_bytes:
            chunk = outbox.chunk()
            try:
                count = self._sock.send(chunk)
            except (BlockingIOError, InterruptedError):
                count = 0
            except OSError:
                self._vanish(LostReason.RESET)
                return
            counters = self._edge.counters
            counters.sends += 1
            counters.bytes_out += count
            if count < len(chunk):
                counters.short_sends += 1
                if count:
                    outbox.sent(count)
                self._block(blocked=True)
                break
            flown = outbox.sent(count)
            counters.frames_out += len(flown)
            for frame in flown:
                if frame.born:
                    self._edge.observe(perf_counter() - frame.born)
        else:
            if self._blocked:
                self._block(blocked=False)
            if self._state is State.CLOSING:
                self._farewell()
        if self._high and outbox.queued_bytes <= self._edge.bounds.low_water_bytes:
            self._call_drained()

    def due(self, now: float) -> None:
        """Its bucket was swept."""
        if self._state is State.CLOSING and now >= self._by:
            self._give_up()
        elif self._state is _OPEN:
            if self._by and now >= self._by:
                self._hello_is_late()
            if self._state is _OPEN:
                self._look_for_life(now)
        self._arm()

    def shed(self) -> None:
        """Unauthenticated, and a newcomer needs the room."""
        if self._state is _OPEN:
            self._end(LostReason.SHED, CloseCode.OVERLOADED, "too many unauthenticated connections")

    def tell_lost(self, reason: LostReason) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            try:
                peer.lost(reason)
            except Exception:
                self._edge.peer_failed()

    # ---- reading ----

    def _receive(self, data: bytes) -> None:
        edge = self._edge
        counters = edge.counters
        counters.reads += 1
        counters.bytes_in += len(data)
        self.heard_at = edge.now
        self.read_at = perf_counter()
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        """A stranger's frames one by one: what follows a hello is read by the rules of who has said it."""
        self._deliver(self._decoder.feed(data, self._edge.frames_per_tick if self._knows else 1))

    def _deliver(self, events: list[Event]) -> None:
        edge = self._edge
        for event in events:
            if type(event) is bytes:
                if self._state is not _OPEN or self._peer is None:
                    continue
                edge.counters.frames_in += 1
                if self._knows:
                    self._by = 0.0  # not silent, so no idle_hello
                try:
                    self._peer.text(event)
                except Exception:
                    self._peer_failed()
            elif type(event) is Ping:
                if self._state is _OPEN:
                    self._outbox.pong(encode(Opcode.PONG, event.payload))
                    self._touch()
            elif type(event) is Close:
                self._client_closed(event)
            elif type(event) is Violation and self._state is _OPEN:
                self._end(LostReason.VIOLATION, event.code, event.reason)
        if self._decoder.ready:
            edge.again.append(self)

    def _client_closed(self, close: Close) -> None:
        self._heard_close = True
        if self._state is _OPEN:
            # What is queued goes out first: a client may send its last command and its goodbye in one breath.
            self._end(LostReason.CLIENT_CLOSED, close.code, "")
        elif not self._outbox.queued_bytes:
            self._farewell()

    # ---- deadlines ----

    def _arm(self) -> None:
        """Stand in the bucket of whatever comes first."""
        options = self._edge.options
        if self._state is State.GONE:
            return
        when = self._by
        if self._state is _OPEN:
            if self._pinged_at > self.heard_at:
                when = self._pinged_at + options.pong_timeout_seconds
            else:
                when = self.heard_at + options.heartbeat_seconds
            if self._by:
                when = min(when, self._by)
        self._edge.deadlines.set(self, when)

    def _hello_is_late(self) -> None:
        self._by = 0.0
        if not self._knows:
            self._end(LostReason.NO_HELLO, CloseCode.NO_HELLO, "no hello in time")
        elif self._peer is not None:
            try:
                self._peer.idle_hello()
            except Exception:
                self._peer_failed()

    def _look_for_life(self, now: float) -> None:
        options = self._edge.options
        if self._pinged_at > self.heard_at:
            if now >= self._pinged_at + options.pong_timeout_seconds:
                self._end(LostReason.NO_PONG, CloseCode.NO_PONG, "no pong in time")
        elif now >= self.heard_at + options.heartbeat_seconds:
            self._pinged_at = now
            self._edge.counters.pings_sent += 1
            self._outbox.overtake(_PING_FRAME)
            self._touch()

    # ---- writing ----

    def _touch(self) -> None:
        if not self._dirty and not self._blocked:
            self._dirty = True
            self._edge.touch(self)

    def _block(self, *, blocked: bool) -> None:
        self._blocked = blocked
        self._edge.watch(self.fd, _IN | _OUT if blocked else _IN)

    def _call_drained(self) -> None:
        self._high = False
        if self._state is _OPEN and self._peer is not None:
            try:
                self._peer.drained()
            except Exception:
                self._peer_failed()

    # ---- ending ----

    def _peer_failed(self) -> None:
        """A bug in a session ends that session, nothing else."""
        self._edge.peer_failed()
        if self._state is _OPEN:
            self._end(LostReason.FAULT, CloseCode.INTERNAL, "a fault of the server")

    def _end(self, reason: LostReason, code: int, text: str, before: Frame | None = None) -> None:
        """OPEN -> CLOSING: queue the goodbye and give it a bounded time."""
        if before is not None and self._words is not None:
            before = self._words(before)
        self._outbox.finish(before, encode(Opcode.CLOSE, close_payload(code, text)))
        self._leave_open(reason, code)
        self._by = self._edge.clock() + self._edge.options.close_seconds
        self._arm()
        self._touch()

    def _leave_open(self, reason: LostReason, code: int) -> None:
        if self._state is _OPEN:
            self._state = State.CLOSING
            self._edge.admission.known(self)
            self._edge.counters.closed[int(code)] += 1
            self._edge.ended(self, reason)

    def _farewell(self) -> None:
        """Our goodbye is with the kernel. Who has said its own is let go; who broke the protocol is drained, or the
        reset that its unread bytes cause would take our goodbye with it."""
        if self._heard_close:
            self._vanish(LostReason.CLIENT_CLOSED)
        elif self._decoder.over:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._vanish(LostReason.RESET)

    def _vanish(self, reason: LostReason) -> None:
        """-> GONE."""
        if self._state is not State.GONE:
            self._leave_open(reason, CloseCode.ABNORMAL)
            self._state = State.GONE
            self._outbox.drop_all()
            self._edge.deadlines.clear(self)
            self._edge.forget(self.fd)
            self._edge.admission.leave_address(self._address_key)
            self._edge.counters.websockets -= 1
            self._sock.close()

    def _give_up(self) -> None:
        """Patience is over. A goodbye that was not even taken is reset, so that the kernel keeps no memory for it
        either."""
        if self._outbox.queued_bytes:
            self._edge.counters.resets += 1
            reset_on_close(self._sock)
        self._vanish(LostReason.RESET)

    def stop(self) -> None:
        """The gateway closes: no time for goodbyes."""
        self._leave_open(LostReason.STOPPED, CloseCode.GOING_AWAY)
        self._give_up()
