"""Long reads on behalf of actors: a bounded number at a time, beside the actor that permitted them."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from actors.mailbox import Envelope
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds

log = logging.getLogger("kith.reading")

READ_DEADLINE: Final = Seconds(10.0)


class Readers:
    """An actor that read its history itself would keep its writers waiting; so it decides who may read, and this reads.

    Readers wait in one bounded queue; beyond it the answer is OVERLOADED.
    """

    def __init__(self, at_once: int = 16, queue: int = 2_000, deadline: Seconds = READ_DEADLINE) -> None:
        self._at_once = at_once
        self._deadline = deadline
        self._in, self._out = trio.open_memory_channel[tuple[Envelope[Any], Callable[[], Awaitable[object]]]](queue)

    def start(self, envelope: Envelope[Any], read: Callable[[], Awaitable[object]]) -> None:
        """Answer this envelope with what `read` returns, or refuse it with what it raises."""
        try:
            self._in.send_nowait((envelope, read))
        except trio.WouldBlock:
            envelope.refuse(KithError(ErrorCode.OVERLOADED))
        except trio.BrokenResourceError:
            envelope.refuse(_stopping())

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self._at_once):
                    nursery.start_soon(self._reader)
        finally:
            self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        """No asker hangs: neither one who waits in the queue nor one who comes when nobody reads any more."""
        while self._out.statistics().current_buffer_used:
            envelope, _ = self._out.receive_nowait()
            envelope.refuse(_stopping())
        self._out.close()

    async def _reader(self) -> None:
        async for envelope, read in self._out:
            try:
                with trio.fail_after(self._deadline):
                    envelope.answer(await read())
            except KithError as error:
                envelope.refuse(error)
            except trio.TooSlowError:
                envelope.refuse(KithError(ErrorCode.TIMEOUT, outcome="none"))
            except Exception:  # a bug of the read is the asker's bad luck, not the end of all readers
                log.exception("read failed")
                envelope.refuse(KithError(ErrorCode.INTERNAL_ERROR))
            finally:
                envelope.refuse(_stopping())


def _stopping() -> KithError:
    return KithError(ErrorCode.UNAVAILABLE, "The node is stopping", outcome="none")
