"""What a platform admin did, as it is written with the effect."""

from msgspec import Struct

from actors.shapes.ids import UserId
from actors.shapes.times import WallTime


class AuditRow(Struct, frozen=True, gc=False):
    """One row of the audit of admins: who did what to whom or what, when and why."""

    id: str
    admin_id: UserId
    action: str  # `message.deleted`, `user.suspended` …
    target_kind: str  # `user`, `message`, `report` …
    target_id: str
    at: WallTime
    reason: str | None = None
