"""One HTTP connection: hypercorn's protocol code, with idleness and the end taken out of its hands.

hypercorn 0.18 tells both from inside the application's task, where it awaits. quart-trio cancels that task as soon as
the answer is out, so the idle timer is often not started and the socket not closed: an idle connection then stays for
ever, and one that said `Connection: close` stays open. Here neither awaits anything. (tests/gateway/test_http.py:
test_an_idle_connection_is_closed, test_stopping_lets_a_request_finish.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from realtime.gateway.deadlines import NOT_SET, Deadlines
from realtime.gateway.handed_stream import HandedStream
from realtime.gateway.http1 import Http1

# How long a connection that was told to end may go on sending before it is closed under its hands.
LINGER_SECONDS = 2.0


class HttpService(NamedTuple):
    """What all connections share."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    state: LifespanState


class Idleness:
    """When a connection ends for lack of requests; a Timed."""

    def __init__(
        self,
        stream: HandedStream,
        deadlines: Deadlines,
        clock: Callable[[], float],
        seconds: float,
        idle: "dict[Idleness, None]",
    ) -> None:
        self.bucket = NOT_SET
        self.since = clock()
        self._stream = stream
        self._deadlines = deadlines
        self._clock = clock
        self._seconds = seconds
        self._all_idle = idle
        self._ending = False
        self._running = 0
        self.scope = trio.CancelScope()

    @property
    def idle(self) -> bool:
        return self in self._all_idle

    def begin(self) -> None:
        """No request is being handled."""
        if not self._ending:
            self.since = self._clock()
            self._all_idle[self] = None
            self._deadlines.set(self, self.since + self._seconds)

    def end(self) -> None:
        """A request has come. If the application is not given it, hypercorn has refused it (an upgrade without a key,
        for one) and forgets to close."""
        self._all_idle.pop(self, None)
        if not self._ending:
            self._deadlines.set(self, self._clock() + LINGER_SECONDS)

    def started(self) -> None:
        """The application has been given a request."""
        self._running += 1
        if not self._ending:
            self._deadlines.clear(self)

    def answered(self) -> None:
        """The application is done. Unless hypercorn is ready for another request by and by, it never will be: when an
        answer cannot be sent it forgets to go on reading, and a client that pipelines and resets would be kept for
        ever.
        """
        self._running -= 1
        if not (self._running or self.idle or self._ending):
            self._deadlines.set(self, self._clock() + LINGER_SECONDS)

    def finish(self) -> None:
        """The last answer is out: nothing more from us, and little patience for more from the client."""
        if not self._ending:
            self._ending = True
            self._all_idle.pop(self, None)
            self._stream.finish()
            self._deadlines.set(self, self._clock() + LINGER_SECONDS)

    def due(self, _now: float) -> None:
        if self._ending:
            self.stop()
        else:
            self.finish()

    def stop(self) -> None:
        self._stream.cut()
        self.scope.cancel()

    def over(self) -> None:
        """The connection is gone."""
        self._ending = True
        self._all_idle.pop(self, None)
        self._deadlines.clear(self)


class HttpConnection(TCPServer):
    """hypercorn's server for one connection."""

    def __init__(self, service: HttpService, stream: HandedStream, idleness: Idleness) -> None:
        self._idleness = idleness
        self._application = service.app
        self._face = stream.socket
        self._secure = stream.secure
        # hypercorn names its own types; ours have everything that it uses of them.
        handed: Any = stream
        watched: Any = self._serve
        super().__init__(watched, service.config, service.context, ConnectionState(service.state.copy()), handed)

    async def run(self) -> None:
        self._idleness.begin()
        try:
            with self._idleness.scope:
                await self._talk()
        finally:
            self._idleness.over()

    async def _talk(self) -> None:
        """hypercorn's `run` without its choice of protocols."""
        face = self._face
        client = parse_socket_addr(face.family, face.getpeername())
        server = parse_socket_addr(face.family, face.getsockname())
        try:
            async with TaskGroup() as group:
                shared = (self.app, self.config, self.context, group, ConnectionState(self.state))
                protocol: Any = Http1(*shared, self._secure, client, server, self.protocol_send)
                self.protocol = protocol
                await self._read_data()
        except OSError:
            pass
        finally:
            await self._close()

    async def _serve(self, *arguments: Any) -> None:
        self._idleness.started()
        try:
            await self._application(*arguments)
        finally:
            self._idleness.answered()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            if event.idle:
                self._idleness.begin()
            else:
                self._idleness.end()
        elif isinstance(event, Closed):
            self._idleness.finish()
            await self.protocol.handle(Closed())
        else:
            await super().protocol_send(event)
