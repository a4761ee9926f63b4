"""An Idempotency-Key on its way to the database: it is written in the transaction of the effect, or not at all."""

from typing import Final

from msgspec import Struct

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import WallTime

KEPT_HOURS: Final = 24  # an older key is free
LONGEST: Final = 255
# Whoever registers is nobody yet: all who do share this owner, an id that no user has.
REGISTRATION: Final = "00000000-0000-0000-0000-000000000001"


class Keyed(Struct, frozen=True, gc=False):
    """The key of one request: whose it is, and a keyed hash of what was asked under it. Part of a command."""

    owner: str  # the user, or REGISTRATION
    key: str
    fingerprint: str
    at: WallTime


class KeyRow(Struct, frozen=True, gc=False):
    """A key with what came of its request: the command's typed answer, as JSON. One row of `idempotency_keys`."""

    keyed: Keyed
    outcome: str


class KeptAnswer(Struct, frozen=True, gc=False):
    """What a key that is in use was used for, and what was answered."""

    fingerprint: str
    outcome: str


KeyName = tuple[str, str]  # owner and key


class KeyUsedError(KithError):
    """Somebody was faster with this key: whoever meets it looks up what was answered."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.TRY_AGAIN, "This Idempotency-Key is being used", outcome="none", retry_after=0.1)
