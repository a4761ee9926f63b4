"""What the handlers of admins share: who acts, until when, and the answer about somebody's standing."""

from datetime import datetime

from msgspec import Struct

from actors.rules.moderation import check_reason
from actors.shapes.errors import invalid
from actors.shapes.ids import UserId
from actors.shapes.moderation import Act, ActionId, UserStatus
from actors.shapes.times import WallTime, wall_time
from webapi.call import Call


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
    if end <= call.now:
        raise invalid("until", "`until` is in the future")
    return end


def reason_or_none(text: str | None) -> str | None:
    return None if text is None or not text.strip() else check_reason(text, "reason")
