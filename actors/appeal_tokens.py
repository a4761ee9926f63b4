"""Tokens with which somebody who cannot sign in may appeal against his suspension, and do nothing else."""

from typing import Final

import msgspec
from msgspec import Struct

from actors.sealing import Seals
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.moderation import ActionId
from actors.shapes.times import Seconds, WallTime

LIFETIME: Final = Seconds(3_600.0)  # to write a text; another login gives another token
_PURPOSE: Final = "appeal"


class AppealRight(Struct, frozen=True):
    """Who may appeal, and against which measure."""

    user_id: UserId
    measure_id: ActionId
    expires_at: WallTime


class AppealTokens:
    """Sealed, because it travels in answers of logins and says who is suspended by what."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    def issue(self, user: UserId, measure: ActionId, now: WallTime) -> str:
        right = AppealRight(user, measure, WallTime(now + round(LIFETIME * 1000)))
        return self._seals.seal_text(_PURPOSE, msgspec.json.encode(right))

    def open(self, token: str, now: WallTime) -> AppealRight:
        """Raises INVALID_TOKEN or TOKEN_EXPIRED."""
        opened = self._seals.open_text(_PURPOSE, token)
        if opened is None:
            raise KithError(ErrorCode.INVALID_TOKEN)
        right = msgspec.json.decode(opened, type=AppealRight)
        if right.expires_at <= now:
            raise KithError(ErrorCode.TOKEN_EXPIRED)
        return right
