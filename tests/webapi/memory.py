"""The rows of a database in memory, with the journal and the stores of conversations and users on top of them.

Small on purpose: enough for the web app to meet real actors; what the stores promise is tested in tests/storage.
"""
# ruff: noqa: ARG002 - the signatures are those of the ports

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from actors.ports import (
    BirthUnit,
    Clock,
    Committed,
    ConversationUnit,
    Fenced,
    ProfileUnit,
    Receipt,
    Taken,
    Unit,
    WriteToken,
)
from actors.rules.accounts import username_key
from actors.shapes.conversations import (
    Change,
    ChangeRange,
    ConversationRow,
    ConversationState,
    ConversationView,
    Member,
    MemberView,
    MyMembership,
)
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessagePage, MessageSent, MessageView, StoredMessage
from actors.shapes.times import WallTime, iso
from actors.shapes.users import Profile, UpdateProfile, UserState
from storage.memory.accounts import MemoryAccounts


class Rows:
    """The tables, and the only writer of them: a journal that commits each unit at once."""

    def __init__(self, clock: Clock, accounts: MemoryAccounts) -> None:
        self.clock = clock
        self.accounts = accounts
        self.users: dict[UserId, UserState] = {}
        self.profiles: dict[UserId, UpdateProfile] = {}
        self.births: dict[ConversationId, ConversationRow] = {}
        self.messages: dict[ConversationId, list[StoredMessage]] = {}
        self.blocks: set[tuple[UserId, UserId]] = set()
        self.failure: Exception | None = None  # what the next reads raise, to play a database that is away

    def user(self, id: UserId) -> UserState | None:
        """A registration shows up here at the first look."""
        registered = self.accounts.users.get(id)
        if registered is None:
            return None
        if id not in self.users:
            self.users[id] = UserState(id, 1, registered.account.username, None, "normal")
        return msgspec.structs.replace(self.users[id], status=registered.status)

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        assert token.valid
        match unit:
            case ConversationUnit():
                self.messages[unit.id] += unit.messages
                return Committed()
            case BirthUnit(row):
                for known in self.births.values():
                    if set(known.members) == set(row.members):
                        return Taken(known.id)
                self.births[row.id] = row
                self.messages[row.id] = []
                return Committed()
            case ProfileUnit():
                return self._change_profile(unit)

    def _change_profile(self, unit: ProfileUnit) -> Receipt:
        user, changes = self.user(unit.id), unit.changes
        if user is None or user.rev != unit.old_rev:
            return Fenced()
        if changes.username is not UNSET:
            wanted = username_key(changes.username)
            if any(id != user.id and username_key(other.username) == wanted for id, other in self.users.items()):
                return Taken(None)
            user = msgspec.structs.replace(user, username=changes.username)
        if changes.display_name is not UNSET:
            user = msgspec.structs.replace(user, display_name=changes.display_name)
        self.users[user.id] = msgspec.structs.replace(user, rev=unit.new_rev)
        before = self.profiles.get(user.id, UpdateProfile())
        self.profiles[user.id] = msgspec.structs.replace(
            before, **{f: v for f in changes.__struct_fields__ if (v := getattr(changes, f)) is not UNSET}
        )
        return Committed()


