"""What one engine process is told: a flat struct that travels as key=value arguments, to both engines alike."""

from typing import Literal, Self

import msgspec

Mode = Literal["closed", "open", "idle"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Whole numbers only, so that C reads the same as Python."""

    host: str
    port: int
    path: str = "/ws"
    file: str
    skip: int  # lines of the file that belong to other processes
    lines: int
    run: int  # 32 random bits: whose messages these are
    mode: Mode = "closed"
    per: Literal["pair", "user"] = "pair"
    in_flight: int = 1
    rate_milli: int = 0  # messages per 1,000 seconds of this process
    seconds_ms: int = 10_000
    warmup_ms: int = 0  # latency of messages due before this is not counted; the accounting counts all
    payload_bytes: int = 100
    messages: int = 0  # stop after so many; 0: no such limit
    auth: Literal["header", "hello"] = "header"
    source: str = ""  # address to connect from; empty: the kernel's choice
    window: int = 128  # connections being opened at the same time
    connect_ms: int = 60_000
    drain_ms: int = 15_000  # at most so long after the last send, and
    quiet_ms: int = 5_000  # no longer than this without anything arriving
    stall_ms: int = 5_000  # a lane that waits longer is given up and goes on with its next message
    slot_ms: int = 1_000
    tick_us: int = 200  # look at the sockets not oftener: each wake-up costs as much as the message it brings

    def arguments(self) -> list[str]:
        return [f"{name}={getattr(self, name)}" for name in self.__struct_fields__]

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> Self:
        return msgspec.convert(dict(argument.split("=", 1) for argument in arguments), cls, strict=False)
