"""The audit table in PostgreSQL: the port `AuditStore`, and the insert that every action's own transaction uses."""

from typing import Final

import msgspec
from msgspec import Struct

from actors.ports import WriteToken
from actors.shapes.ids import UserId
from actors.shapes.moderation import (
    Act,
    ActionDetails,
    ActionFilter,
    ActionId,
    ActionName,
    AdminAction,
    NoteAction,
    Place,
    ReportId,
    TargetKind,
)
from actors.shapes.times import WallTime, iso
from storage.account_rows import write
from storage.message_rows import milliseconds
from storage.pages import BEFORE, Conditions, microseconds, page_of
from storage.postgres import Postgres, Statements

_INSERT: Final = """
insert into admin_actions (id, at, actor, admin_id, action, target_kind, target_id, user_id, report_id, reason, details,
                           request_id, address)
values ($1, to_timestamp($2::bigint / 1000.0::float8), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
on conflict (id) do nothing
"""
COLUMNS: Final = f"""id::text, {milliseconds("at")}, actor, admin_id::text, action, target_kind, target_id::text,
 user_id::text, report_id::text, reason, details, request_id, address"""


class Done(Struct, frozen=True):
    """What an action did, beside who did it."""

    action: ActionName
    target_kind: TargetKind
    target_id: str
    user_id: UserId | None = None
    report_id: ReportId | None = None
    reason: str | None = None
    details: ActionDetails = ActionDetails()


async def record(statements: Statements, by: Act, done: Done) -> None:
    """In the transaction of what was done, so that there is neither without the other."""
    details = msgspec.json.encode(done.details).decode()
    await statements.execute(
        _INSERT,
        by.id,
        by.at,
        by.actor,
        by.admin_id,
        done.action,
        done.target_kind,
        done.target_id,
        done.user_id,
        done.report_id,
        done.reason,
        details,
        by.request_id,
        by.address,
    )


async def is_recorded(statements: Statements, by: Act) -> bool:
    """Whether an earlier attempt of this action did commit."""
    return await statements.fetchval(str, "select id::text from admin_actions where id = $1", by.id) is not None


class ActionRow(Struct, frozen=True):
    id: ActionId
    at: WallTime
    actor: str
    admin_id: UserId | None
    action: str
    target_kind: str
    target_id: str
    user_id: UserId | None
    report_id: ReportId | None
    reason: str | None
    details: str
    request_id: str | None
    address: str | None
    micros: int

    @property
    def place(self) -> Place:
        return self.micros, self.id

    @property
    def shown(self) -> AdminAction:
        fields = {name: getattr(self, name) for name in AdminAction.__struct_fields__}
        fields |= {"at": iso(self.at), "details": msgspec.json.decode(self.details, type=ActionDetails)}
        return msgspec.convert(fields, AdminAction)


class PostgresAudit:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def note(self, token: WriteToken, command: NoteAction) -> None:
        done = Done(
            command.action, command.target_kind, command.target_id, user_id=command.user_id, reason=command.reason
        )

        async def work(statements: Statements) -> None:
            await record(statements, command.by, done)

        await write(self._postgres, token, work)

    async def actions(
        self, wanted: ActionFilter, after: Place | None, limit: int
    ) -> tuple[list[AdminAction], Place | None]:
        where = Conditions()
        where.equal("admin_id", wanted.admin)
        where.equal("action", wanted.action)
        where.equal("target_id", wanted.target)
        where.equal("user_id", wanted.about)
        if wanted.since is not None:
            where.add("at >= to_timestamp({}::bigint / 1000.0::float8)", wanted.since)
        if wanted.before is not None:
            where.add("at < to_timestamp({}::bigint / 1000.0::float8)", wanted.before)
        where.place(BEFORE, "at", after)
        sql = f"select {COLUMNS}, {microseconds('at')} from admin_actions {where} order by at desc, id desc"
        rows = await self._postgres.fetch(ActionRow, f"{sql} limit {where.value(limit + 1)}", *where.values)
        return page_of(rows, limit)
