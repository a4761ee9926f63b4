"""What the handlers of admins share: who acts, until when, and the answer about somebody's standing."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from actors.rules.moderation import check_reason
from actors.shapes.errors import invalid
from actors.shapes.ids import UserId
from actors.shapes.moderation import Act, ActionId, UserStatus
from actors.shapes.times import WallTime, wall_time
from webapi.call import Call

_LONGEST_MS: Final = 36_525 * 86_400_000  # a hundred years


class StandingView(Struct, frozen=True):
    """What became of somebody; `action_id` is its row of the audit table, null when nothing changed."""

    user_id: UserId
    status: UserStatus
    ended_sessions: int
    action_id: ActionId | None


def act_of(call: Call) -> Act:
    return Act(ActionId(call.services.new_id()), call.now, "admin", call.me, call.request_id, call.address or None)


def end_of(call: Call, until: datetime | None) -> WallTime | None:
    """None: without an end."""
    if until is None:
        return None
    end = wall_time(until)
    # Not for ever either: a time past the year 9999 could be stored and never be written out again.
    if not call.now < end <= call.now + _LONGEST_MS:
        raise invalid("until", "`until` is in the future, and within a hundred years")
    return end


def reason_or_none(text: str | None) -> str | None:
    return None if text is None or not text.strip() else check_reason(text, "reason")
