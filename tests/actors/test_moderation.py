"""The desk of moderation on a user's actor: what it tells him of himself, and what it passes on."""

import uuid

import pytest

from actors.account import AccountDesk
from actors.moderation import ModerationDesk
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.moderation import (
    Act,
    ActionFilter,
    ActionId,
    NoteAction,
    Restore,
    SignOut,
    StandingChanged,
    Suspend,
)
from actors.shapes.times import WallTime
from actors.shapes.users import ChangePassword, NewLogin, OpenLogin, UpdateProfile, UserState
from actors.user import AccountAnswer
from storage.memory.accounts import MemoryAccounts
from storage.memory.journal import MemoryJournal
from storage.memory.moderation import memory_moderation
from storage.memory.tables import MemoryTables
from storage.memory.users import MemoryUsers
from tests.clocks import ActorToken, HandClock

ANNA = UserId("0190aaaa-0000-7000-8000-00000000000a")
ADMIN = UserId("0190aaaa-0000-7000-8000-00000000000b")


class Writer(ActorToken):
    """An activation of her actor."""

    def __init__(self, users: MemoryUsers) -> None:
        super().__init__(f"user/{ANNA}")
        self._users = users

    async def reload(self) -> UserState | None:
        return (await self._users.load([ANNA])).get(ANNA)


class Desks:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.tables = MemoryTables()
        self.tables.add_user(ANNA, "anna")
        self.accounts = MemoryAccounts(self.tables, self.clock)
        self.stores = memory_moderation(self.tables, self.accounts).stores
        self.writer = Writer(MemoryUsers(self.tables))
        journal = MemoryJournal(self.tables)
        account = AccountDesk(ANNA, self.writer, self.accounts, journal, self.clock)
        self.desk = ModerationDesk(ANNA, self.writer, self.stores, account)

    async def state(self) -> UserState:
        state = await self.writer.reload()
        assert state is not None
        return state

    def act(self) -> Act:
        return Act(ActionId(str(uuid.uuid4())), self.clock.now(), admin_id=ADMIN)

    def login(self) -> NewLogin:
        id = LoginId(str(uuid.uuid4()))
        return NewLogin(id, id.encode(), None, None, self.clock.now(), WallTime(self.clock.now() + 86_400_000))

    async def suspend(self, state: UserState) -> AccountAnswer:
        return await self.desk.handle(state, Suspend(self.act(), "threats"))


@pytest.fixture
def desks() -> Desks:
    return Desks()


async def code_of(work: object) -> ErrorCode:
    with pytest.raises(KithError) as refused:
        await work  # type: ignore[misc]
    return refused.value.code


async def test_a_suspension_is_in_the_state_without_another_read(desks: Desks) -> None:
    login = desks.login()
    await desks.accounts.open_login(desks.writer, ANNA, login)
    before = await desks.state()
    answer = await desks.suspend(before)
    assert answer.state == await desks.state()
    assert answer.state is not None
    assert (answer.state.status, answer.state.rev, answer.ended) == ("suspended", before.rev + 1, (login.id,))
    restored = await desks.desk.handle(answer.state, Restore(desks.act()))
    assert restored.state == await desks.state()
    assert isinstance(restored.answer, StandingChanged)
    assert restored.answer.status == "active"


async def test_what_happened_in_between_is_not_taken_for_known(desks: Desks) -> None:
    """Another node renamed her: with the new revision in memory the old name would stay there for ever."""
    before = await desks.state()
    desks.tables.users[ANNA].username = "bella"
    desks.tables.users[ANNA].rev += 1
    answer = await desks.suspend(before)
    assert answer.state is not None
    assert (answer.state.status, answer.state.rev, answer.state.username) == ("suspended", before.rev, "anna")


async def test_the_suspended_change_nothing_any_more(desks: Desks) -> None:
    """A request that was let in before, and waited in the mailbox behind the suspension."""
    state = (await desks.suspend(await desks.state())).state
    for command in (
        UpdateProfile(display_name="Innocent"),
        ChangePassword("$hash", LoginId("l")),
        OpenLogin(desks.login()),
    ):
        assert await code_of(desks.desk.handle(state, command)) is ErrorCode.FORBIDDEN
    assert desks.tables.users[ANNA].display_name is None


async def test_signing_out_and_noting_leave_the_standing_alone(desks: Desks) -> None:
    before = await desks.state()
    signed_out = await desks.desk.handle(before, SignOut(desks.act()))
    noted = await desks.desk.handle(before, NoteAction(desks.act(), "view_user", "user", ANNA, ANNA))
    assert signed_out.state == noted.state == before
    log, _ = await desks.stores.audit.actions(ActionFilter(), None, 10)
    assert {action.action for action in log} == {"sign_out_user", "view_user"}


async def test_nobody_is_nobody(desks: Desks) -> None:
    assert await code_of(desks.desk.handle(None, Suspend(desks.act(), "x"))) is ErrorCode.USER_NOT_FOUND
    desks.tables.users[ANNA].status = "deleted"
    assert await code_of(desks.suspend(await desks.state())) is ErrorCode.USER_NOT_FOUND


async def test_everything_else_is_passed_on(desks: Desks) -> None:
    answer = await desks.desk.handle(await desks.state(), UpdateProfile(display_name="Anna"))
    assert answer.state is not None
    assert answer.state.display_name == "Anna"
