"""Reports and appeals in memory, and all stores of moderation on the same rows: the twin of storage/moderation.py."""

from msgspec import UNSET, Struct
from msgspec.json import encode
from msgspec.structs import replace

from actors.moderation_ports import Moderation
from actors.ports import AccountStore, WriteToken
from actors.rules.moderation import check_decision, decided_already
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import MessageId, UserId
from actors.shapes.moderation import (
    DECIDED,
    MEASURES,
    ActionDetails,
    ActionId,
    AdminReport,
    AppealFilter,
    AppealId,
    AppealStatus,
    AppealView,
    DecideAppeal,
    DecideReport,
    FileAppeal,
    FiledAppeal,
    FiledReport,
    FileReport,
    Measure,
    MessageSnapshot,
    Place,
    ReportFilter,
    ReportId,
    StandingChanged,
    Suspend,
)
from actors.shapes.times import WallTime, iso
from storage.appeals import opened, ruled
from storage.memory.idempotency_keys import check_key, keep_key
from storage.memory.standing import MemoryAudit, MemoryPeople, MemoryStanding, check_token, page_of, place_of
from storage.memory.tables import MemoryTables
from storage.message_rows import iso_or_none
from storage.reports import decided
from storage.standing import suspension_details


class MemoryReports:
    def __init__(
        self, tables: MemoryTables, standing: MemoryStanding, audit: MemoryAudit, people: MemoryPeople
    ) -> None:
        self._tables = tables
        self._standing = standing
        self._audit = audit
        self._people = people
        self._reports: dict[ReportId, tuple[WallTime, AdminReport]] = {}

    async def message_for(self, reader: UserId, id: MessageId) -> MessageSnapshot | None:
        for table, mine in self._tables.of_member(reader):
            for stored in table.messages:
                row = self._tables.message_row(stored)
                if stored.id == id and stored.rev >= mine.joined_rev and row.deleted_at is None:
                    kind, mode = table.type, table.privacy_mode
                    text = row.body if mode == "standard" else None
                    sender = (row.sender_id, row.sender_name)
                    times = (iso(row.created_at), iso_or_none(row.edited_at))
                    return MessageSnapshot(row.id, table.id, kind, mode, *sender, row.seq, text, *times)
        return None

    async def report(self, id: ReportId) -> AdminReport | None:
        return self._reports[id][1] if id in self._reports else None

    async def reports(
        self, wanted: ReportFilter, after: Place | None, limit: int
    ) -> tuple[list[AdminReport], Place | None]:
        rows = [
            (place_of(at, report.id), report)
            for at, report in self._reports.values()
            if wanted.status in (None, report.status)
            and wanted.kind in (None, report.kind)
            and wanted.reporter in (None, report.reporter_id)
            and wanted.about in (None, report.user_id)
        ]
        return page_of(rows, after, limit, newest=wanted.reporter is not None or wanted.about is not None)

    async def file(self, token: WriteToken, reporter: UserId, command: FileReport) -> FiledReport:
        check_token(token)
        check_key(self._tables, command.keyed)
        filed = self._filed(reporter, command)
        keep_key(self._tables, command.keyed, encode(filed).decode())
        return filed

    def _filed(self, reporter: UserId, command: FileReport) -> FiledReport:
        if command.id in self._reports:
            return FiledReport(self._reports[command.id][1].shown, new=True)
        for _, known in self._reports.values():
            same = (known.reporter_id, known.kind, known.target_id) == (reporter, command.kind, command.target_id)
            if same and known.status == "open":
                return FiledReport(known.shown, new=False)
        report = AdminReport(
            id=command.id,
            kind=command.kind,
            target_id=command.target_id,
            user_id=command.user_id,
            reporter_id=reporter,
            reason=command.reason,
            text=command.text,
            snapshot=command.snapshot,
            status="open",
            note=None,
            decided_by=None,
            decided_at=None,
            created_at=iso(command.at),
        )
        self._keep(command.at, report)
        return FiledReport(report.shown, new=True)

    async def decide(self, token: WriteToken, command: DecideReport) -> StandingChanged:
        check_token(token)
        if command.report_id not in self._reports:
            raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such report")
        at, report = self._reports[command.report_id]
        if self._audit.knows(command.by):
            if command.decision != "suspend_user" or report.user_id is None:
                return StandingChanged()
            return self._standing.found_again(report.user_id, command.by)
        check_decision(report, command.decision)
        changed, details = StandingChanged(), ActionDetails()
        if command.decision == "suspend_user" and report.user_id is not None:
            suspend = Suspend(command.by, command.note, command.until)
            changed = await self._standing.do_suspend(token, report.user_id, command.by, suspend)
            details = suspension_details(command.until, changed)
        by, status = command.by, DECIDED[command.decision][0]
        self._keep(at, replace(report, status=status, note=command.note, decided_by=by.admin_id, decided_at=iso(by.at)))
        self._audit.record(by, decided(report, command, details))
        return changed

    def _keep(self, at: WallTime, report: AdminReport) -> None:
        self._reports[report.id] = (at, report)
        for user in {report.reporter_id, report.user_id} - {None}:
            assert user is not None
            about = [known for _, known in self._reports.values() if known.user_id == user]
            filed = [known for _, known in self._reports.values() if known.reporter_id == user]
            waiting = [known for known in about if known.status == "open"]
            self._people.report_counts[user] = (len(filed), len(about), len(waiting))


