"""What all sessions of a node share: the directories they address, the tokens they check, the limits they keep."""

import itertools
from collections.abc import Iterator

from msgspec import Struct, field

from actors.conversation import Conversations, Users
from actors.limiter import Limiter
from actors.metrics import Counter, Family
from actors.ports import Clock, Revocations
from actors.shapes.times import Seconds
from actors.tickets import TicketAuthority
from actors.tokens import TokenAuthority


class Gate(Struct, frozen=True):
    clock: Clock
    users: Users
    conversations: Conversations
    tokens: TokenAuthority
    tickets: TicketAuthority
    revocations: Revocations
    limiter: Limiter
    commands: Family[Counter]
    errors: Family[Counter]
    translations: Family[Counter]
    epoch: str
    heartbeat: Seconds
    socket_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def shown_heartbeat(self) -> float | int:
        """25 and not 25.0, for clients whose JSON tells them apart."""
        return int(self.heartbeat) if self.heartbeat.is_integer() else self.heartbeat
