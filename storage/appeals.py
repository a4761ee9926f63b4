"""Measures against people and their appeals, in PostgreSQL: the port `AppealStore`."""

from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from actors.ports import WriteToken
from actors.rules.moderation import decided_already
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.moderation import (
    MEASURES,
    ActionDetails,
    ActionId,
    ActionName,
    AppealFilter,
    AppealId,
    AppealStatus,
    AppealView,
    DecideAppeal,
    FileAppeal,
    FiledAppeal,
    Measure,
    Place,
    ReportId,
    StandingChanged,
    TargetKind,
)
from actors.shapes.times import WallTime, iso
from storage.account_rows import write
from storage.audit import Done, is_recorded, record
from storage.idempotency_keys import claim_key
from storage.message_rows import iso_or_none, milliseconds
from storage.pages import AFTER, BEFORE, Conditions, microseconds, page_of
from storage.postgres import Postgres, Statements
from storage.standing import Standings

_COLUMNS: Final = f"""id::text, measure_id::text, user_id::text, body, status, note, {milliseconds("created_at")},
 {milliseconds("decided_at")}, decided_by::text, {microseconds("created_at")}"""
_ONE: Final = f"select {_COLUMNS} from appeals where id = $1"
_MEASURES: Final = f"""
select a.id::text, a.action, a.target_kind, a.target_id::text, a.report_id::text, a.reason, a.details,
       {milliseconds("a.at")},
       (select p.status from appeals p where p.measure_id = a.id order by p.created_at desc, p.id desc limit 1)
  from admin_actions a
 where a.user_id = $1 and a.action = any($2::text[])
 order by a.at desc, a.id desc limit 100
"""
_MEASURE: Final = """
select a.id::text, a.action, exists (select from appeals p where p.measure_id = a.id and p.status = 'granted')
  from admin_actions a where a.id = $1 and a.user_id = $2 and a.action = any($3::text[])
"""
_INSERT: Final = """
insert into appeals (id, measure_id, user_id, body, created_at)
values ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0::float8))
on conflict do nothing
returning id::text
"""
_THE_FIRST: Final = f"select {_COLUMNS} from appeals where measure_id = $1 and status = 'open'"
_DECIDE: Final = """
update appeals set status = $2, note = $3, decided_by = $4, decided_at = to_timestamp($5::bigint / 1000.0::float8)
 where id = $1
"""


class _MeasureRow(NamedTuple):
    id: ActionId
    action: ActionName
    target_kind: TargetKind
    target_id: str
    report_id: ReportId | None
    reason: str | None
    details: str
    at: WallTime
    appeal: AppealStatus | None

    @property
    def shown(self) -> Measure:
        until = msgspec.json.decode(self.details, type=ActionDetails).until
        return Measure(
            id=self.id,
            action=self.action,
            target_kind=self.target_kind,
            target_id=self.target_id,
            report_id=self.report_id,
            reason=self.reason,
            until=None if until is UNSET else until,
            at=iso(self.at),
            appeal=self.appeal,
        )


class _Appealed(NamedTuple):
    id: ActionId
    action: str
    granted: bool


class _AppealRow(Struct, frozen=True):
    id: AppealId
    measure_id: ActionId
    user_id: UserId
    text: str
    status: AppealStatus
    note: str | None
    created_at: WallTime
    decided_at: WallTime | None
    decided_by: UserId | None
    micros: int

    @property
    def place(self) -> Place:
        return self.micros, self.id

    @property
    def shown(self) -> AppealView:
        return AppealView(
            self.id,
            self.measure_id,
            self.user_id,
            self.text,
            self.status,
            self.note,
            iso(self.created_at),
            iso_or_none(self.decided_at),
            self.decided_by,
        )


class PostgresAppeals:
    def __init__(self, postgres: Postgres, standings: Standings) -> None:
        self._postgres = postgres
        self._standings = standings

    async def measures(self, id: UserId) -> list[Measure]:
        return [row.shown for row in await self._postgres.fetch(_MeasureRow, _MEASURES, id, MEASURES)]

    async def appeal(self, id: AppealId) -> AppealView | None:
        row = await self._postgres.fetchrow(_AppealRow, _ONE, id)
        return None if row is None else row.shown

    async def appeals(
        self, wanted: AppealFilter, after: Place | None, limit: int
    ) -> tuple[list[AppealView], Place | None]:
        where = Conditions()
        where.equal("status", wanted.status)
        where.equal("user_id", wanted.user)
        where.place(AFTER if wanted.user is None else BEFORE, "created_at", after)
        order = "order by created_at, id" if wanted.user is None else "order by created_at desc, id desc"
        sql = f"select {_COLUMNS} from appeals {where} {order} limit {where.value(limit + 1)}"
        return page_of(await self._postgres.fetch(_AppealRow, sql, *where.values), limit)

    async def file(self, token: WriteToken, user: UserId, command: FileAppeal) -> FiledAppeal:
        async def work(statements: Statements) -> FiledAppeal:
            stored = await statements.fetchrow(_AppealRow, _ONE, command.id)
            if stored is not None:  # an earlier attempt did commit
                return FiledAppeal(stored.shown, new=True)
            measure = await statements.fetchrow(_Appealed, _MEASURE, command.measure_id, user, MEASURES)
            if measure is None:
                raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such measure against you")
            if measure.granted:
                raise decided_already("granted")
            first = await statements.fetchrow(_AppealRow, _THE_FIRST, command.measure_id)
            filed = FiledAppeal(opened(user, command) if first is None else first.shown, new=first is None)
            await claim_key(statements, command.keyed, msgspec.json.encode(filed).decode())
            values = (command.id, command.measure_id, user, command.text, command.at)
            if first is None and await statements.fetchval(str, _INSERT, *values) is None:
                # The same user's other device was faster by a moment, on another node.
                raise KithError(ErrorCode.TRY_AGAIN, outcome="none", retry_after=0.1)
            return filed

        return await write(self._postgres, token, work)

    async def decide(self, token: WriteToken, command: DecideAppeal) -> StandingChanged:
        by, granted = command.by, command.ruling == "grant"

        async def work(statements: Statements) -> StandingChanged:
            # Its lock is what a second admin waits for, and then he finds it decided.
            row = await statements.fetchrow(_AppealRow, _ONE + " for update", command.appeal_id)
            if row is None:
                raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such appeal")
            if await is_recorded(statements, by):
                return await self._standings.found_again(statements, row.user_id, by)
            if row.status != "open":
                raise decided_already(row.status)
            changed = StandingChanged()
            if granted:
                changed = await self._standings.restore(statements, row.user_id, by, row.measure_id)
            status = "granted" if granted else "upheld"
            await statements.execute(_DECIDE, row.id, status, command.note, by.admin_id, by.at)
            await record(statements, by, ruled(row.shown, command, changed))
            return changed

        return self._standings.committed(await write(self._postgres, token, work))


def opened(user: UserId, command: FileAppeal) -> AppealView:
    """A new appeal."""
    return AppealView(
        command.id, command.measure_id, user, command.text, "open", None, iso(command.at), None, decided_by=None
    )


def ruled(appeal: AppealView, command: DecideAppeal, changed: StandingChanged) -> Done:
    """The audit row of a ruling."""
    action: ActionName = "grant_appeal" if command.ruling == "grant" else "uphold_appeal"
    restored = changed.status == "active"
    details = ActionDetails(measure_id=appeal.measure_id, restored=restored if command.ruling == "grant" else UNSET)
    return Done(action, "appeal", appeal.id, appeal.user_id, reason=command.note, details=details)