class MemoryAppeals:
    def __init__(self, tables: MemoryTables, standing: MemoryStanding, audit: MemoryAudit) -> None:
        self._tables = tables
        self._standing = standing
        self._audit = audit
        self._appeals: dict[AppealId, tuple[WallTime, AppealView]] = {}

    async def measures(self, id: UserId) -> list[Measure]:
        rows = [
            (place_of(at, action.id), action)
            for at, action in self._tables.actions
            if action.user_id == id and action.action in MEASURES
        ]
        return [
            Measure(
                id=action.id,
                action=action.action,
                target_kind=action.target_kind,
                target_id=action.target_id,
                report_id=action.report_id,
                reason=action.reason,
                until=None if action.details.until is UNSET else action.details.until,
                at=action.at,
                appeal=self._latest(action.id),
            )
            for action in page_of(rows, None, 100, newest=True)[0]
        ]

    def _latest(self, measure: ActionId) -> AppealStatus | None:
        rows = [(place_of(at, one.id), one) for at, one in self._appeals.values() if one.measure_id == measure]
        newest, _ = page_of(rows, None, 1, newest=True)
        return newest[0].status if newest else None

    async def appeal(self, id: AppealId) -> AppealView | None:
        return self._appeals[id][1] if id in self._appeals else None

    async def appeals(
        self, wanted: AppealFilter, after: Place | None, limit: int
    ) -> tuple[list[AppealView], Place | None]:
        rows = [
            (place_of(at, appeal.id), appeal)
            for at, appeal in self._appeals.values()
            if wanted.status in (None, appeal.status) and wanted.user in (None, appeal.user_id)
        ]
        return page_of(rows, after, limit, newest=wanted.user is not None)

    async def file(self, token: WriteToken, user: UserId, command: FileAppeal) -> FiledAppeal:
        check_token(token)
        check_key(self._tables, command.keyed)
        filed = await self._filed(user, command)
        keep_key(self._tables, command.keyed, encode(filed).decode())
        return filed

    async def _filed(self, user: UserId, command: FileAppeal) -> FiledAppeal:
        if command.id in self._appeals:
            return FiledAppeal(self._appeals[command.id][1], new=True)
        against = [measure for measure in await self.measures(user) if measure.id == command.measure_id]
        if not against:
            raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such measure against you")
        if against[0].appeal == "granted":
            raise decided_already("granted")
        for _, known in self._appeals.values():
            if known.measure_id == command.measure_id and known.status == "open":
                return FiledAppeal(known, new=False)
        appeal = opened(user, command)
        self._appeals[command.id] = (command.at, appeal)
        return FiledAppeal(appeal, new=True)

    async def decide(self, token: WriteToken, command: DecideAppeal) -> StandingChanged:
        check_token(token)
        if command.appeal_id not in self._appeals:
            raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such appeal")
        at, appeal = self._appeals[command.appeal_id]
        if self._audit.knows(command.by):
            return self._standing.found_again(appeal.user_id, command.by)
        if appeal.status != "open":
            raise decided_already(appeal.status)
        by, changed = command.by, StandingChanged()
        if command.ruling == "grant":
            changed = self._standing.do_restore(appeal.user_id, by, appeal.measure_id)
        status: AppealStatus = "granted" if command.ruling == "grant" else "upheld"
        after = replace(appeal, status=status, note=command.note, decided_by=by.admin_id, decided_at=iso(by.at))
        self._appeals[appeal.id] = (at, after)
        self._audit.record(by, ruled(appeal, command, changed))
        return changed


class MemoryModeration(Struct, frozen=True):
    """The stores, and the one of them that a test changes by hand."""

    stores: Moderation
    standing: MemoryStanding


def memory_moderation(tables: MemoryTables, accounts: AccountStore) -> MemoryModeration:
    audit = MemoryAudit(tables)
    standing = MemoryStanding(tables, accounts, audit)
    people = MemoryPeople(tables, accounts, standing)
    reports = MemoryReports(tables, standing, audit, people)
    appeals = MemoryAppeals(tables, standing, audit)
    return MemoryModeration(Moderation(standing, reports, appeals, audit, people), standing)
