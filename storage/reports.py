"""Reports in PostgreSQL: the port `ReportStore`."""

from typing import Final

import msgspec
from msgspec import Struct

from actors.ports import WriteToken
from actors.rules.moderation import check_decision
from actors.shapes.conversations import ConversationType, PrivacyMode
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, MessageId, UserId
from actors.shapes.moderation import (
    DECIDED,
    ActionDetails,
    AdminReport,
    DecideReport,
    FiledReport,
    FileReport,
    MessageSnapshot,
    Place,
    ReportFilter,
    ReportId,
    ReportView,
    Snapshot,
    StandingChanged,
    Suspend,
    TargetKind,
)
from actors.shapes.times import WallTime, iso
from storage.account_rows import write
from storage.audit import Done, is_recorded, record
from storage.idempotency_keys import claim_key
from storage.message_rows import iso_or_none, milliseconds
from storage.pages import AFTER, BEFORE, Conditions, microseconds, page_of
from storage.postgres import Postgres, Statements
from storage.standing import Standings, suspension_details

_COLUMNS: Final = f"""id::text, kind, target_id::text, user_id::text, reporter_id::text, reason, body, snapshot, status,
 note, decided_by::text, {milliseconds("decided_at")}, {milliseconds("created_at")}, {microseconds("created_at")}"""
_ONE: Final = f"select {_COLUMNS} from reports where id = $1"
# Only present members, only what was written since they joined, and no tombstone: there is nothing left to report.
_MESSAGE_FOR: Final = f"""
select m.id::text, c.id::text, c.type, c.privacy_mode, m.sender_id::text,
       coalesce(nullif(s.display_name, ''), s.username), m.seq, m.body,
       {milliseconds("m.created_at")}, {milliseconds("m.edited_at")}
  from messages m
  join conversations c on c.id = m.conversation_id
  join conversation_members p on p.conversation_id = c.id and p.user_id = $1 and p.left_rev is null
  join users s on s.id = m.sender_id
 where m.id = $2 and m.created_rev >= p.joined_rev and m.deleted_at is null
"""
_INSERT: Final = """
insert into reports (id, reporter_id, kind, target_id, user_id, reason, body, snapshot, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9::bigint / 1000.0::float8))
on conflict do nothing
returning id::text
"""
_THE_FIRST: Final = f"""
select {_COLUMNS} from reports where reporter_id = $1 and kind = $2 and target_id = $3 and status = 'open'
"""
_DECIDE: Final = """
update reports set status = $2, note = $3, decided_by = $4, decided_at = to_timestamp($5::bigint / 1000.0::float8)
 where id = $1
"""


class _MessageRow(Struct, frozen=True):
    id: MessageId
    conversation_id: ConversationId
    conversation_type: ConversationType
    privacy_mode: PrivacyMode
    sender_id: UserId
    sender_name: str
    seq: int
    body: str | None
    created_at: WallTime
    edited_at: WallTime | None

    @property
    def shown(self) -> MessageSnapshot:
        return MessageSnapshot(
            self.id,
            self.conversation_id,
            self.conversation_type,
            self.privacy_mode,
            self.sender_id,
            self.sender_name,
            self.seq,
            self.body if self.privacy_mode == "standard" else None,
            iso(self.created_at),
            iso_or_none(self.edited_at),
        )


class _ReportRow(Struct, frozen=True):
    id: ReportId
    kind: str
    target_id: str
    user_id: UserId | None
    reporter_id: UserId
    reason: str
    text: str | None
    snapshot: str
    status: str
    note: str | None
    decided_by: UserId | None
    decided_at: WallTime | None
    created_at: WallTime
    micros: int

    @property
    def place(self) -> Place:
        return self.micros, self.id

    @property
    def shown(self) -> AdminReport:
        fields = {name: getattr(self, name) for name in AdminReport.__struct_fields__}
        fields |= {
            "snapshot": msgspec.json.decode(self.snapshot, type=Snapshot),
            "decided_at": iso_or_none(self.decided_at),
            "created_at": iso(self.created_at),
        }
        return msgspec.convert(fields, AdminReport)


