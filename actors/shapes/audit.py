"""What a platform admin did, as it is written with the effect of a conversation's command."""

from msgspec import Struct

from actors.shapes.ids import UserId
from actors.shapes.times import WallTime


class AuditRow(Struct, frozen=True, gc=False):
    """One row of `admin_actions`: who did what to whom or what, when and why. The id is the admin's side's to make."""

    id: str
    at: WallTime
    admin_id: UserId
    action: str  # `delete_message` …
    target_kind: str  # `message` …
    target_id: str
    user_id: UserId | None = None  # whom it concerns
    report_id: str | None = None
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None
