"""What all sessions of a node share: the directories they address, the tokens they check, the limits they keep."""

import itertools
from collections.abc import Iterator

from msgspec import Struct, field

from actors.conversation import Conversations, Users
from actors.limiter import Limit, Limiter, address_key
from actors.metrics import Counter, Family
from actors.ports import Clock, Revocations
from actors.shapes.times import Seconds
from actors.shapes.users import Limits
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

    def pay_for_bad_token(self, address: str) -> None:
        """As over HTTP: whoever guesses tokens is soon told to stop. Raises RATE_LIMIT_EXCEEDED.

        Paid after the look at the token, and by bad ones only: whoever comes with a good one from the same address is
        let in, however empty the bucket is.
        """
        limits: Limits = "load" if self.limiter.is_exempt(address) else "normal"
        self.limiter.take(Limit.UNAUTHENTICATED, address_key(address), limits).check()

    @property
    def shown_heartbeat(self) -> float | int:
        """25 and not 25.0, for clients whose JSON tells them apart."""
        return int(self.heartbeat) if self.heartbeat.is_integer() else self.heartbeat
