"""What keeps people safe: reports, appeals, suspensions, and the record of what admins do."""

from typing import Literal, NewType

from msgspec import UNSET, Struct, UnsetType

from actors.shapes.conversations import ConversationType, PrivacyMode
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ConversationId, LoginId, MessageId, UserId
from actors.shapes.times import WallTime

ReportId = NewType("ReportId", str)
AppealId = NewType("AppealId", str)
ActionId = NewType("ActionId", str)  # one row of the audit table

REPORT_TEXT_LIMIT = 1_000
APPEAL_TEXT_LIMIT = 2_000
REASON_LIMIT = 1_000  # of an admin's reason or note

ReportKind = Literal["user", "message", "conversation", "story", "post", "comment", "live"]
ReportReason = Literal["spam", "abuse", "violence", "nudity", "self_harm", "impersonation", "other"]
ReportStatus = Literal["open", "dismissed", "content_removed", "user_suspended", "user_warned"]
Decision = Literal["dismiss", "remove_content", "suspend_user", "warn"]
AppealStatus = Literal["open", "upheld", "granted"]
Ruling = Literal["uphold", "grant"]
UserStatus = Literal["active", "suspended", "deleted"]
ActionName = Literal[
    "grant_admin",
    "revoke_admin",
    "view_user",
    "suspend_user",
    "restore_user",
    "sign_out_user",
    "delete_message",
    "warn_user",
    "dismiss_report",
    "uphold_appeal",
    "grant_appeal",
]
TargetKind = Literal["user", "message", "report", "appeal"]

# What a decision makes of its report, and how the audit table calls it.
DECIDED: dict[Decision, tuple[ReportStatus, ActionName]] = {
    "dismiss": ("dismissed", "dismiss_report"),
    "remove_content": ("content_removed", "delete_message"),
    "suspend_user": ("user_suspended", "suspend_user"),
    "warn": ("user_warned", "warn_user"),
}
# What somebody may appeal against.
MEASURES: tuple[ActionName, ...] = ("suspend_user", "warn_user", "delete_message")


# -- commands -------------------------------------------------------------------------------------------------------


class Act(Struct, frozen=True):
    """Who acts, when and from where: the half of an audit row that is the same for every action."""

    id: ActionId
    at: WallTime
    actor: Literal["admin", "operator", "time"] = "admin"
    admin_id: UserId | None = None
    request_id: str | None = None
    address: str | None = None


class Suspend(Struct, frozen=True):
    by: Act
    reason: str
    until: WallTime | None = None  # None: until somebody restores him


class Restore(Struct, frozen=True):
    """Answered with whether he was suspended. By time: only if his time is over."""

    by: Act
    reason: str | None = None


class SignOut(Struct, frozen=True):
    """Revoke all his logins; answered with those that were live."""

    by: Act
    reason: str | None = None


class NoteAction(Struct, frozen=True):
    """An action with no other trace in the database; noted by the actor of the admin who does it."""

    by: Act
    action: ActionName
    target_kind: TargetKind
    target_id: str
    user_id: UserId | None = None
    reason: str | None = None


class FileReport(Struct, frozen=True):
    id: ReportId
    kind: ReportKind
    target_id: str
    user_id: UserId | None
    reason: ReportReason
    text: str | None
    snapshot: "Snapshot"
    at: WallTime
    keyed: Keyed | None = None


class DecideReport(Struct, frozen=True):
    """Decided by the actor of whom it changes: the suspended one's, else the admin's own."""

    by: Act
    report_id: ReportId
    decision: Decision
    note: str
    until: WallTime | None = None


class FileAppeal(Struct, frozen=True):
    """Against the measure that is named."""

    id: AppealId
    measure_id: ActionId
    text: str
    at: WallTime
    keyed: Keyed | None = None


class DecideAppeal(Struct, frozen=True):
    """For the actor of who appealed, because he may be restored by it."""

    by: Act
    appeal_id: AppealId
    ruling: Ruling
    note: str


ModerationCommand = Suspend | Restore | SignOut | NoteAction | FileReport | DecideReport | FileAppeal | DecideAppeal


# -- reports ----------------------------------------------------------------------------------------------------------


class UserSnapshot(Struct, frozen=True):
    id: UserId
    username: str
    display_name: str | None
    avatar_url: str | None
    bio: str | None


class MessageSnapshot(Struct, frozen=True):
    """Of a strict conversation without its text, which nobody but its members can read."""

    id: MessageId
    conversation_id: ConversationId
    conversation_type: ConversationType
    privacy_mode: PrivacyMode
    sender_id: UserId
    sender_name: str
    seq: int
    text: str | None
    created_at: str
    edited_at: str | None


class QuotedMessage(Struct, frozen=True):
    id: MessageId
    sender_id: UserId
    sender_name: str
    seq: int
    text: str | None
    created_at: str


