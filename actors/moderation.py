"""What a user's actor does with reports, appeals and the measures of admins: it is the only writer of his standing."""

from typing import Final

from msgspec.structs import replace

from actors.moderation_ports import Moderation
from actors.ports import WriteToken
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.moderation import (
    DecideAppeal,
    DecideReport,
    FileAppeal,
    FileReport,
    ModerationCommand,
    NoteAction,
    Restore,
    SignOut,
    StandingChanged,
    Suspend,
)
from actors.shapes.users import ChangePassword, DeskCommand, UpdateProfile, UserState
from actors.user import AccountAnswer, Desk

_NOT_FOR_THE_SUSPENDED: Final = (UpdateProfile, ChangePassword)


class ModerationDesk:
    """Serves these commands of one user on behalf of one activation of his actor, and passes on everything else."""

    __slots__ = ("_id", "_others", "_stores", "_token")

    def __init__(self, id: UserId, token: WriteToken, stores: Moderation, others: Desk) -> None:
        self._id = id
        self._token = token
        self._stores = stores
        self._others = others

    async def handle(self, state: UserState | None, command: DeskCommand) -> AccountAnswer:
        """Durable when it returns. Reports and appeals are answered with FiledReport and FiledAppeal, everything else
        of these but NoteAction with StandingChanged."""
        if not isinstance(command, ModerationCommand):
            # His request may have been let in before he was suspended, and have waited behind that in the mailbox.
            if state is not None and state.status == "suspended" and isinstance(command, _NOT_FOR_THE_SUSPENDED):
                raise KithError(ErrorCode.FORBIDDEN, "This account is suspended")
            return await self._others.handle(state, command)
        if state is None or state.status == "deleted":
            raise KithError(ErrorCode.USER_NOT_FOUND)
        stores, token = self._stores, self._token
        match command:
            case NoteAction():
                await stores.audit.note(token, command)
                return AccountAnswer(state, None)
            case FileReport():
                return AccountAnswer(state, await stores.reports.file(token, self._id, command))
            case FileAppeal():
                return AccountAnswer(state, await stores.appeals.file(token, self._id, command))
            case Suspend():
                changed = await stores.standing.suspend(token, self._id, command)
            case Restore():
                changed = await stores.standing.restore(token, self._id, command)
            case SignOut():
                changed = await stores.standing.sign_out(token, self._id, command)
            case DecideReport():
                changed = await stores.reports.decide(token, command)
            case DecideAppeal():
                changed = await stores.appeals.decide(token, command)
        return AccountAnswer(_after(state, changed), changed, changed.ended)


def _after(state: UserState, changed: StandingChanged) -> UserState:
    if changed.status is None:
        return state
    # If it is not the next revision somebody else wrote in between: whoever asks by the old one reads the row anew.
    rev = changed.rev if changed.rev == state.rev + 1 else state.rev
    return replace(state, status=changed.status, rev=rev)
