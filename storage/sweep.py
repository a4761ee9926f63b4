"""Reads what other nodes committed, from their flush rows and the rows behind them: it implements FlushLog."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
import trio
from msgspec import Struct

from actors.shapes.flushes import Changed, Head, Interval, Position, Swept, SweptMessage, Window
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime
from storage.conversation_rows import MEMBER_COLUMNS, OF_USERS, OWN_COLUMNS, ConversationFields, MemberRow
from storage.database_errors import DatabaseAwayError, StatementFailedError
from storage.message_rows import MESSAGE_COLUMNS, MessageRow
from storage.node import NodeIdentity
from storage.postgres import ANSWER_SECONDS, Dedicated, Postgres, Statements

T = TypeVar("T")


class SweepBounds(Struct, frozen=True):
    """What one look takes. More than this is not read row by row: the connections here are closed to reload instead.

    Flush rows are kept for an hour (storage/flush_retention.py): whoever looked longer ago may have lost some.
    """

    flushes: int = 2_000
    heads: int = 20_000
    remembered_ms: int = 50 * 60 * 1_000


BOUNDS: Final = SweepBounds()
# A node that has not said for so long that it lives is no reason to ring for it.
LIVES: Final = "6 seconds"

# One statement, so one snapshot: what it shows is what pg_current_snapshot() says. A row is new when its transaction is
# not below the position or was open in it; both are looked up in the index of xid, so a transaction that stays open for
# long costs nothing, where a range from the snapshot's xmin would be read again and again. Two selects, because one
# with an `or` walked the index from its beginning: 46 ms with an hour's rows on a busy machine.
_SINCE: Final = """
select pg_current_snapshot()::text,
       coalesce((select f.xid::text from flushes f order by f.xid desc limit 1), '0'),
       (extract(epoch from clock_timestamp()) * 1000)::bigint::text,
       coalesce((
         select json_agg(json_build_array(f.age, case when f.upto <= $6::text::bigint then f.heads end) order by f.xid)
           from (select xid, heads, (extract(epoch from clock_timestamp() - at) * 1000)::bigint as age,
                        sum(jsonb_array_length(heads)) over (order by xid, n) as upto
                   from (select * from (select * from flushes
                                         where xid >= $1::text::xid8
                                           and (node, incarnation) <> ($3::text, $4::text::bigint)
                                         order by xid limit $5::text::bigint) later
                         union all
                         select * from flushes
                          where xid = any($2::text::xid8[])
                            and (node, incarnation) <> ($3::text, $4::text::bigint)) new) f), '[]')::text
"""

# It enters itself anew if it was forgotten: the database may have been away from it, and only from it, for a day.
_RENEW: Final = """
with renewed as (insert into nodes (node, incarnation) values ($1::text, $2::text::bigint)
                 on conflict (node) do update set seen = now() where nodes.incarnation = excluded.incarnation
                 returning 1)
select (select count(*) from nodes where node <> $1::text and seen > now() - $3::text::interval)::text,
       (select count(*) from renewed)::text
"""

_AUDIENCE: Final = """
select m.conversation_id::text, m.user_id::text, m.joined_rev, m.left_rev
  from unnest($1::uuid[], $2::bigint[], $3::bigint[]) w(id, after_rev, upto_rev)
  join conversation_members m on m.conversation_id = w.id
       and m.joined_rev <= w.upto_rev and (m.left_rev is null or m.left_rev > w.after_rev)
"""

# `rev` of a message that was created in the window and changed since lies above it, so only the lower bound is an
# index's; what lies above is what was committed since the window was, a few rows.
_MESSAGES: Final = f"""
select m.created_rev, {MESSAGE_COLUMNS}
  from unnest($1::uuid[], $2::bigint[], $3::bigint[]) w(id, after_rev, upto_rev)
  join messages m on m.conversation_id = w.id and m.rev > w.after_rev
       and (m.rev <= w.upto_rev or m.created_rev > w.after_rev and m.created_rev <= w.upto_rev)
  join users s on s.id = m.sender_id
 order by m.rev
"""

_MEMBERS: Final = f"""
select m.conversation_id::text, {MEMBER_COLUMNS}
  from unnest($1::uuid[], $2::bigint[], $3::bigint[]) w(id, after_rev, upto_rev)
  join conversation_members m on m.conversation_id = w.id and m.rev > w.after_rev and m.rev <= w.upto_rev
  join users u on u.id = m.user_id
"""

_OWN: Final = f"""
select {OWN_COLUMNS}
  from unnest($1::uuid[], $2::bigint[], $3::bigint[]) w(id, after_rev, upto_rev)
  join conversations c on c.id = w.id and (w.after_rev = 0 or c.own_rev > w.after_rev and c.own_rev <= w.upto_rev)
"""

# Two databases of one server are two deployments.
_DEPLOYMENT: Final = """
select (select system_identifier from pg_control_system())::text || '.' || oid::text
  from pg_database where datname = current_database()
