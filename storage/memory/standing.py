"""Standing, the audit table and people in memory: the twins of storage/standing.py, audit.py and people.py."""

from collections.abc import Iterable
from typing import TypeVar

from actors.ports import AccountStore, WriteToken
from actors.rules.accounts import email_key, username_key
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.moderation import (
    Act,
    ActionDetails,
    ActionFilter,
    ActionId,
    AdminAction,
    NoteAction,
    Place,
    Restore,
    SignOut,
    StandingChanged,
    Suspend,
    Suspension,
    UserCounts,
    UserFilter,
    UserSummary,
)
from actors.shapes.times import WallTime, iso
from storage.audit import Done
from storage.memory.tables import MemoryTables, UserRow
from storage.message_rows import iso_or_none
from storage.standing import suspension_details

Item = TypeVar("Item")


def page_of(
    rows: Iterable[tuple[Place, Item]], after: Place | None, limit: int, *, newest: bool
) -> tuple[list[Item], Place | None]:
    """In the order of their places, or against it."""
    ordered = sorted(rows, key=lambda row: row[0], reverse=newest)
    behind = [row for row in ordered if after is None or (row[0] < after if newest else row[0] > after)]
    return [item for _, item in behind[:limit]], (behind[limit - 1][0] if len(behind) > limit else None)


def place_of(at: WallTime, id: str) -> Place:
    return at * 1_000, id


