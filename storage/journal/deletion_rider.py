"""Tombstones in a flush: messages whose content is wiped, beside the unit of their conversation."""

from typing import Final

from msgspec.json import Encoder

from actors.ports import Beside
from storage.journal.rider import RiderFragment, Riding

# By (conversation, seq), the primary key. Its conversation is locked by this flush, so nobody else changes the row; one
# that is a tombstone already is counted as missing, which takes the flush back: it was decided on something else.
_CTES: Final = """
d_want as materialized (
  select w.* from json_to_recordset({0}::text::json)
    as w(conversation_id uuid, seq bigint, rev bigint, deleted_by uuid, deleted_at bigint)
    join moved on moved.id = w.conversation_id
),
d_wiped as (
  update messages m
     set rev = w.rev, changed_xid = pg_current_xact_id(), deleted_by = w.deleted_by,
         deleted_at = to_timestamp(w.deleted_at / 1000.0::float8),
         body = null, content_encrypted = null, content_nonce = null, mentions = null
    from d_want w
   where m.conversation_id = w.conversation_id and m.seq = w.seq and m.deleted_at is null
  returning 1
)"""


class DeletionRider:
    letter = "d"
    fragment = RiderFragment(_CTES, "(select count(*) from d_wiped)", "(select count(*) from d_want)")

    def __init__(self) -> None:
        self._encode = Encoder().encode

    def rows(self, beside: Beside) -> int:
        return len(beside.deleted)

    def document(self, riding: Riding) -> str:
        return self._encode([row for _, beside in riding for row in beside.deleted]).decode()
