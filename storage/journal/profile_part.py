"""A profile change in a flush: a compare-and-set on the user's own row."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET
from msgspec.json import Encoder

from actors.ports import ProfileUnit
from actors.rules.accounts import username_key
from storage.journal.part import Fragment

# `for update`, not `for no key update`: a name is a key, and its change waits for everybody who holds a key share.
# A name in use is seen here, so that it costs the other units of the flush nothing; the race that this look cannot see
# ends in the unique index, and the journal then finds the guilty unit alone.
_CTES: Final = """
p_want as materialized (
  select * from json_to_recordset({0}::text::json)
    as w(id uuid, old_rev bigint, new_rev bigint, at bigint, fields text[], username text, username_key text,
         display_name text, avatar_url text, bio text, interests text[])
),
p_locked as materialized (
  select w.* from p_want w join users u on u.id = w.id order by u.id for update of u skip locked
),
p_taken as materialized (
  select w.id from p_want w join users u on u.username_key = w.username_key and u.id <> w.id
),
p_won as (
  update users u
     set rev = w.new_rev, changed_xid = pg_current_xact_id(), updated_at = to_timestamp(w.at / 1000.0::float8),
         username = coalesce(w.username, u.username),
         username_key = coalesce(w.username_key, u.username_key),
         display_name = case when 'display_name' = any(w.fields) then w.display_name else u.display_name end,
         avatar_url = case when 'avatar_url' = any(w.fields) then w.avatar_url else u.avatar_url end,
         bio = case when 'bio' = any(w.fields) then w.bio else u.bio end,
         interests = coalesce(w.interests, u.interests)
    from p_locked w
   where u.id = w.id and u.rev = w.old_rev and not exists (select from p_taken where p_taken.id = w.id)
  returning u.id, w.old_rev, w.new_rev
)"""

_LOST: Final = """
select 'p', w.id::text,
       case when exists (select from p_taken where p_taken.id = w.id) then 'taken'
            when l.id is null and exists (select from users u where u.id = w.id) then 'contended'
            else 'fenced' end
  from p_want w left join p_locked l on l.id = w.id
 where not exists (select from p_won where p_won.id = w.id)"""

FIELDS: Final = ("username", "display_name", "avatar_url", "bio", "interests")


class ProfilePart:
    letter = "p"
    kind = "u"
    documents = 1
    fragment = Fragment(ctes=_CTES, heads="select 'u', id, old_rev, new_rev from p_won", lost=_LOST)

    def __init__(self) -> None:
        self._encode = Encoder().encode

    def values(self, units: Sequence[ProfileUnit]) -> tuple[str, ...]:
        return (self._encode([_row(unit) for unit in units]).decode(),)

    def weigh(self, unit: ProfileUnit) -> tuple[str, int, int]:
        return unit.id, 1, 10_000  # a bio of 1,000 characters and the rest


def _row(unit: ProfileUnit) -> dict[str, Any]:
    changed = {name: value for name in FIELDS if (value := getattr(unit.changes, name)) is not UNSET}
    row = {"id": unit.id, "old_rev": unit.old_rev, "new_rev": unit.new_rev, "at": unit.at, "fields": list(changed)}
    if "username" in changed:
        row["username_key"] = username_key(changed["username"])
    return row | changed
