"""The desk of a user's actor: what it writes where, what it answers, and what it does when it is fenced."""

import pytest

from actors.account import AccountDesk
from actors.ports import Committed, Fenced, Poisoned, ProfileUnit, Receipt, Taken, Unit, WriteToken
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime
from actors.shapes.users import (
    Account,
    AccountCommand,
    ChangePassword,
    CloseLogins,
    NewLogin,
    OpenLogin,
    Register,
    RotateLogin,
    UpdateProfile,
    UserState,
)
from storage.memory.accounts import MemoryAccounts
from storage.memory.tables import MemoryTables
from tests.clocks import ActorToken, HandClock

ANNA = UserId("0190aaaa-0000-7000-8000-000000000001")
STATE = UserState(ANNA, 4, "anna", None, "normal")


class Activation(ActorToken):
    """An awake actor whose row can be read anew."""

    def __init__(self) -> None:
        super().__init__(f"user/{ANNA}")
        self.row: UserState | None = STATE
        self.reloads = 0

    async def reload(self) -> UserState | None:
        self.reloads += 1
        return self.row


class ScriptedJournal:
    """Gives the receipts it was told to, in their order."""

    def __init__(self, *receipts: Receipt) -> None:
        self.receipts = list(receipts)
        self.units: list[Unit] = []

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        assert token.valid
        self.units.append(unit)
        return self.receipts.pop(0)


class Desk:
    def __init__(self, *receipts: Receipt) -> None:
        self.clock = HandClock()
        self.store = MemoryAccounts(MemoryTables(), self.clock)
        self.journal = ScriptedJournal(*receipts)
        self.activation = Activation()
        self.desk = AccountDesk(ANNA, self.activation, self.store, self.journal, self.clock)

    def login(self, number: int) -> NewLogin:
        id = LoginId(f"0190bbbb-0000-7000-8000-00000000000{number}")
        now = self.clock.now()
        return NewLogin(id, b"token %d" % number, None, None, now, WallTime(now + 1_000_000))

    async def registered(self) -> "Desk":
        await self.desk.handle(None, Register("anna@example.org", "anna", True, "hash", self.login(1)))
        return self


async def test_a_registration_takes_over_the_row_it_wrote() -> None:
    desk = Desk()
    login = desk.login(1)
    result = await desk.desk.handle(None, Register("anna@example.org", "anna", True, "hash", login))
    assert result.state == STATE
    assert result.answer == Account(ANNA, "anna", "anna@example.org")
    assert desk.activation.reloads == 1
    with pytest.raises(KithError) as refused:
        await desk.desk.handle(STATE, Register("anna@example.org", "anna", True, "hash", login))
    assert refused.value.code is ErrorCode.EMAIL_TAKEN


@pytest.mark.parametrize(
    "command", [CloseLogins(), ChangePassword("hash", LoginId("x")), UpdateProfile(bio="x"), OpenLogin(Desk().login(1))]
)
async def test_nobody_and_deleted_users_are_served_nothing(command: AccountCommand) -> None:
    for state in (None, UserState(ANNA, 4, "anna", None, "normal", "deleted")):
        with pytest.raises(KithError) as refused:
            await Desk().desk.handle(state, command)
        assert refused.value.code is ErrorCode.USER_NOT_FOUND


async def test_logins_that_ended_are_named_for_their_sockets() -> None:
    desk = await Desk().registered()
    for number in (2, 3):
        opened = await desk.desk.handle(STATE, OpenLogin(desk.login(number)))
        assert isinstance(opened.answer, Account)
        assert opened.ended == ()
    closed = await desk.desk.handle(STATE, CloseLogins([desk.login(2).id]))
    assert (closed.answer, closed.ended) == ([desk.login(2).id], (desk.login(2).id,))
    changed = await desk.desk.handle(STATE, ChangePassword("new", keep=desk.login(3).id))
    assert (changed.answer, changed.ended) == ([desk.login(1).id], (desk.login(1).id,))
    assert changed.state is STATE


async def test_a_token_spent_twice_ends_its_login() -> None:
    desk = await Desk().registered()
    login = desk.login(1)
    rotation = RotateLogin(login.id, login.token_hash, b"next", login.expires_at)
    first = await desk.desk.handle(STATE, rotation)
    assert isinstance(first.answer, Account)
    again = await desk.desk.handle(STATE, RotateLogin(login.id, login.token_hash, b"thief", login.expires_at))
    assert (again.answer, again.ended) == (None, (login.id,))
    assert await desk.store.logins(ANNA) == []


async def test_a_profile_goes_through_the_journal_and_raises_the_revision() -> None:
    desk = Desk(Committed())
    result = await desk.desk.handle(STATE, UpdateProfile(username="hanna", bio="tea"))
    assert desk.journal.units == [ProfileUnit(ANNA, 4, 5, UpdateProfile(username="hanna", bio="tea"), desk.clock.now())]
    assert result.state == UserState(ANNA, 5, "hanna", None, "normal")
    assert result.renamed


@pytest.mark.parametrize(
    ("before", "changes", "renamed"),
    [
        (None, UpdateProfile(bio="tea"), False),
        (None, UpdateProfile(display_name="Anna"), True),
        ("Anna", UpdateProfile(username="hanna"), False),  # what others see is the display name
        ("Anna", UpdateProfile(display_name=None), True),
        (None, UpdateProfile(display_name="anna"), False),
    ],
)
async def test_only_a_new_name_is_told_to_conversations(
    before: str | None, changes: UpdateProfile, renamed: bool
) -> None:
    state = UserState(ANNA, 4, "anna", before, "normal")
    assert (await Desk(Committed()).desk.handle(state, changes)).renamed is renamed


async def test_fenced_it_decides_again_on_the_row_as_it_is_now() -> None:
    desk = Desk(Fenced(), Committed())
    desk.activation.row = UserState(ANNA, 9, "anna2", None, "normal")
    result = await desk.desk.handle(STATE, UpdateProfile(display_name="Anna"))
    assert [(unit.old_rev, unit.new_rev) for unit in desk.journal.units if isinstance(unit, ProfileUnit)] == [
        (4, 5),
        (9, 10),
    ]
    assert result.state == UserState(ANNA, 10, "anna2", "Anna", "normal")


async def test_fenced_again_and_again_it_gives_up_and_says_that_nothing_happened() -> None:
    desk = Desk(*[Fenced()] * 5)
    with pytest.raises(KithError) as refused:
        await desk.desk.handle(STATE, UpdateProfile(bio="x"))
    assert (refused.value.code, refused.value.outcome) == (ErrorCode.TRY_AGAIN, "none")
    assert len(desk.journal.units) == 5


async def test_a_row_that_is_gone_is_not_found() -> None:
    desk = Desk(Fenced())
    desk.activation.row = None
    with pytest.raises(KithError) as refused:
        await desk.desk.handle(STATE, UpdateProfile(bio="x"))
    assert refused.value.code is ErrorCode.USER_NOT_FOUND


@pytest.mark.parametrize(
    ("receipt", "code"),
    [(Taken(None), ErrorCode.USERNAME_TAKEN), (Poisoned("22021"), ErrorCode.INVALID_PAYLOAD)],
)
async def test_what_the_database_refuses_is_the_callers_to_know(receipt: Receipt, code: ErrorCode) -> None:
    with pytest.raises(KithError) as refused:
        await Desk(receipt).desk.handle(STATE, UpdateProfile(username="ben"))
    assert refused.value.code is code