"""

_rows: Final = msgspec.json.Decoder(list[tuple[int, list[Head] | None]])


class _Look(Struct, frozen=True):
    """The columns of _SINCE: text, whichever way they came."""

    snapshot: str
    highest: str
    now: str
    rows: str


class _Alive(Struct, frozen=True):
    others: str
    renewed: str


def position_of(snapshot: str, highest: int, at: WallTime) -> Position:
    """A snapshot as PostgreSQL writes it (`xmin:xmax:xip,…`), cut behind the highest flush that is visible in it."""
    _, xmax, xip = snapshot.split(":")
    upto = min(int(xmax), highest + 1)
    return Position(upto, tuple(xid for xid in map(int, xip.split(",") if xip else ()) if xid < upto), at)


async def deployment_of(postgres: Postgres) -> str:
    """The same for all nodes that share these flush rows, and for nobody else."""
    told = await postgres.fetchval(str, _DEPLOYMENT)
    if told is None:
        raise AssertionError("whoever is connected is connected to a database")
    return told


class PostgresFlushLog:
    """The look itself goes over a connection of its own, past the driver, because it is taken a hundred times a second
    when others write; what it finds is read through the pool."""

    def __init__(
        self, line: Dedicated, postgres: Postgres, identity: NodeIdentity, bounds: SweepBounds = BOUNDS
    ) -> None:
        self._bounds = bounds
        self._line = line
        self._postgres = postgres
        self._node = (identity.node, str(identity.incarnation))

    async def position(self) -> Position:
        look = await self._look(Position(1 << 62, (), WallTime(0)))
        return position_of(look.snapshot, int(look.highest), WallTime(int(look.now)))

    async def since(self, position: Position) -> Swept:
        look = await self._look(position)
        reached = position_of(look.snapshot, int(look.highest), WallTime(int(look.now)))
        found = _rows.decode(look.rows)
        went_back = int(look.snapshot.split(":")[1]) < position.upto  # a copy of an earlier day was put in its place
        if went_back or len(found) > self._bounds.flushes or reached.at - position.at > self._bounds.remembered_ms:
            return Swept(reached, [], whole=False)
        heads: list[Head] = []
        for _, some in found:
            if some is None:
                return Swept(reached, [], whole=False)
            heads += some
        return Swept(reached, heads, max((age for age, _ in found), default=0))

    async def _look(self, position: Position) -> _Look:
        open_then = "{" + ",".join(map(str, position.open)) + "}"
        bounds = str(self._bounds.flushes + 1), str(self._bounds.heads)
        values = (str(position.upto), open_then, *self._node, *bounds)
        (look,) = await self._ask(_Look, _SINCE, values)
        return look

    async def renew(self) -> int:
        """A node that took this one's name is another one, too."""
        (alive,) = await self._ask(_Alive, _RENEW, (*self._node, LIVES))
        return int(alive.others) + (alive.renewed == "0")

    async def _ask(self, make: Callable[..., T], sql: str, values: Sequence[object]) -> list[T]:
        line = self._line
        with trio.move_on_after(ANSWER_SECONDS):
            try:
                if not line.connected:
                    await line.connect()
                return await line.flush(make, sql, values)
            except StatementFailedError:
                line.terminate()  # a plan that a change of the schema made void is prepared anew
                raise
        line.terminate()
        raise DatabaseAwayError(f"PostgreSQL did not answer the sweep within {ANSWER_SECONDS:g} s")

    # -- what the heads are about -------------------------------------------------------------------------------------

    async def changed(self, windows: Sequence[Window], is_here: Callable[[UserId], bool]) -> list[Changed]:
        return await self._postgres.run(lambda asked: _read_changed(asked, windows, is_here))

    async def conversations_of(self, users: Sequence[UserId]) -> list[ConversationId]:
        return await self._postgres.fetch(ConversationId, OF_USERS, users)


def _columns(windows: Sequence[Window]) -> tuple[list[ConversationId], list[int], list[int]]:
    return [w.id for w in windows], [w.after_rev for w in windows], [w.upto_rev for w in windows]


async def _read_changed(
    asked: Statements, windows: Sequence[Window], is_here: Callable[[UserId], bool]
) -> list[Changed]:
    audience: dict[ConversationId, list[Interval]] = {}
    for id, member in await asked.fetch(_interval, _AUDIENCE, *_columns(windows)):
        if is_here(member.user_id):
            audience.setdefault(id, []).append(member)
    heard = [window for window in windows if window.id in audience]
    if not heard:
        return []
    messages: dict[ConversationId, list[SweptMessage]] = {}
    for message in await asked.fetch(_message, _MESSAGES, *_columns(heard)):
        messages.setdefault(message.view.conversation_id, []).append(message)
    rest = [window for window in heard if not _explained(window, messages.get(window.id, ()))]
    members: dict[ConversationId, list[MemberRow]] = {}
    own: dict[ConversationId, ConversationFields] = {}
    if rest:
        for id, row in await asked.fetch(_member, _MEMBERS, *_columns(rest)):
            members.setdefault(id, []).append(row)
        own = {fields.id: fields for fields in await asked.fetch(ConversationFields, _OWN, *_columns(rest))}
    return [
        Changed(
            window.id,
            audience[window.id],
            messages.get(window.id, []),
            [row.shown for row in members.get(window.id, ())],
            own[window.id].shown(None) if window.id in own else None,
            own[window.id].own_rev if window.id in own else 0,
        )
        for window in heard
    ]


def _explained(window: Window, messages: Sequence[SweptMessage]) -> bool:
    """Whether every revision of the window is a message's; nearly always, and then two statements are saved."""
    revs = {message.created_rev for message in messages} | {message.view.rev for message in messages}
    return sum(window.after_rev < rev <= window.upto_rev for rev in revs) == window.upto_rev - window.after_rev


def _interval(id: str, user: str, joined_rev: int, left_rev: int | None) -> tuple[ConversationId, Interval]:
    return ConversationId(id), Interval(UserId(user), joined_rev, left_rev)


def _message(created_rev: int, *columns: object) -> SweptMessage:
    return SweptMessage(created_rev, MessageRow(*columns).shown)  # type: ignore[arg-type] # in the columns' order


def _member(id: str, *columns: object) -> tuple[ConversationId, MemberRow]:
    return ConversationId(id), MemberRow(*columns)  # type: ignore[arg-type] # in the columns' order
