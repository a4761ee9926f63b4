"""What a user's actor does with the commands of accounts: it is the only writer of his account, logins and profile."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import UNSET, Struct

from actors.ports import (
    AccountStore,
    Clock,
    Committed,
    Fenced,
    Journal,
    Poisoned,
    ProfileUnit,
    Revocations,
    Taken,
    WriteToken,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.users import (
    AccountCommand,
    ChangePassword,
    CloseLogins,
    OpenLogin,
    Register,
    RotateLogin,
    UpdateProfile,
    UserState,
)

# A user's row changes rarely: who is fenced five times in a row meets somebody who writes it in a loop.
_ATTEMPTS: Final = 5


class Handled(NamedTuple):
    """`state` is the user's from now on; `answer` goes to the asker, refused when it is a KithError; the sockets of
    `ended` close with 4503."""

    state: UserState | None
    answer: object
    ended: Sequence[LoginId] = ()


class AccountParts(Struct, frozen=True):
    """What the desks of a node share."""

    store: AccountStore
    journal: Journal
    revocations: Revocations
    clock: Clock


class Writer(WriteToken, Protocol):
    """One activation of a user's actor: it may write, and it can read its row anew."""

    async def reload(self) -> UserState | None: ...


class AccountDesk:
    """Serves the account commands of one user, one after the other, on behalf of one activation of his actor."""

    __slots__ = ("_id", "_parts", "_writer")

    def __init__(self, id: UserId, writer: Writer, parts: AccountParts) -> None:
        self._id = id
        self._writer = writer
        self._parts = parts

    async def handle(self, state: UserState | None, command: AccountCommand) -> Handled:
        """Durable when it returns. Raises KithError when nothing happened (or, outcome unknown, when nobody knows)."""
        match command:
            case Register():
                return await self._register(state, command)
            case _ if state is None:
                raise KithError(ErrorCode.USER_NOT_FOUND)
            case OpenLogin():
                account = await self._parts.store.open_login(self._writer, self._id, command.login)
                return Handled(state, account)
            case RotateLogin():
                return await self._rotate(state, command)
            case CloseLogins():
                ended = await self._parts.store.close_logins(self._writer, self._id, command.logins, command.keep)
                return self._ended(state, ended, ended)
            case ChangePassword():
                ended = await self._parts.store.change_password(self._writer, self._id, command)
                return self._ended(state, ended, ended)
            case UpdateProfile():
                return await self._update(state, command)

    async def _register(self, state: UserState | None, command: Register) -> Handled:
        if state is not None:  # ids are random: only a repeat of the same command can come here
            raise KithError(ErrorCode.EMAIL_TAKEN)
        account = await self._parts.store.register(self._writer, self._id, command)
        return Handled(await self._writer.reload(), account)

    async def _rotate(self, state: UserState, command: RotateLogin) -> Handled:
        account = await self._parts.store.rotate_login(self._writer, self._id, command)
        if account is not None:
            return Handled(state, account)
        # Two hold what was one token. Nobody can tell the thief from the owner, so both must sign in again.
        ended = await self._parts.store.close_logins(self._writer, self._id, [command.login_id], None)
        return self._ended(state, KithError(ErrorCode.INVALID_TOKEN), ended)

    async def _update(self, state: UserState, changes: UpdateProfile) -> Handled:
        for _ in range(_ATTEMPTS):
            unit = ProfileUnit(self._id, state.rev, state.rev + 1, changes, self._parts.clock.now())
            match await self._parts.journal.append(self._writer, unit):
                case Committed():
                    changed = _changed(state, changes)
                    return Handled(changed, changed)
                case Taken():
                    raise KithError(ErrorCode.USERNAME_TAKEN, details={"field": "username"})
                case Poisoned():
                    raise KithError(ErrorCode.INVALID_PAYLOAD)
                case Fenced():
                    fresh = await self._writer.reload()
                    if fresh is None:
                        raise KithError(ErrorCode.USER_NOT_FOUND)
                    state = fresh
        raise KithError(ErrorCode.TRY_AGAIN, outcome="none")

    def _ended(self, state: UserState, answer: object, ended: Sequence[LoginId]) -> Handled:
        """From here on the access tokens of these logins are refused too."""
        self._parts.revocations.add(ended)
        return Handled(state, answer, ended)


def _changed(state: UserState, changes: UpdateProfile) -> UserState:
    return UserState(
        id=state.id,
        rev=state.rev + 1,
        username=state.username if changes.username is UNSET else changes.username,
        display_name=state.display_name if changes.display_name is UNSET else changes.display_name,
        limits=state.limits,
        status=state.status,
    )
