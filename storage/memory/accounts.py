"""Accounts and logins in memory: the twin of storage/accounts.py for tests; passes the same contract."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from msgspec.json import encode

from actors.ports import Clock, WriteToken
from actors.rules.accounts import LOGINS_MOST, email_key, username_key, username_variants
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime, iso
from actors.shapes.users import (
    Account,
    ChangePassword,
    Credentials,
    LoginView,
    NewLogin,
    Register,
    Registered,
    RotateLogin,
)
from storage.memory.idempotency_keys import check_key, keep_key
from storage.memory.tables import MemoryTables, UserRow


class LoginRow(Struct):
    user_id: UserId
    login: NewLogin
    last_used_at: WallTime
    revoked_at: WallTime | None = None


class MemoryAccounts:
    def __init__(self, tables: MemoryTables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._hashes: dict[UserId, str] = {}
        self._logins: dict[LoginId, LoginRow] = {}
        self._spent: dict[bytes, LoginId] = {}

    async def credentials(self, email: str) -> Credentials | None:
        key = email_key(email)
        found = next((row.id for row in self._tables.users.values() if email_key(row.email) == key), None)
        return None if found is None else await self.credentials_of(found)

    async def credentials_of(self, id: UserId) -> Credentials | None:
        row = self._tables.users.get(id)
        if row is None:
            return None
        return Credentials(Account(id, row.username, row.email), self._hashes.get(id, ""), row.status)

    async def login_of_token(self, token_hash: bytes) -> tuple[UserId, LoginId] | None:
        for id, row in self._logins.items():
            if row.login.token_hash == token_hash or self._spent.get(token_hash) == id:
                return row.user_id, id
        return None

    async def logins(self, id: UserId) -> list[LoginView]:
        rows = sorted(self._live(id), key=lambda row: (-row.last_used_at, row.login.id))
        return [_view(row) for row in rows]

    async def revoked_since(self, moment: WallTime) -> list[tuple[UserId, LoginId]]:
        return [
            (row.user_id, id)
            for id, row in self._logins.items()
            if row.revoked_at is not None and row.revoked_at >= moment
        ]

    async def register(self, token: WriteToken, id: UserId, command: Register) -> Account:
        _check(token)
        check_key(self._tables, command.keyed)
        if await self.credentials(command.email) is not None:
            raise KithError(ErrorCode.EMAIL_TAKEN, details={"field": "email"})
        variants = () if command.username_chosen else username_variants(command.username, id)
        taken = {username_key(row.username) for row in self._tables.users.values()}
        for name in (command.username, *variants):
            if username_key(name) not in taken:
                at = command.login.created_at
                self._tables.users[id] = UserRow(id, name, 1, email=command.email, created_at=at)
                self._tables.heads.append(("u", id, 0, 1))
                self._hashes[id] = command.password_hash
                keep_key(self._tables, command.keyed, encode(Registered(id)).decode())
                return await self.open_login(token, id, command.login)
        raise KithError(ErrorCode.USERNAME_TAKEN, details={"field": "username"})

    async def open_login(self, token: WriteToken, id: UserId, login: NewLogin, checked: str | None = None) -> Account:
        _check(token)
        self._check_still(id, checked)
        account = await self._account(id)
        if self._tables.users[id].status == "suspended":
            raise KithError(ErrorCode.FORBIDDEN, "This account is suspended", details={"status": "suspended"})
        if login.id not in self._logins:
            lately = sorted(self._live(id), key=lambda row: (row.last_used_at, row.login.id), reverse=True)
            for row in lately[LOGINS_MOST - 1 :]:
                row.revoked_at = login.created_at
        self._logins.setdefault(login.id, LoginRow(id, login, login.created_at))
        return account

    async def rotate_login(self, token: WriteToken, id: UserId, command: RotateLogin) -> Account | None:
        _check(token)
        row = self._logins.get(command.login_id)
        if row is None or row not in self._live(id) or self._tables.users[id].status != "active":
            return None
        if row.login.token_hash not in (command.spent_hash, command.next_hash):
            return None
        row.login = msgspec.structs.replace(row.login, token_hash=command.next_hash, expires_at=command.expires_at)
        row.last_used_at = self._clock.now()
        self._spent[command.spent_hash] = command.login_id
        return await self._account(id)

    async def close_logins(
        self, token: WriteToken, id: UserId, logins: Sequence[LoginId] | None, keep: LoginId | None
    ) -> list[LoginId]:
        _check(token)
        ended = []
        for row in list(self._live(id)):
            if row.login.id != keep and (logins is None or row.login.id in logins):
                row.revoked_at = self._clock.now()
                ended.append(row.login.id)
        return ended

    async def change_password(self, token: WriteToken, id: UserId, command: ChangePassword) -> list[LoginId]:
        _check(token)
        self._check_still(id, command.checked)
        self._hashes[id] = command.password_hash
        return await self.close_logins(token, id, None, command.keep)

    def _check_still(self, id: UserId, checked: str | None) -> None:
        if checked is not None and self._hashes.get(id) != checked:
            raise KithError(ErrorCode.INVALID_CREDENTIALS)

    async def _account(self, id: UserId) -> Account:
        found = await self.credentials_of(id)
        if found is None:
            raise KithError(ErrorCode.USER_NOT_FOUND)
        return found.account

    def _live(self, id: UserId) -> Iterator[LoginRow]:
        now = self._clock.now()
        for row in self._logins.values():
            if row.user_id == id and row.revoked_at is None and row.login.expires_at > now:
                yield row


def _check(token: WriteToken) -> None:
    if not token.valid:
        raise KithError(ErrorCode.UNAVAILABLE, "This actor has ended", outcome="none")


def _view(row: LoginRow) -> LoginView:
    login = row.login
    times = [iso(moment) for moment in (login.created_at, row.last_used_at, login.expires_at)]
    return LoginView(login.id, login.user_agent, login.address, times[0], times[1], times[2])
