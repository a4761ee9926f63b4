"""What moderation needs of the world: stores, each with a twin in memory. Writes take an actor's token."""

from typing import Protocol, TypeVar

from msgspec import Struct

from actors.ports import WriteToken
from actors.shapes.ids import MessageId, UserId
from actors.shapes.moderation import (
    ActionFilter,
    AdminAction,
    AdminReport,
    AppealFilter,
    AppealId,
    AppealView,
    DecideAppeal,
    DecideReport,
    FileAppeal,
    FiledAppeal,
    FiledReport,
    FileReport,
    Measure,
    MessageSnapshot,
    NoteAction,
    Place,
    ReportFilter,
    ReportId,
    Restore,
    SignOut,
    StandingChanged,
    Suspend,
    Suspension,
    UserCounts,
    UserFilter,
    UserSummary,
)

Item = TypeVar("Item")
Listed = tuple[list[Item], Place | None]  # a full page, and where the next one begins; None: there is none


class StandingStore(Protocol):
    """Who is an admin and who is suspended. Each write is one transaction with its row of the audit table."""

    async def is_admin(self, id: UserId) -> bool:
        """Whether he is an admin at this moment, and his account active."""
        ...

    async def suspension_of(self, id: UserId) -> Suspension | None: ...

    async def suspend(self, token: WriteToken, id: UserId, command: Suspend) -> StandingChanged:
        """Raises USER_NOT_FOUND, and FORBIDDEN for an admin."""
        ...

    async def restore(self, token: WriteToken, id: UserId, command: Restore) -> StandingChanged:
        """Who was not suspended stays as he is, and nothing is written. Raises USER_NOT_FOUND."""
        ...

    async def sign_out(self, token: WriteToken, id: UserId, command: SignOut) -> StandingChanged:
        """Raises USER_NOT_FOUND."""
        ...


class ReportStore(Protocol):
    """Reports and what was decided on them."""

    async def message_for(self, reader: UserId, id: MessageId) -> MessageSnapshot | None:
        """The message as this reader can see it; None also when it was deleted."""
        ...

    async def report(self, id: ReportId) -> AdminReport | None: ...

    async def reports(self, wanted: ReportFilter, after: Place | None, limit: int) -> Listed[AdminReport]:
        """Oldest first; of one reporter, or about somebody, newest first."""
        ...

    async def file(self, token: WriteToken, reporter: UserId, command: FileReport) -> FiledReport:
        """The same again while it is open is the first one. Raises KeyUsedError."""
        ...

    async def decide(self, token: WriteToken, command: DecideReport) -> StandingChanged:
        """Raises CONTENT_NOT_FOUND, IDEMPOTENCY_CONFLICT when it is decided, INVALID_PAYLOAD for a decision that does
        not fit what was reported, and what StandingStore.suspend raises."""
        ...


class AppealStore(Protocol):
    """Measures against people, and their appeals."""

    async def measures(self, id: UserId) -> list[Measure]:
        """The latest 100 against him, newest first."""
        ...

    async def appeal(self, id: AppealId) -> AppealView | None: ...

    async def appeals(self, wanted: AppealFilter, after: Place | None, limit: int) -> Listed[AppealView]:
        """Oldest first; of one user newest first."""
        ...

    async def file(self, token: WriteToken, user: UserId, command: FileAppeal) -> FiledAppeal:
        """As ReportStore.file, one per measure while it is open. Raises CONTENT_NOT_FOUND for what is no measure
        against him, and IDEMPOTENCY_CONFLICT when an appeal against it was granted."""
        ...

    async def decide(self, token: WriteToken, command: DecideAppeal) -> StandingChanged:
        """Raises CONTENT_NOT_FOUND, and IDEMPOTENCY_CONFLICT when it is decided."""
        ...


class AuditStore(Protocol):
    """What admins did."""

    async def note(self, token: WriteToken, command: NoteAction) -> None: ...

    async def actions(self, wanted: ActionFilter, after: Place | None, limit: int) -> Listed[AdminAction]:
        """Newest first."""
        ...


class PeopleStore(Protocol):
    """Users as admins see them."""

    async def find(self, wanted: UserFilter, after: Place | None, limit: int) -> Listed[UserSummary]:
        """Newest first."""
        ...

    async def summary(self, id: UserId) -> UserSummary | None: ...

    async def counts(self, id: UserId) -> UserCounts: ...


class Moderation(Struct, frozen=True):
    """All of it."""

    standing: StandingStore
    reports: ReportStore
    appeals: AppealStore
    audit: AuditStore
    people: PeopleStore