class PostgresReports:
    def __init__(self, postgres: Postgres, standings: Standings) -> None:
        self._postgres = postgres
        self._standings = standings

    async def message_for(self, reader: UserId, id: MessageId) -> MessageSnapshot | None:
        row = await self._postgres.fetchrow(_MessageRow, _MESSAGE_FOR, reader, id)
        return None if row is None else row.shown

    async def report(self, id: ReportId) -> AdminReport | None:
        row = await self._postgres.fetchrow(_ReportRow, _ONE, id)
        return None if row is None else row.shown

    async def reports(
        self, wanted: ReportFilter, after: Place | None, limit: int
    ) -> tuple[list[AdminReport], Place | None]:
        where = Conditions()
        where.equal("status", wanted.status)
        where.equal("kind", wanted.kind)
        where.equal("reporter_id", wanted.reporter)
        where.equal("user_id", wanted.about)
        newest_first = wanted.reporter is not None or wanted.about is not None
        where.place(BEFORE if newest_first else AFTER, "created_at", after)
        order = "order by created_at desc, id desc" if newest_first else "order by created_at, id"
        sql = f"select {_COLUMNS} from reports {where} {order} limit {where.value(limit + 1)}"
        return page_of(await self._postgres.fetch(_ReportRow, sql, *where.values), limit)

    async def file(self, token: WriteToken, reporter: UserId, command: FileReport) -> FiledReport:
        snapshot = msgspec.json.encode(command.snapshot).decode()
        subject = (command.id, reporter, command.kind, command.target_id, command.user_id)
        values = (*subject, command.reason, command.text, snapshot, command.at)

        async def work(statements: Statements) -> FiledReport:
            stored = await statements.fetchrow(_ReportRow, _ONE, command.id)
            if stored is not None:  # an earlier attempt did commit
                return FiledReport(stored.shown.shown, new=True)
            first = await statements.fetchrow(_ReportRow, _THE_FIRST, reporter, command.kind, command.target_id)
            filed = FiledReport(opened(command) if first is None else first.shown.shown, new=first is None)
            await claim_key(statements, command.keyed, msgspec.json.encode(filed).decode())
            if first is None and await statements.fetchval(str, _INSERT, *values) is None:
                # The same reporter's other device was faster by a moment, on another node.
                raise KithError(ErrorCode.TRY_AGAIN, outcome="none", retry_after=0.1)
            return filed

        return await write(self._postgres, token, work)

    async def decide(self, token: WriteToken, command: DecideReport) -> StandingChanged:
        by = command.by
        status, _ = DECIDED[command.decision]

        async def work(statements: Statements) -> StandingChanged:
            # Its lock is what a second admin waits for, and then he finds it decided.
            row = await statements.fetchrow(_ReportRow, _ONE + " for update", command.report_id)
            if row is None:
                raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such report")
            report = row.shown
            if await is_recorded(statements, by):
                return await self._found_again(statements, report, command)
            check_decision(report, command.decision)
            changed, details = StandingChanged(), ActionDetails()
            if command.decision == "suspend_user" and report.user_id is not None:
                suspend = Suspend(by, command.note, command.until)
                changed = await self._standings.suspend(statements, report.user_id, by, suspend)
                details = suspension_details(command.until, changed)
            await statements.execute(_DECIDE, report.id, status, command.note, by.admin_id, by.at)
            await record(statements, by, decided(report, command, details))
            return changed

        return self._standings.committed(await write(self._postgres, token, work))

    async def _found_again(self, statements: Statements, report: AdminReport, command: DecideReport) -> StandingChanged:
        if command.decision != "suspend_user" or report.user_id is None:
            return StandingChanged()
        return await self._standings.found_again(statements, report.user_id, command.by)


def opened(command: FileReport) -> ReportView:
    """A new report as its reporter sees it."""
    subject = (command.id, command.kind, command.target_id, command.reason, command.text)
    return ReportView(*subject, "open", iso(command.at), None)


def decided(report: AdminReport, command: DecideReport, details: ActionDetails) -> Done:
    """The audit row of a decision: a measure names what it struck, and all of them their report."""
    _, action = DECIDED[command.decision]
    kind: TargetKind
    if command.decision == "dismiss":
        kind, target = "report", str(report.id)
    elif command.decision == "remove_content":
        kind, target = "message", report.target_id
    else:
        kind, target = "user", str(report.user_id)
    return Done(action, kind, target, report.user_id, report.id, command.note, details)
