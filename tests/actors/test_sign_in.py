"""The desk of sign-in beside another node: it decides again when the row has changed, and gives up in the end."""

from collections.abc import Awaitable, Callable

import pytest

from actors.account import AccountDesk
from actors.ports import WriteToken
from actors.rules.totp import code_at, step_of
from actors.sealing import Seals
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.sign_in import BeginTotp, ConfirmTotp, Guard, Opening, Proof, ProveCode
from actors.shapes.times import WallTime
from actors.shapes.users import Account, NewLogin, OpenLogin, Register, UpdateProfile, UserState
from actors.sign_in import SignInDesk, SignInWorld
from storage.memory.accounts import MemoryAccounts
from storage.memory.journal import MemoryJournal
from storage.memory.sign_in import MemorySignIn
from storage.memory.tables import MemoryTables
from tests.clocks import ActorToken, HandClock

ID = UserId("0190aaaa-0000-7000-8000-000000000001")
STATE = UserState(ID, 1, "anna", None, "normal")
HASH = "$argon2id$hash"
WRONG = "000000"


class Writer(ActorToken):
    """One activation, which nobody ends."""

    async def reload(self) -> UserState | None:
        return STATE


class Contested(MemorySignIn):
    """A store that another node writes to between each read and each write of this one, as often as it is told."""

    def __init__(self, accounts: MemoryAccounts) -> None:
        super().__init__(accounts)
        self.meddle: Callable[[], Awaitable[object]] | None = None
        self.times = 0

    async def _meddled(self) -> None:
        if self.times > 0 and self.meddle is not None:
            self.times -= 1
            await self.meddle()

    async def open_login(self, token: WriteToken, id: UserId, opening: Opening) -> Account | None:
        await self._meddled()
        return await super().open_login(token, id, opening)

    async def note_failure(self, token: WriteToken, id: UserId, before: Guard, after: Guard) -> bool:
        await self._meddled()
        return await super().note_failure(token, id, before, after)

    async def spend_code(self, token: WriteToken, id: UserId, proof: Proof) -> bool:
        await self._meddled()
        return await super().spend_code(token, id, proof)

    async def meddle_with(self, guard: Guard) -> None:
        self._totp[ID].guard = guard

    async def guard(self) -> Guard:
        known = await self.totp(ID)
        assert known is not None
        return known.guard


class Stage:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.tables = MemoryTables()
        self.accounts = MemoryAccounts(self.tables, self.clock)
        self.store = Contested(self.accounts)
        self.secret = b""
        writer = Writer()
        world = SignInWorld(self.store, Seals("a secret of the tests"), self.clock)
        others = AccountDesk(ID, writer, self.accounts, MemoryJournal(self.tables), self.clock)
        self.desk = SignInDesk(ID, writer, world, others)

    async def begin(self) -> None:
        await self.desk.handle(None, Register("anna@example.org", "anna", True, HASH, self.login()))
        self.secret = (await self.desk.handle(STATE, BeginTotp(HASH))).answer  # type: ignore[assignment]
        await self.desk.handle(STATE, ConfirmTotp(self.code()))
        self.clock.seconds += 30

    @property
    def step(self) -> int:
        return step_of(self.clock.now())

    def code(self) -> str:
        return code_at(self.secret, self.step)

    def login(self) -> NewLogin:
        now = self.clock.now()
        number = len(self.accounts._logins)
        return NewLogin(LoginId(f"login {number}"), b"%d" % number, None, None, now, WallTime(now + 10**9))

    async def open(self, code: str | None) -> object:
        return (await self.desk.handle(STATE, OpenLogin(self.login(), checked=HASH, totp=code))).answer

    async def refusal(self, code: str | None) -> ErrorCode:
        with pytest.raises(KithError) as refused:
            await self.open(code)
        return refused.value.code


@pytest.fixture
async def stage() -> Stage:
    made = Stage()
    await made.begin()
    return made


async def test_a_code_that_another_node_took_meanwhile_is_wrong(stage: Stage) -> None:
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(stage.step)), 1
    logins = len(stage.accounts._logins)
    assert await stage.refusal(stage.code()) is ErrorCode.INVALID_CREDENTIALS
    assert len(stage.accounts._logins) == logins
    assert await stage.store.guard() == Guard(stage.step, 1)


async def test_a_code_that_only_proves_is_used_up_as_a_logins_is(stage: Stage) -> None:
    logins, code = len(stage.accounts._logins), stage.code()
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(stage.step - 1, 1)), 1
    assert (await stage.desk.handle(STATE, ProveCode(code))).answer is None
    assert await stage.store.guard() == Guard(stage.step)
    assert await stage.refusal(code) is ErrorCode.INVALID_CREDENTIALS
    assert len(stage.accounts._logins) == logins
    stage.clock.seconds += 30
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(stage.step)), 1
    with pytest.raises(KithError) as refused:
        await stage.desk.handle(STATE, ProveCode(stage.code()))
    assert refused.value.code is ErrorCode.INVALID_CREDENTIALS


async def test_a_wrong_code_at_another_node_makes_a_right_one_no_less_right(stage: Stage) -> None:
    used = (await stage.store.guard()).last_step
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(used, 1)), 1
    assert await stage.open(stage.code())
    assert await stage.store.guard() == Guard(stage.step)


async def test_two_wrong_codes_at_once_count_as_two(stage: Stage) -> None:
    used = (await stage.store.guard()).last_step
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(used, 1)), 1
    assert await stage.refusal(WRONG) is ErrorCode.INVALID_CREDENTIALS
    assert await stage.store.guard() == Guard(used, 2)


async def test_a_pause_that_another_node_began_holds_here(stage: Stage) -> None:
    used = (await stage.store.guard()).last_step
    until = WallTime(stage.clock.now() + 60_000)
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(used, 5, until)), 1
    assert await stage.refusal(stage.code()) is ErrorCode.RATE_LIMIT_EXCEEDED


async def test_who_is_always_late_is_told_to_come_back(stage: Stage) -> None:
    used, count = (await stage.store.guard()).last_step, iter(range(1, 1_000))
    stage.store.meddle, stage.store.times = lambda: stage.store.meddle_with(Guard(used, next(count))), 1_000
    with pytest.raises(KithError) as refused:
        await stage.open(stage.code())
    assert (refused.value.code, refused.value.outcome) == (ErrorCode.TRY_AGAIN, "none")
    assert stage.store.times == 995


async def test_codes_that_were_turned_off_meanwhile_are_asked_for_no_more(stage: Stage) -> None:
    del stage.store._totp[ID]
    assert await stage.open(None)
    assert await stage.open("whatever")


async def test_what_is_not_of_this_desk_is_passed_on(stage: Stage) -> None:
    with pytest.raises(KithError) as nobody:
        await stage.desk.handle(None, OpenLogin(stage.login()))
    assert nobody.value.code is ErrorCode.USER_NOT_FOUND
    stage.tables.users[ID].rev = 1
    changed = (await stage.desk.handle(STATE, UpdateProfile(display_name="Anna"))).state
    assert changed is not None
    assert changed.display_name == "Anna"