class MemoryUsers:
    """Implements the port `UserStore`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def load(self, ids: Sequence[UserId]) -> dict[UserId, UserState]:
        if self._rows.failure is not None:
            raise self._rows.failure
        return {id: user for id in ids if (user := self._rows.user(id)) is not None}

    async def heads(self, ids: Sequence[UserId]) -> dict[UserId, tuple[int, dict[ConversationId, int]]]:
        return {id: (0, {}) for id in ids}

    async def profile(self, id: UserId) -> Profile | None:
        if self._rows.failure is not None:
            raise self._rows.failure
        user = self._rows.user(id)
        if user is None or user.status == "deleted":
            return None
        changes = self._rows.profiles.get(id, UpdateProfile())
        return Profile(
            id=id,
            username=user.username,
            display_name=user.display_name,
            avatar_url=changes.avatar_url or None,
            bio=changes.bio or None,
            interests=changes.interests or (),
            follower_count=0,
            following_count=0,
            created_at=iso(self._rows.clock.now()),
            email=self._rows.accounts.users[id].account.email,
        )

    async def block_between(self, a: UserId, b: UserId) -> frozenset[tuple[UserId, UserId]]:
        return frozenset(self._rows.blocks & {(a, b), (b, a)})


class MemoryConversations:
    """Implements the port `ConversationStore`, for direct conversations."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def load(self, ids: Sequence[ConversationId]) -> dict[ConversationId, ConversationState]:
        return {id: self._state(id) for id in ids if id in self._rows.births}

    async def history(
        self, id: ConversationId, joined_rev: int, before_seq: int | None, after_seq: int | None, limit: int
    ) -> MessagePage:
        found = [
            self._message(message)
            for message in self._rows.messages[id]
            if (before_seq is None or message.seq < before_seq) and (after_seq is None or message.seq > after_seq)
        ]
        kept = found[:limit] if after_seq is not None else found[-limit:]
        return MessagePage(kept[::-1], len(found) > limit)

    async def changes(self, id: ConversationId, joined_rev: int, after_rev: int, limit: int) -> ChangeRange:
        found = [
            Change(message.rev, message=self._message(message))
            for message in self._rows.messages[id]
            if message.rev > after_rev
        ]
        more = len(found) > limit
        return ChangeRange(found[:limit], found[limit - 1].rev if more else self._state(id).rev, more)

    async def view(self, id: ConversationId, reader: UserId) -> tuple[ConversationView, MyMembership]:
        row, messages = self._rows.births[id], self._rows.messages[id]
        at = iso(row.created_at)
        last = self._message(messages[-1]) if messages else None
        rev = 1 + len(messages)
        view = ConversationView(id, "direct", None, None, "standard", 0, 2, last, rev, at, iso(self._active(id)))
        return view, MyMembership("member", joined_at=at)

    async def members(self, id: ConversationId, limit: int) -> list[MemberView]:
        row = self._rows.births[id]
        users = [user for member in row.members if (user := self._rows.user(member)) is not None]
        return [
            MemberView(user.id, user.username, user.display_name, None, "member", iso(row.created_at)) for user in users
        ]

    async def direct_between(self, a: UserId, b: UserId, privacy_mode: str) -> ConversationId | None:
        return next((row.id for row in self._rows.births.values() if set(row.members) == {a, b}), None)

    async def page_of(
        self, reader: UserId, before: tuple[WallTime, ConversationId] | None, limit: int
    ) -> tuple[list[ConversationView], tuple[WallTime, ConversationId] | None]:
        places = sorted(((self._active(id), id) for id in await self.conversations_of(reader)), reverse=True)
        rest = [place for place in places if before is None or place < before]
        views = [(await self.view(id, reader))[0] for _, id in rest[:limit]]
        return views, rest[limit - 1] if len(rest) > limit else None

    async def conversations_of(self, reader: UserId) -> list[ConversationId]:
        return [row.id for row in self._rows.births.values() if reader in row.members]

    async def sent_before(
        self, id: ConversationId, keys: Sequence[tuple[UserId, ClientId]]
    ) -> dict[tuple[UserId, ClientId], tuple[MessageSent, str]]:
        return {}

    async def where_is(self, message: MessageId) -> ConversationId | None:
        return None

    async def unread(self, reader: UserId, ids: Sequence[ConversationId]) -> dict[ConversationId, tuple[int, int]]:
        counts = {}
        for id in ids:
            messages = self._rows.messages[id]
            counts[id] = (sum(message.sender_id != reader for message in messages), len(messages))
        return counts

    def _state(self, id: ConversationId) -> ConversationState:
        row = self._rows.births[id]
        members = {}
        for member in row.members:
            user = self._rows.user(member)
            assert user is not None
            members[member] = Member(member, user.name, "member", 1)
        between = frozenset(block for block in self._rows.blocks if set(block) == set(row.members))
        seq = len(self._rows.messages[id])
        return ConversationState(id, "direct", row.privacy_mode, seq, 1 + seq, members, between)

    def _message(self, message: StoredMessage) -> MessageView:
        sender = self._rows.user(message.sender_id)
        assert sender is not None
        return MessageView(
            id=message.id,
            conversation_id=message.conversation_id,
            seq=message.seq,
            rev=message.rev,
            sender_id=message.sender_id,
            sender_name=sender.name,
            client_id=message.client_id,
            created_at=iso(message.created_at),
            text=message.text,
            reply_to=message.reply_to,
            mentions=message.mentions,
        )

    def _active(self, id: ConversationId) -> WallTime:
        messages = self._rows.messages[id]
        return messages[-1].created_at if messages else self._rows.births[id].created_at
