"""The wire format of Redis, both ways; the one module that imports hiredis."""

from collections.abc import Iterator
from typing import Any, Final

import hiredis

from storage.redis.errors import RedisAwayError, RedisRefusedError

# What a bus says is short. Whoever sends more without an end is not the server that was meant.
LONGEST_REPLY: Final = 64 * 1024

Reply = bytes | int | None | list[Any]


def packed(*words: str | int) -> bytes:
    """A command as the server reads it."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type] # it takes tuples of any length
    return command


class ReplyReader:
    """Bytes in, whole replies out."""

    def __init__(self) -> None:
        self._reader: Any = hiredis.Reader()
        self._unread = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Raises RedisAwayError on what is no reply, and RedisRefusedError on one that says no."""
        self._unread += len(data)
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._unread = 0
                if isinstance(reply, hiredis.ReplyError):
                    raise RedisRefusedError(str(reply))
                yield reply
        except hiredis.ProtocolError as error:
            raise RedisAwayError(f"this is not Redis: {error}") from None
        if self._unread > LONGEST_REPLY:
            raise RedisAwayError(f"a reply of more than {LONGEST_REPLY} bytes")
