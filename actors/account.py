"""What a user's actor does with the commands of accounts: it is the only writer of his account, logins and profile."""

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import UNSET

from actors.ports import AccountStore, Clock, Committed, Fenced, Journal, Poisoned, ProfileUnit, Taken, WriteToken
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.users import (
    Account,
    ChangePassword,
    CloseLogins,
    DeskCommand,
    OpenLogin,
    Register,
    RotateLogin,
    UpdateProfile,
    UserState,
)
from actors.user import AccountAnswer

# A user's row changes rarely: who is fenced five times in a row meets somebody who writes it in a loop.
_ATTEMPTS: Final = 5


class Writer(WriteToken, Protocol):
    """One activation of a user's actor: it may write, and it can read its row anew."""

    async def reload(self) -> UserState | None: ...


class AccountDesk:
    """Serves the account commands of one user on behalf of one activation of his actor."""

    __slots__ = ("_clock", "_id", "_journal", "_store", "_writer")

    def __init__(self, id: UserId, writer: Writer, store: AccountStore, journal: Journal, clock: Clock) -> None:
        self._id = id
        self._writer = writer
        self._store = store
        self._journal = journal
        self._clock = clock

    async def handle(self, state: UserState | None, command: DeskCommand) -> AccountAnswer:
        """Durable when it returns. Raises KithError when nothing happened (or, outcome unknown, when nobody knows).

        Register, OpenLogin and RotateLogin are answered with the Account, a spent refresh token with None,
        CloseLogins and ChangePassword with the logins that ended, UpdateProfile with the new state.
        """
        if isinstance(command, Register):
            return await self._register(state, command)
        if state is None or state.status == "deleted":
            raise KithError(ErrorCode.USER_NOT_FOUND)
        match command:
            case OpenLogin():
                account = await self._store.open_login(self._writer, self._id, command.login, command.checked)
                return AccountAnswer(state, account)
            case RotateLogin():
                return await self._rotate(state, command)
            case CloseLogins():
                return _ended(
                    state, await self._store.close_logins(self._writer, self._id, command.logins, command.keep)
                )
            case ChangePassword():
                return _ended(state, await self._store.change_password(self._writer, self._id, command))
            case UpdateProfile():
                return await self._update(state, command)
            case other:  # the desks before this one should have taken it
                raise AssertionError(f"{type(other).__name__} is no command of an account")

    async def _register(self, state: UserState | None, command: Register) -> AccountAnswer:
        if state is not None:  # ids are random: only a repeat of the same command can come here
            raise KithError(ErrorCode.EMAIL_TAKEN, details={"field": "email"})
        return await newborn(self._writer, await self._store.register(self._writer, self._id, command))

    async def _rotate(self, state: UserState, command: RotateLogin) -> AccountAnswer:
        account = await self._store.rotate_login(self._writer, self._id, command)
        if account is not None:
            return AccountAnswer(state, account)
        # Two hold what was one token. Nobody can tell the thief from the owner, so both must sign in again.
        ended = await self._store.close_logins(self._writer, self._id, [command.login_id], None)
        return AccountAnswer(state, None, tuple(ended))

    async def _update(self, state: UserState, changes: UpdateProfile) -> AccountAnswer:
        for _ in range(_ATTEMPTS):
            unit = ProfileUnit(self._id, state.rev, state.rev + 1, changes, self._clock.now())
            match await self._journal.append(self._writer, unit):
                case Committed():
                    changed = _changed(state, changes)
                    return AccountAnswer(changed, changed, renamed=changed.name != state.name)
                case Taken():
                    raise KithError(ErrorCode.USERNAME_TAKEN, details={"field": "username"})
                case Poisoned():
                    raise KithError(ErrorCode.INVALID_PAYLOAD, "The database cannot store this")
                case Fenced():
                    fresh = await self._writer.reload()
                    if fresh is None:
                        raise KithError(ErrorCode.USER_NOT_FOUND)
                    state = fresh
                case other:
                    raise AssertionError(f"a profile cannot be answered with {other}")
        raise KithError(ErrorCode.TRY_AGAIN, outcome="none")


async def newborn(writer: Writer, account: Account) -> AccountAnswer:
    """He is on disk. That his row cannot be read at this moment is no reason to tell him that nothing happened, nor may
    his actor deny him afterwards."""
    try:
        return AccountAnswer(await writer.reload(), account)
    except KithError:
        return AccountAnswer(None, account, stale=True)


def _ended(state: UserState, ended: Sequence[LoginId]) -> AccountAnswer:
    return AccountAnswer(state, ended, tuple(ended))


def _changed(state: UserState, changes: UpdateProfile) -> UserState:
    return UserState(
        id=state.id,
        rev=state.rev + 1,
        username=state.username if changes.username is UNSET else changes.username,
        display_name=state.display_name if changes.display_name is UNSET else changes.display_name,
        limits=state.limits,
        status=state.status,
    )
