"""Names of things: ids are canonical UUID text, so that they compare, hash and travel without conversion."""

import re
from typing import Final, NewType

# Text and not uuid.UUID: UUID hashes and compares in Python code (0.3 us a dictionary look-up, five on the way of one
# message), text does both in C, goes to JSON as it is, and the database driver encodes it in C too.
UserId = NewType("UserId", str)
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
ClientId = NewType("ClientId", str)
LoginId = NewType("LoginId", str)  # one signed-in session of an account (a row of `sessions`)
IdentityId = NewType("IdentityId", str)  # an account's link to somebody at a provider
SocketId = NewType("SocketId", int)  # one open connection on this node

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def canonical(text: str) -> str | None:
    """Return the canonical form of a UUID's text, None when it is no UUID."""
    if _CANONICAL(text) is not None:
        return text
    # Not uuid.UUID: it also takes `urn:`, `0x`, underscores and hyphens anywhere, so one id would have many spellings.
    lowered = text.lower()
    return lowered if _CANONICAL(lowered) is not None else None
