"""Rows of the audit table in a flush, beside the effect of what an admin did."""

from typing import Final

from msgspec.json import Encoder

from actors.ports import Beside
from actors.shapes.audit import AuditRow
from storage.journal.rider import RiderFragment, Riding

_CTES: Final = """
a_want as materialized (
  select w.* from json_to_recordset({0}::text::json)
    as w(unit uuid, id uuid, at bigint, admin_id uuid, action text, target_kind text, target_id uuid, user_id uuid,
         report_id uuid, reason text, request_id text, address text)
    join moved on moved.id = w.unit
),
a_noted as (
  insert into admin_actions
         (id, at, actor, admin_id, action, target_kind, target_id, user_id, report_id, reason, request_id, address)
  select w.id, to_timestamp(w.at / 1000.0::float8), 'admin', w.admin_id, w.action, w.target_kind, w.target_id,
         w.user_id, w.report_id, w.reason, w.request_id, w.address
    from a_want w
  on conflict do nothing
  returning 1
)"""


class _Row(AuditRow, frozen=True, gc=False, kw_only=True):
    unit: str


class AuditRider:
    letter = "a"
    fragment = RiderFragment(_CTES, "(select count(*) from a_noted)", "(select count(*) from a_want)")

    def __init__(self) -> None:
        self._encode = Encoder().encode

    def rows(self, beside: Beside) -> int:
        return len(beside.audits)

    def document(self, riding: Riding) -> str:
        rows = [
            _Row(unit=unit, **{name: getattr(row, name) for name in row.__struct_fields__})
            for unit, beside in riding
            for row in beside.audits
        ]
        return self._encode(rows).decode()