class ConversationSnapshot(Struct, frozen=True):
    id: ConversationId
    type: ConversationType
    privacy_mode: PrivacyMode
    name: str | None
    description: str | None
    member_ids: list[UserId]
    messages: list[QuotedMessage]  # the newest that the reporter could read; none of a strict conversation


class Snapshot(Struct, frozen=True, omit_defaults=True):
    """What was reported, as the reporter saw it then: exactly one of these."""

    user: UserSnapshot | UnsetType = UNSET
    message: MessageSnapshot | UnsetType = UNSET
    conversation: ConversationSnapshot | UnsetType = UNSET


class ReportView(Struct, frozen=True):
    """A report as its reporter sees it."""

    id: ReportId
    kind: ReportKind
    target_id: str
    reason: ReportReason
    text: str | None
    status: ReportStatus
    created_at: str
    decided_at: str | None


class FiledReport(Struct, frozen=True):
    """The answer to FileReport: the report, and whether it is a new one."""

    report: ReportView
    new: bool


class AdminReport(Struct, frozen=True):
    """A report as an admin sees it."""

    id: ReportId
    kind: ReportKind
    target_id: str
    user_id: UserId | None
    reporter_id: UserId
    reason: ReportReason
    text: str | None
    snapshot: Snapshot
    status: ReportStatus
    note: str | None
    decided_by: UserId | None
    decided_at: str | None
    created_at: str

    @property
    def shown(self) -> ReportView:
        return ReportView(
            self.id, self.kind, self.target_id, self.reason, self.text, self.status, self.created_at, self.decided_at
        )


class ReportFilter(Struct, frozen=True):
    status: ReportStatus | None = "open"
    kind: ReportKind | None = None
    reporter: UserId | None = None
    about: UserId | None = None


# -- measures and appeals ---------------------------------------------------------------------------------------------


class Suspension(Struct, frozen=True):
    """Why somebody cannot sign in."""

    measure_id: ActionId | None
    reason: str | None
    until: WallTime | None


class Measure(Struct, frozen=True):
    """What was decided against somebody, as he sees it; who decided is not his to know."""

    id: ActionId
    action: ActionName
    target_kind: TargetKind
    target_id: str
    report_id: ReportId | None
    reason: str | None
    until: str | None
    at: str
    appeal: AppealStatus | None  # of the latest appeal


class AppealView(Struct, frozen=True):
    """An appeal; `decided_by` stands only in answers to admins."""

    id: AppealId
    measure_id: ActionId
    user_id: UserId
    text: str
    status: AppealStatus
    note: str | None
    created_at: str
    decided_at: str | None
    decided_by: UserId | UnsetType | None = UNSET


class FiledAppeal(Struct, frozen=True):
    """The answer to FileAppeal, likewise."""

    appeal: AppealView
    new: bool


class AppealFilter(Struct, frozen=True):
    status: AppealStatus | None = "open"
    user: UserId | None = None


# -- people and the audit log ---------------------------------------------------------------------------------------


class UserFilter(Struct, frozen=True):
    """`q`: the beginning of a username, e-mail or display name, or a whole id."""

    q: str | None = None
    status: UserStatus | None = None
    admins: bool = False


class UserSummary(Struct, frozen=True):
    id: UserId
    username: str
    display_name: str | None
    email: str
    status: UserStatus
    is_admin: bool
    suspended_until: str | None
    created_at: str
    last_seen_at: str | None


class UserCounts(Struct, frozen=True):
    sessions: int
    conversations: int
    followers: int
    following: int
    blocked_by: int
    reports_filed: int
    reports_about: int
    reports_open: int


class ActionDetails(Struct, frozen=True, omit_defaults=True):
    """What only some actions have."""

    until: str | UnsetType = UNSET
    ended_sessions: int | UnsetType = UNSET
    appeal_id: AppealId | UnsetType = UNSET
    measure_id: ActionId | UnsetType = UNSET
    restored: bool | UnsetType = UNSET


class AdminAction(Struct, frozen=True):
    """One row of the audit table."""

    id: ActionId
    at: str
    actor: Literal["admin", "operator", "time"]
    admin_id: UserId | None
    action: ActionName
    target_kind: TargetKind
    target_id: str
    user_id: UserId | None
    report_id: ReportId | None
    reason: str | None
    details: ActionDetails
    request_id: str | None
    address: str | None


class ActionFilter(Struct, frozen=True):
    """`target`: whatever it is. `since` and `before`: its time."""

    admin: UserId | None = None
    action: ActionName | None = None
    target: str | None = None
    about: UserId | None = None
    since: WallTime | None = None
    before: WallTime | None = None


class StandingChanged(Struct, frozen=True):
    """What a command did to a user's row and his logins; `status` None: to the row nothing."""

    ended: tuple[LoginId, ...] = ()
    status: UserStatus | None = None
    rev: int = 0


Place = tuple[int, str]  # where a page begins: behind the row of this time, in microseconds since 1970, and this id