class MemoryAudit:
    """The list itself belongs to the tables: conversations write into it, too."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def note(self, token: WriteToken, command: NoteAction) -> None:
        check_token(token)
        done = Done(
            command.action, command.target_kind, command.target_id, user_id=command.user_id, reason=command.reason
        )
        self.record(command.by, done)

    async def actions(
        self, wanted: ActionFilter, after: Place | None, limit: int
    ) -> tuple[list[AdminAction], Place | None]:
        rows = [(place_of(at, action.id), action) for at, action in self._tables.actions if _fits(wanted, at, action)]
        return page_of(rows, after, limit, newest=True)

    def knows(self, by: Act) -> bool:
        return any(action.id == by.id for _, action in self._tables.actions)

    def record(self, by: Act, done: Done) -> None:
        action = AdminAction(
            id=by.id,
            at=iso(by.at),
            actor=by.actor,
            admin_id=by.admin_id,
            action=done.action,
            target_kind=done.target_kind,
            target_id=done.target_id,
            user_id=done.user_id,
            report_id=done.report_id,
            reason=done.reason,
            details=done.details,
            request_id=by.request_id,
            address=by.address,
        )
        self._tables.actions.append((by.at, action))


def _fits(wanted: ActionFilter, at: WallTime, action: AdminAction) -> bool:
    return (
        wanted.admin in (None, action.admin_id)
        and wanted.action in (None, action.action)
        and wanted.target in (None, action.target_id)
        and wanted.about in (None, action.user_id)
        and (wanted.since is None or at >= wanted.since)
        and (wanted.before is None or at < wanted.before)
    )


class MemoryStanding:
    """Admins and suspensions; `admins` is what the command line would write."""

    def __init__(self, tables: MemoryTables, accounts: AccountStore, audit: MemoryAudit) -> None:
        self._tables = tables
        self._accounts = accounts
        self._audit = audit
        self.admins: set[UserId] = set()
        self.suspensions: dict[UserId, Suspension] = {}
        self._done: dict[ActionId, StandingChanged] = {}

    async def is_admin(self, id: UserId) -> bool:
        row = self._tables.users.get(id)
        return row is not None and row.status == "active" and id in self.admins

    async def suspension_of(self, id: UserId) -> Suspension | None:
        row = self._tables.users.get(id)
        if row is None or row.status != "suspended":
            return None
        return self.suspensions.get(id) or Suspension(None, None, None)

    async def suspend(self, token: WriteToken, id: UserId, command: Suspend) -> StandingChanged:
        check_token(token)
        if command.by.id in self._done:
            return self._done[command.by.id]
        changed = await self.do_suspend(token, id, command.by, command)
        details = suspension_details(command.until, changed)
        self._audit.record(command.by, Done("suspend_user", "user", id, id, reason=command.reason, details=details))
        return changed

    async def restore(self, token: WriteToken, id: UserId, command: Restore) -> StandingChanged:
        check_token(token)
        if command.by.id in self._done:
            return self._done[command.by.id]
        changed = self.do_restore(id, command.by, None)
        if changed.status is not None:
            self._done[command.by.id] = changed
            self._audit.record(command.by, Done("restore_user", "user", id, id, reason=command.reason))
        return changed

    async def sign_out(self, token: WriteToken, id: UserId, command: SignOut) -> StandingChanged:
        self.user(id)
        if command.by.id in self._done:
            return self._done[command.by.id]
        ended = tuple(await self._accounts.close_logins(token, id, None, None))
        changed = self._done[command.by.id] = StandingChanged(ended)
        details = ActionDetails(ended_sessions=len(changed.ended))
        self._audit.record(command.by, Done("sign_out_user", "user", id, id, reason=command.reason, details=details))
        return changed

    def found_again(self, id: UserId, by: Act) -> StandingChanged:
        """What the same act did before; if that was nothing, how he stands."""
        row = self.user(id)
        return self._done.get(by.id) or StandingChanged((), row.status, row.rev)

    async def do_suspend(self, token: WriteToken, id: UserId, by: Act, command: Suspend) -> StandingChanged:
        row = self.user(id)
        if id in self.admins:
            raise KithError(ErrorCode.FORBIDDEN, "An admin is not suspended: first the operator revokes that right")
        row.status = "suspended"
        self.suspensions[id] = Suspension(by.id, command.reason, command.until)
        self._raise_rev(row)
        ended = await self._accounts.close_logins(token, id, None, None)
        changed = self._done[by.id] = StandingChanged(tuple(ended), "suspended", row.rev)
        return changed

    def do_restore(self, id: UserId, by: Act, only: ActionId | None) -> StandingChanged:
        row = self.user(id)
        known = self.suspensions.get(id) or Suspension(None, None, None)
        early = by.actor == "time" and (known.until is None or known.until > by.at)
        if row.status != "suspended" or early or (only is not None and known.measure_id != only):
            return StandingChanged()
        row.status = "active"
        self.suspensions.pop(id, None)
        self._raise_rev(row)
        return StandingChanged((), "active", row.rev)

    def user(self, id: UserId) -> UserRow:
        row = self._tables.users.get(id)
        if row is None or row.status == "deleted":
            raise KithError(ErrorCode.USER_NOT_FOUND)
        return row

    def _raise_rev(self, row: UserRow) -> None:
        row.rev += 1
        self._tables.heads.append(("u", row.id, row.rev - 1, row.rev))


class MemoryPeople:
    """`reports` is asked for the figures about reports."""

    def __init__(self, tables: MemoryTables, accounts: AccountStore, standing: MemoryStanding) -> None:
        self._tables = tables
        self._accounts = accounts
        self._standing = standing
        self.report_counts: dict[UserId, tuple[int, int, int]] = {}

    async def find(self, wanted: UserFilter, after: Place | None, limit: int) -> tuple[list[UserSummary], Place | None]:
        rows = [row for row in self._tables.users.values() if self._fits(wanted, row)]
        return page_of(
            [(place_of(row.created_at, row.id), self._shown(row)) for row in rows], after, limit, newest=True
        )

    async def summary(self, id: UserId) -> UserSummary | None:
        row = self._tables.users.get(id)
        return None if row is None else self._shown(row)

    async def counts(self, id: UserId) -> UserCounts:
        sessions = await self._accounts.logins(id)
        conversations = list(self._tables.of_member(id))
        blocked_by = [pair for pair in self._tables.blocks if pair[1] == id]
        filed, about, waiting = self.report_counts.get(id, (0, 0, 0))
        return UserCounts(len(sessions), len(conversations), 0, 0, len(blocked_by), filed, about, waiting)

    def _fits(self, wanted: UserFilter, row: UserRow) -> bool:
        if wanted.q:
            found = (
                username_key(row.username).startswith(username_key(wanted.q))
                or email_key(row.email).startswith(email_key(wanted.q))
                or (row.display_name or "\x00").lower().startswith(wanted.q.lower())
                or row.id == wanted.q.lower()
            )
            if not found:
                return False
        return wanted.status in (None, row.status) and (not wanted.admins or row.id in self._standing.admins)

    def _shown(self, row: UserRow) -> UserSummary:
        suspension = self._standing.suspensions.get(row.id)
        return UserSummary(
            id=row.id,
            username=row.username,
            display_name=row.display_name,
            email=row.email,
            status=row.status,
            is_admin=row.id in self._standing.admins,
            suspended_until=None if suspension is None else iso_or_none(suspension.until),
            created_at=iso(row.created_at),
            last_seen_at=None,
        )


def check_token(token: WriteToken) -> None:
    if not token.valid:
        raise KithError(ErrorCode.UNAVAILABLE, "This actor has ended", outcome="none")
