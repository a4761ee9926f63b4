"""The contract of moderation's stores, on PostgreSQL and on the twins in memory."""

import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Literal

import pytest
import trio
from msgspec import Struct

from actors.moderation_ports import Moderation
from actors.ports import AccountStore, Beside, Committed, ConversationUnit, Fenced
from actors.shapes.audit import AuditRow
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, MessageId, UserId
from actors.shapes.messages import DeletedMessage
from actors.shapes.moderation import (
    Act,
    ActionFilter,
    ActionId,
    AppealFilter,
    AppealId,
    DecideAppeal,
    DecideReport,
    FileAppeal,
    FiledReport,
    FileReport,
    NoteAction,
    Place,
    ReportFilter,
    ReportId,
    Restore,
    SignOut,
    Snapshot,
    Suspend,
    UserFilter,
    UserSnapshot,
)
from actors.shapes.times import WallTime, iso
from actors.shapes.users import NewLogin
from storage.accounts import PostgresAccounts
from storage.database_errors import DatabaseError
from storage.memory.accounts import MemoryAccounts
from storage.memory.moderation import memory_moderation
from storage.moderation import postgres_moderation
from storage.node import begin_incarnation
from storage.postgres import Postgres, open_postgres
from storage.waking import Waking
from tests.clocks import ActorToken, HandClock
from tests.storage.bad_networks import AnswerLost, StillCommitting
from tests.storage.conftest import postgres_world
from tests.storage.test_accounts import registration
from tests.storage.test_indexes import prefer_indexes
from tests.storage.worlds import Dialogue, MemoryWorld, PostgresWorld, World, begin_dialogue, birth

TOKEN = ActorToken()
DAY = 86_400_000
ADMIN = UserId(str(uuid.uuid4()))
_OPEN_OR_ANY: tuple[Literal["open"] | None, ...] = ("open", None)


class Office(Struct):
    """The stores with what a test does beside them."""

    world: World
    stores: Moderation
    accounts: AccountStore
    clock: HandClock
    grant: Any

    async def user(self, name: str) -> UserId:
        id = UserId(str(uuid.uuid4()))
        self.clock.seconds += 1
        await self.accounts.register(TOKEN, id, registration(self.clock, f"{name}@example.org", name))
        return id

    def act(self, **more: Any) -> Act:
        self.clock.seconds += 1
        fields: dict[str, Any] = {"admin_id": ADMIN, "request_id": "req_1", "address": "192.0.2.1"} | more
        return Act(ActionId(str(uuid.uuid4())), self.clock.now(), **fields)

    def report(self, about: UserId, **more: Any) -> FileReport:
        self.clock.seconds += 1
        seen = Snapshot(user=UserSnapshot(about, "name", None, None, None))
        fields: dict[str, Any] = {
            "kind": "user", "target_id": about, "user_id": about, "reason": "spam", "text": "look", "snapshot": seen,
        } | more  # fmt: skip
        return FileReport(id=ReportId(str(uuid.uuid4())), at=self.clock.now(), **fields)

    def appeal(self, measure: ActionId, text: str = "I was not there") -> FileAppeal:
        self.clock.seconds += 1
        return FileAppeal(AppealId(str(uuid.uuid4())), measure, text, self.clock.now())

    async def log_of(self, user: UserId) -> list[str]:
        actions, _ = await self.stores.audit.actions(ActionFilter(about=user), None, 100)
        return [action.action for action in actions]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def office(world: World, clock: HandClock) -> AsyncIterator[Office]:
    if isinstance(world, MemoryWorld):
        accounts = MemoryAccounts(world.tables, clock)
        memory = memory_moderation(world.tables, accounts)

        async def grant(user: UserId) -> None:
            memory.standing.admins.add(user)

        yield Office(world, memory.stores, accounts, clock, grant)
        return
    assert isinstance(world, PostgresWorld)
    postgres = world.postgres
    await postgres.execute("alter table admin_actions disable trigger user")
    await postgres.execute("truncate admin_actions, reports, appeals")
    await postgres.execute("alter table admin_actions enable trigger user")
    identity = await begin_incarnation(postgres, "office")

    async def grant_in_database(user: UserId) -> None:
        await postgres.execute("update users set is_admin = true where id = $1", user)

    stores = postgres_moderation(postgres, identity)
    yield Office(world, stores, PostgresAccounts(postgres, identity, clock), clock, grant_in_database)


async def code_of(work: Awaitable[object]) -> ErrorCode:
    with pytest.raises(KithError) as refused:
        await work
    return refused.value.code


async def filed(work: Awaitable[Any]) -> tuple[Any, bool]:
    answer = await work
    return (answer.report if isinstance(answer, FiledReport) else answer.appeal), answer.new


def login_of(clock: HandClock) -> NewLogin:
    id = LoginId(str(uuid.uuid4()))
    return NewLogin(id, id.encode(), None, None, clock.now(), WallTime(clock.now() + 30 * DAY))


# -- standing --------------------------------------------------------------------------------


async def test_a_suspension_ends_every_login_and_lets_none_be_opened(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    [first] = [login.id for login in await office.accounts.logins(anna)]
    another = login_of(office.clock)
    await office.accounts.open_login(TOKEN, anna, another)
    command = Suspend(office.act(), "threats", WallTime(office.clock.now() + DAY))
    changed = await standing.suspend(TOKEN, anna, command)
    assert (set(changed.ended), changed.status, changed.rev) == ({first, another.id}, "suspended", 2)
    assert await office.accounts.logins(anna) == []
    known = await standing.suspension_of(anna)
    assert known is not None
    assert (known.measure_id, known.reason, known.until) == (command.by.id, "threats", command.until)
    state = (await office.world.users.load([anna]))[anna]
    assert (state.status, state.rev) == ("suspended", 2)
    assert await code_of(office.accounts.open_login(TOKEN, anna, login_of(office.clock))) is ErrorCode.FORBIDDEN
    assert ("u", anna, 1, 2) in [tuple(head) for head in await office.world.heads()]
    [action], _ = await office.stores.audit.actions(ActionFilter(about=anna), None, 10)
    assert (action.action, action.target_kind, action.target_id, action.reason) == (
        "suspend_user", "user", anna, "threats",
    )  # fmt: skip
    assert (action.admin_id, action.actor, action.at) == (ADMIN, "admin", iso(command.by.at))
    assert (action.request_id, action.address) == ("req_1", "192.0.2.1")
    assert (action.details.ended_sessions, action.details.until) == (2, iso(command.until or WallTime(0)))


async def test_who_is_restored_may_come_in(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    await standing.suspend(TOKEN, anna, Suspend(office.act(), "a mistake"))
    changed = await standing.restore(TOKEN, anna, Restore(office.act(), "sorry"))
    assert (changed.status, changed.rev, changed.ended) == ("active", 3, ())
    assert await standing.suspension_of(anna) is None
    await office.accounts.open_login(TOKEN, anna, login_of(office.clock))
    again = await standing.restore(TOKEN, anna, Restore(office.act()))
    assert again.status is None
    assert await office.log_of(anna) == ["restore_user", "suspend_user"], "what changed nothing is no action"


async def test_time_restores_whose_time_is_over_and_nobody_else(office: Office) -> None:
    anna, ben, standing = await office.user("anna"), await office.user("ben"), office.stores.standing
    await standing.suspend(TOKEN, anna, Suspend(office.act(), "a day", WallTime(office.clock.now() + DAY)))
    await standing.suspend(TOKEN, ben, Suspend(office.act(), "for good"))
    for user in (anna, ben):
        early = await standing.restore(TOKEN, user, Restore(office.act(actor="time", admin_id=None)))
        assert early.status is None
    office.clock.seconds += 86_400
    late = await standing.restore(TOKEN, anna, Restore(office.act(actor="time", admin_id=None)))
    assert late.status == "active"
    never = await standing.restore(TOKEN, ben, Restore(office.act(actor="time", admin_id=None)))
    assert never.status is None
    [action, _], _ = await office.stores.audit.actions(ActionFilter(about=anna), None, 10)
    assert (action.action, action.actor, action.admin_id) == ("restore_user", "time", None)


async def test_a_second_suspension_takes_the_place_of_the_first(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    await standing.suspend(TOKEN, anna, Suspend(office.act(), "a day", WallTime(office.clock.now() + DAY)))
    second = Suspend(office.act(), "for good")
    await standing.suspend(TOKEN, anna, second)
    known = await standing.suspension_of(anna)
    assert known is not None
    assert (known.measure_id, known.reason, known.until) == (second.by.id, "for good", None)


async def test_an_admin_is_not_suspended(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    assert not await standing.is_admin(anna)
    await office.grant(anna)
    assert await standing.is_admin(anna)
    assert await code_of(standing.suspend(TOKEN, anna, Suspend(office.act(), "no"))) is ErrorCode.FORBIDDEN
    assert await office.log_of(anna) == []
    assert len(await office.accounts.logins(anna)) == 1


async def test_who_is_suspended_is_no_admin_whatever_else_his_row_says(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    await standing.suspend(TOKEN, anna, Suspend(office.act(), "x"))
    await office.grant(anna)
    assert not await standing.is_admin(anna)


async def test_the_same_act_again_is_the_first_one(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    signed_out = SignOut(office.act(), "stolen phone")
    first = await standing.sign_out(TOKEN, anna, signed_out)
    assert len(first.ended) == 1
    assert await standing.sign_out(TOKEN, anna, signed_out) == first
    await office.accounts.open_login(TOKEN, anna, login_of(office.clock))
    suspend = Suspend(office.act(), "x")
    second = await standing.suspend(TOKEN, anna, suspend)
    assert (len(second.ended), second.rev) == (1, 2)
    assert await standing.suspend(TOKEN, anna, suspend) == second
    restore = Restore(office.act())
    third = await standing.restore(TOKEN, anna, restore)
    assert (third.status, third.rev) == ("active", 3)
    assert await standing.restore(TOKEN, anna, restore) == third
    assert await office.log_of(anna) == ["restore_user", "suspend_user", "sign_out_user"]


async def test_the_same_decision_again_is_the_first_one(office: Office) -> None:
    """Its answer was lost: whoever repeats it must learn whose connections to close, and on which revision he is."""
    anna = await office.user("anna")
    report = office.report(anna)
    await office.stores.reports.file(TOKEN, await office.user("ben"), report)
    decide = DecideReport(office.act(), report.id, "suspend_user", "spam")
    changed = await office.stores.reports.decide(TOKEN, decide)
    assert (changed.status, changed.rev) == ("suspended", 2)
    assert await office.stores.reports.decide(TOKEN, decide) == changed
    appeal = FileAppeal(AppealId(str(uuid.uuid4())), decide.by.id, "no", office.clock.now())
    await office.stores.appeals.file(TOKEN, anna, appeal)
    uphold = DecideAppeal(office.act(), appeal.id, "uphold", "it stands")
    await office.stores.appeals.decide(TOKEN, uphold)
    again = await office.stores.appeals.decide(TOKEN, uphold)
    assert (again.ended, again.status, again.rev) == ((), "suspended", 2)
    appeal = FileAppeal(AppealId(str(uuid.uuid4())), decide.by.id, "please", office.clock.now())
    await office.stores.appeals.file(TOKEN, anna, appeal)
    grant = DecideAppeal(office.act(), appeal.id, "grant", "well")
    granted = await office.stores.appeals.decide(TOKEN, grant)
    assert (granted.status, granted.rev) == ("active", 3)
    assert await office.stores.appeals.decide(TOKEN, grant) == granted


async def test_nobody_is_not_changed(office: Office) -> None:
    nobody, standing = UserId(str(uuid.uuid4())), office.stores.standing
    assert not await standing.is_admin(nobody)
    assert await standing.suspension_of(nobody) is None
    for work in (
        standing.suspend(TOKEN, nobody, Suspend(office.act(), "x")),
        standing.restore(TOKEN, nobody, Restore(office.act())),
        standing.sign_out(TOKEN, nobody, SignOut(office.act())),
    ):
        assert await code_of(work) is ErrorCode.USER_NOT_FOUND
    assert await office.stores.audit.actions(ActionFilter(), None, 10) == ([], None)


async def test_signing_out_ends_logins_and_nothing_else(office: Office) -> None:
    anna, standing = await office.user("anna"), office.stores.standing
    changed = await standing.sign_out(TOKEN, anna, SignOut(office.act(), "stolen phone"))
    assert (len(changed.ended), changed.status) == (1, None)
    await office.accounts.open_login(TOKEN, anna, login_of(office.clock))
    assert await office.log_of(anna) == ["sign_out_user"]


async def test_an_ended_actor_writes_nothing(office: Office) -> None:
    anna, stores = await office.user("anna"), office.stores
    ended = ActorToken()
    ended.valid = False
    for work in (
        stores.standing.suspend(ended, anna, Suspend(office.act(), "x")),
        stores.reports.file(ended, anna, office.report(anna)),
        stores.audit.note(ended, NoteAction(office.act(), "view_user", "user", anna, anna)),
    ):
        assert await code_of(work) is ErrorCode.UNAVAILABLE
    assert await office.log_of(anna) == []


# -- reports --------------------------------------------------------------------------------


async def test_a_report_is_kept_as_it_was(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    command = office.report(ben)
    view, new = await filed(reports.file(TOKEN, anna, command))
    assert new
    assert (view.id, view.kind, view.target_id, view.status, view.text) == (command.id, "user", ben, "open", "look")
    stored = await reports.report(command.id)
    assert stored is not None
    assert stored.snapshot == command.snapshot
    assert (stored.reporter_id, stored.user_id, stored.shown) == (anna, ben, view)


async def test_the_same_report_again_is_the_first_one_while_it_is_open(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    first, _ = await filed(reports.file(TOKEN, anna, office.report(ben)))
    assert await filed(reports.file(TOKEN, anna, office.report(ben, reason="abuse"))) == (first, False)
    assert (await filed(reports.file(TOKEN, ben, office.report(ben))))[1], "somebody else's is another one"
    await reports.decide(TOKEN, DecideReport(office.act(), first.id, "dismiss", "nothing there"))
    again, new = await filed(reports.file(TOKEN, anna, office.report(ben)))
    assert new
    assert again.id != first.id


async def test_a_decision_does_what_it_says_once(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    view, _ = await filed(reports.file(TOKEN, anna, office.report(ben)))
    command = DecideReport(office.act(), view.id, "suspend_user", "three times now", WallTime(office.clock.now() + DAY))
    changed = await reports.decide(TOKEN, command)
    assert (changed.status, len(changed.ended)) == ("suspended", 1)
    assert (await office.stores.standing.suspension_of(ben)) is not None
    later = DecideReport(office.act(), view.id, "dismiss", "oh")
    with pytest.raises(KithError) as refused:
        await reports.decide(TOKEN, later)
    assert (refused.value.code, refused.value.details) == (
        ErrorCode.IDEMPOTENCY_CONFLICT, {"status": "user_suspended"},
    )  # fmt: skip
    stored = await reports.report(view.id)
    assert stored is not None
    assert (stored.status, stored.note, stored.decided_by) == ("user_suspended", "three times now", ADMIN)
    assert stored.decided_at == iso(command.by.at)
    [action], _ = await office.stores.audit.actions(ActionFilter(about=ben), None, 10)
    assert (action.action, action.report_id, action.target_id) == ("suspend_user", view.id, ben)


async def test_each_decision_has_its_action(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    message = str(uuid.uuid4())
    cases = {
        "dismiss": ("dismissed", "dismiss_report", "report"),
        "warn": ("user_warned", "warn_user", "user"),
        "remove_content": ("content_removed", "delete_message", "message"),
    }
    for decision, (status, name, kind) in cases.items():
        target = {"kind": "message", "target_id": message} if decision == "remove_content" else {}
        view, _ = await filed(reports.file(TOKEN, anna, office.report(ben, **target)))
        await reports.decide(TOKEN, DecideReport(office.act(), view.id, decision, "a note"))  # type: ignore[arg-type]
        stored = await reports.report(view.id)
        assert stored is not None
        assert stored.status == status
        [action, *_], _ = await office.stores.audit.actions(ActionFilter(about=ben), None, 10)
        assert (action.action, action.target_kind, action.reason) == (name, kind, "a note")
    assert await office.stores.standing.suspension_of(ben) is None


async def test_a_decision_that_does_not_fit_changes_nothing(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    of_a_user, _ = await filed(reports.file(TOKEN, anna, office.report(ben)))
    of_a_group, _ = await filed(reports.file(TOKEN, anna, office.report(ben, kind="conversation", user_id=None)))
    for id, decision in ((of_a_user.id, "remove_content"), (of_a_group.id, "warn"), (of_a_group.id, "suspend_user")):
        command = DecideReport(office.act(), id, decision, "x")  # type: ignore[arg-type]
        assert await code_of(reports.decide(TOKEN, command)) is ErrorCode.INVALID_PAYLOAD
    unknown = DecideReport(office.act(), ReportId(str(uuid.uuid4())), "dismiss", "x")
    assert await code_of(reports.decide(TOKEN, unknown)) is ErrorCode.CONTENT_NOT_FOUND
    await office.grant(ben)
    refused = DecideReport(office.act(), of_a_user.id, "suspend_user", "x")
    assert await code_of(reports.decide(TOKEN, refused)) is ErrorCode.FORBIDDEN
    assert [r.status for r in (await reports.reports(ReportFilter(), None, 10))[0]] == ["open", "open"]
    assert await office.stores.audit.actions(ActionFilter(), None, 10) == ([], None)


async def test_two_admins_decide_at_once_and_one_wins(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    for _ in range(5):
        view, _ = await filed(reports.file(TOKEN, anna, office.report(ben)))
        outcomes: list[str] = []

        async def decide(command: DecideReport, outcomes: list[str] = outcomes) -> None:
            try:
                await reports.decide(TOKEN, command)
                outcomes.append(command.decision)
            except KithError as error:
                outcomes.append(error.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(decide, DecideReport(office.act(), view.id, "warn", "one"))
            nursery.start_soon(decide, DecideReport(office.act(), view.id, "dismiss", "two"))
        assert min(outcomes) == "IDEMPOTENCY_CONFLICT"
        stored = await reports.report(view.id)
        assert stored is not None
        assert stored.status == {"warn": "user_warned", "dismiss": "dismissed"}[max(outcomes)]
    assert len(await office.log_of(ben)) == 5


async def test_reports_are_listed_by_what_is_asked(office: Office) -> None:
    anna, ben, reports = await office.user("anna"), await office.user("ben"), office.stores.reports
    first, _ = await filed(reports.file(TOKEN, anna, office.report(ben)))
    about_a_talk = office.report(anna, kind="conversation", target_id=str(uuid.uuid4()))
    second, _ = await filed(reports.file(TOKEN, ben, about_a_talk))
    await reports.decide(TOKEN, DecideReport(office.act(), first.id, "dismiss", "x"))
    third, _ = await filed(reports.file(TOKEN, anna, office.report(ben)))

    async def ids(wanted: ReportFilter) -> list[str]:
        return [report.id for report in (await reports.reports(wanted, None, 10))[0]]

    assert await ids(ReportFilter()) == [second.id, third.id], "the oldest open one first"
    assert await ids(ReportFilter(status=None)) == [first.id, second.id, third.id]
    assert await ids(ReportFilter(status="dismissed")) == [first.id]
    assert await ids(ReportFilter(status=None, kind="conversation")) == [second.id]
    assert await ids(ReportFilter(status=None, reporter=anna)) == [third.id, first.id]
    assert await ids(ReportFilter(status=None, about=anna)) == [second.id]


async def test_only_what_the_reporter_can_see_can_be_reported(office: Office) -> None:
    talk = await begin_dialogue(office.world)
    stranger = await office.user("stranger")
    await talk.say("a threat", sender=talk.b)
    message = await _only_message(office.world, talk)
    seen = await office.stores.reports.message_for(talk.a, message)
    assert seen is not None
    assert (seen.text, seen.sender_id, seen.conversation_id, seen.seq) == ("a threat", talk.b, talk.id, 1)
    assert await office.stores.reports.message_for(stranger, message) is None
    assert await office.stores.reports.message_for(talk.a, MessageId(str(uuid.uuid4()))) is None
    await office.world.leave(talk.id, talk.a, talk.rev + 1)
    await office.world.join(talk.id, talk.a, talk.rev + 2)
    assert await office.stores.reports.message_for(talk.a, message) is None, "written before he came back"


async def test_of_a_strict_conversation_no_text_is_kept(office: Office) -> None:
    """Whatever stands in the row: an admin must not read what only its members can."""
    anna, ben = await office.user("anna"), await office.user("ben")
    born = birth(anna, ben, privacy_mode="strict_e2e")
    await office.world.journal.append(TOKEN, born)
    talk = Dialogue(office.world, born.row.id, anna, ben)
    await talk.say("sealed", sender=ben)
    seen = await office.stores.reports.message_for(anna, await _only_message(office.world, talk))
    assert seen is not None
    assert (seen.text, seen.privacy_mode, seen.sender_id) == (None, "strict_e2e", ben)


async def _only_message(world: World, talk: Dialogue) -> MessageId:
    page = await world.conversations.history(talk.id, 1, None, None, 10)
    return page.messages[0].id


# -- appeals --------------------------------------------------------------------------------


async def test_a_granted_appeal_ends_the_suspension(office: Office) -> None:
    anna, stores = await office.user("anna"), office.stores
    suspend = Suspend(office.act(), "threats")
    await stores.standing.suspend(TOKEN, anna, suspend)
    [measure] = await stores.appeals.measures(anna)
    assert (measure.id, measure.action, measure.reason, measure.appeal) == (
        suspend.by.id, "suspend_user", "threats", None,
    )  # fmt: skip
    appeal, new = await filed(stores.appeals.file(TOKEN, anna, office.appeal(measure.id)))
    assert new
    assert await filed(stores.appeals.file(TOKEN, anna, office.appeal(measure.id, "again"))) == (appeal, False)
    assert [m.appeal for m in await stores.appeals.measures(anna)] == ["open"]
    changed = await stores.appeals.decide(TOKEN, DecideAppeal(office.act(), appeal.id, "grant", "you were not"))
    assert changed.status == "active"
    assert await stores.standing.suspension_of(anna) is None
    known = await stores.appeals.appeal(appeal.id)
    assert known is not None
    assert (known.status, known.note, known.decided_by) == ("granted", "you were not", ADMIN)
    assert await office.log_of(anna) == ["grant_appeal", "suspend_user"]
    again = DecideAppeal(office.act(), appeal.id, "uphold", "no")
    assert await code_of(stores.appeals.decide(TOKEN, again)) is ErrorCode.IDEMPOTENCY_CONFLICT
    assert await code_of(stores.appeals.file(TOKEN, anna, office.appeal(measure.id))) is ErrorCode.IDEMPOTENCY_CONFLICT


async def test_an_upheld_appeal_changes_nothing_and_another_may_follow(office: Office) -> None:
    anna, stores = await office.user("anna"), office.stores
    suspend = Suspend(office.act(), "threats")
    await stores.standing.suspend(TOKEN, anna, suspend)
    appeal, _ = await filed(stores.appeals.file(TOKEN, anna, office.appeal(suspend.by.id)))
    changed = await stores.appeals.decide(TOKEN, DecideAppeal(office.act(), appeal.id, "uphold", "you were"))
    assert changed.status is None
    assert await stores.standing.suspension_of(anna) is not None
    second, new = await filed(stores.appeals.file(TOKEN, anna, office.appeal(suspend.by.id)))
    assert new
    mine = AppealFilter(status=None, user=anna)
    assert [a.id for a in (await stores.appeals.appeals(mine, None, 10))[0]] == [second.id, appeal.id]
    assert [a.id for a in (await stores.appeals.appeals(AppealFilter(), None, 10))[0]] == [second.id]


async def test_an_appeal_against_an_old_measure_does_not_end_the_new_one(office: Office) -> None:
    anna, stores = await office.user("anna"), office.stores
    first, second = Suspend(office.act(), "a day"), Suspend(office.act(), "for good")
    await stores.standing.suspend(TOKEN, anna, first)
    appeal, _ = await filed(stores.appeals.file(TOKEN, anna, office.appeal(first.by.id)))
    await stores.standing.suspend(TOKEN, anna, second)
    changed = await stores.appeals.decide(TOKEN, DecideAppeal(office.act(), appeal.id, "grant", "right"))
    assert changed.status is None
    assert await stores.standing.suspension_of(anna) is not None
    assert [m.appeal for m in await stores.appeals.measures(anna)] == [None, "granted"]


async def test_who_appeals_names_a_measure_against_himself(office: Office) -> None:
    anna, ben, stores = await office.user("anna"), await office.user("ben"), office.stores
    suspend, seen = Suspend(office.act(), "x"), NoteAction(office.act(), "view_user", "user", anna, anna)
    await stores.standing.suspend(TOKEN, ben, suspend)
    await stores.audit.note(TOKEN, seen)
    for measure in (suspend.by.id, seen.by.id, ActionId(str(uuid.uuid4()))):
        assert await code_of(stores.appeals.file(TOKEN, anna, office.appeal(measure))) is ErrorCode.CONTENT_NOT_FOUND
    assert await stores.appeals.measures(anna) == []
    unknown = DecideAppeal(office.act(), AppealId(str(uuid.uuid4())), "grant", "x")
    assert await code_of(stores.appeals.decide(TOKEN, unknown)) is ErrorCode.CONTENT_NOT_FOUND


# -- lists --------------------------------------------------------------------------------


async def test_the_log_is_filtered_and_paged(office: Office) -> None:
    anna, ben, audit = await office.user("anna"), await office.user("ben"), office.stores.audit
    began = office.clock.now()
    for user in (anna, ben, anna):
        await audit.note(TOKEN, NoteAction(office.act(), "view_user", "user", user, user))
    other = UserId(str(uuid.uuid4()))
    await audit.note(TOKEN, NoteAction(office.act(admin_id=other), "delete_message", "message", ben, anna, "rude"))

    async def count(**wanted: Any) -> int:
        return len((await audit.actions(ActionFilter(**wanted), None, 10))[0])

    assert await count() == 4
    assert await count(admin=other) == 1
    assert await count(action="view_user") == 3
    assert await count(target=anna) == 2
    assert await count(about=anna) == 3
    assert await count(since=WallTime(began + 2_000)) == 3
    assert await count(before=WallTime(began + 2_000)) == 1
    assert await count(admin=other, action="view_user") == 0
    page, place = await audit.actions(ActionFilter(), None, 3)
    assert [action.reason for action in page] == ["rude", None, None]
    rest, end = await audit.actions(ActionFilter(), place, 3)
    assert (len(rest), end) == (1, None)
    assert len({action.id for action in page + rest}) == 4


async def test_people_are_found_by_the_beginnings_of_their_names(office: Office) -> None:
    anna, ben = await office.user("anna_k"), await office.user("ben")
    await office.user("Hanna")
    people = office.stores.people

    async def found(q: str | None, **more: Any) -> list[str]:
        return [user.username for user in (await people.find(UserFilter(q, **more), None, 10))[0]]

    assert await found(None) == ["Hanna", "ben", "anna_k"], "newest first"
    assert await found("ANNA") == ["anna_k"]
    assert await found("ben@EX") == ["ben"]
    assert await found(ben.upper()) == ["ben"]
    assert await found("anna", status="active") == ["anna_k"]
    assert await found("anna", status="suspended") == []
    for trick in ("%", "_", "a%", "anna%", "'", "' or 1=1 --", "\\", "$1", "{}", "\U0010ffff", "(", ";"):
        assert await found(trick) == [], trick
    await office.stores.standing.suspend(TOKEN, anna, Suspend(office.act(), "x"))
    assert await found(None, status="suspended") == ["anna_k"]
    await office.grant(ben)
    assert await found(None, admins=True) == ["ben"]
    assert await found("a", admins=True) == []
    summary = await people.summary(anna)
    assert summary is not None
    assert (summary.email, summary.status, summary.is_admin) == ("anna_k@example.org", "suspended", False)


async def test_a_display_name_is_found_too(office: Office) -> None:
    anna = await office.world.add_user("a1", "Maria Luisa")
    assert [u.id for u in (await office.stores.people.find(UserFilter("maria l"), None, 10))[0]] == [anna]


async def test_pages_of_people_are_full_and_lose_nobody(office: Office) -> None:
    """Many are of the same moment: a place that knew only the millisecond would lose or repeat them."""
    ids = {await office.world.add_user(f"user{number}") for number in range(25)}
    seen: list[str] = []
    place: Place | None = None
    for number in itertools.count():
        page, place = await office.stores.people.find(UserFilter(), place, 10)
        seen += [user.id for user in page]
        assert len(page) == (10 if number < 2 else 5)
        if place is None:
            break
    assert len(seen) == 25
    assert set(seen) == ids


async def test_figures_of_a_user(office: Office) -> None:
    talk = await begin_dialogue(office.world)
    await office.world.block(talk.b, talk.a)
    await filed(office.stores.reports.file(TOKEN, talk.b, office.report(talk.a)))
    counts = await office.stores.people.counts(talk.a)
    assert (counts.conversations, counts.blocked_by, counts.reports_about, counts.reports_open) == (1, 1, 1, 1)
    assert (counts.sessions, counts.reports_filed) == (0, 0)
    assert (await office.stores.people.counts(talk.b)).reports_filed == 1


# -- written with a flush -----------------------------------------------------------------------------------------


async def test_an_audit_row_is_written_with_its_effect_or_not_at_all(office: Office) -> None:
    talk = await begin_dialogue(office.world)
    await talk.say("rude", sender=talk.b)
    seen = await _only_message(office.world, talk)
    by = office.act()
    row = AuditRow(
        id=by.id,
        at=by.at,
        admin_id=ADMIN,
        action="delete_message",
        target_kind="message",
        target_id=seen,
        user_id=talk.b,
        reason="it was rude",
        request_id="req_1",
        address="192.0.2.1",
    )
    wiped = DeletedMessage(seen, talk.id, 1, talk.rev + 1, talk.rev, ADMIN, by.at)
    beside = Beside(deleted=[wiped], audits=[row])
    lost = ConversationUnit(talk.id, talk.rev + 7, talk.rev + 8, talk.seq, [], beside)
    assert isinstance(await office.world.journal.append(TOKEN, lost), Fenced)
    assert await office.log_of(talk.b) == []
    unit = ConversationUnit(talk.id, talk.rev, talk.rev + 1, talk.seq, [], beside)
    assert isinstance(await office.world.journal.append(TOKEN, unit), Committed)
    [action], _ = await office.stores.audit.actions(ActionFilter(), None, 10)
    assert (action.id, action.actor, action.admin_id, action.action) == (by.id, "admin", ADMIN, "delete_message")
    assert (action.target_kind, action.target_id, action.user_id) == ("message", seen, talk.b)
    assert (action.reason, action.request_id, action.address) == ("it was rude", "req_1", "192.0.2.1")
    assert action.at == iso(by.at)
    [measure] = await office.stores.appeals.measures(talk.b)
    assert measure.id == by.id, "he may appeal against it"


# -- what only PostgreSQL can show --------------------------------------------------------------------------------


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(database_url) as opened:
        yield opened


async def test_the_log_takes_new_rows_only(postgres: Postgres) -> None:
    stores = postgres_moderation(postgres, await begin_incarnation(postgres, "node"))
    act = Act(ActionId(str(uuid.uuid4())), WallTime(1_795_000_000_000), admin_id=ADMIN)
    await stores.audit.note(TOKEN, NoteAction(act, "view_user", "user", ADMIN))
    for statement in (
        "update admin_actions set reason = 'nothing to see'",
        "delete from admin_actions",
        "truncate admin_actions",
        "insert into admin_actions select * from admin_actions on conflict (id) do update set reason = 'x'",
    ):
        with pytest.raises(DatabaseError):
            await postgres.execute(statement)
    [action], _ = await stores.audit.actions(ActionFilter(), None, 10)
    assert action.reason is None


async def test_a_lost_answer_to_commit_changes_nothing_twice(postgres: Postgres, clock: HandClock) -> None:
    """The repetition finds its own audit row: nobody's revision rises twice, and the ended logins are named."""
    network = AnswerLost(postgres)
    identity = await begin_incarnation(postgres, "node")
    accounts = PostgresAccounts(postgres, identity, clock)
    stores = postgres_moderation(network, identity)  # type: ignore[arg-type] # a network is not a pool, but enough
    anna, command = UserId(str(uuid.uuid4())), registration(clock, "a@example.org")
    await accounts.register(TOKEN, anna, command)

    def act() -> Act:
        clock.seconds += 1
        return Act(ActionId(str(uuid.uuid4())), clock.now(), admin_id=ADMIN)

    network.lose = 1
    suspend = Suspend(act(), "x")
    changed = await stores.standing.suspend(TOKEN, anna, suspend)
    assert (changed.ended, changed.status, changed.rev) == ((command.login.id,), "suspended", 2)
    network.lose = 1
    appeal = FileAppeal(AppealId(str(uuid.uuid4())), suspend.by.id, "no", clock.now())
    assert (await filed(stores.appeals.file(TOKEN, anna, appeal)))[1]
    network.lose = 1
    granted = await stores.appeals.decide(TOKEN, DecideAppeal(act(), appeal.id, "grant", "yes"))
    assert (granted.status, granted.rev) == ("active", 3)
    network.lose = 1
    seen = Snapshot(user=UserSnapshot(anna, "anna", None, None, None))
    report = FileReport(ReportId(str(uuid.uuid4())), "user", anna, anna, "spam", None, seen, clock.now())
    assert (await filed(stores.reports.file(TOKEN, anna, report)))[1]
    network.lose = 1
    decided = await stores.reports.decide(TOKEN, DecideReport(act(), report.id, "suspend_user", "x"))
    assert (decided.status, decided.rev) == ("suspended", 4)
    assert await postgres.fetchval(int, "select rev from users") == 4
    assert await postgres.fetchval(int, "select count(*) from admin_actions") == 3


async def test_a_change_of_standing_wakes_the_other_nodes_once_it_is_committed(
    postgres: Postgres, clock: HandClock
) -> None:
    """They looked once a second, and for so long somebody suspended stayed connected to another worker."""
    identity, rings = await begin_incarnation(postgres, "node"), list[int]()
    anna = UserId(str(uuid.uuid4()))
    await PostgresAccounts(postgres, identity, clock).register(TOKEN, anna, registration(clock, "a@example.org"))
    ends = list[int]()
    waking = Waking(lambda: rings.append(1), lambda: ends.append(1))
    stores = postgres_moderation(postgres, identity, waking)

    def act() -> Act:
        clock.seconds += 1
        return Act(ActionId(str(uuid.uuid4())), clock.now(), admin_id=ADMIN)

    suspend = Suspend(act(), "x")
    await stores.standing.suspend(TOKEN, anna, suspend)
    assert len(rings) == 1
    appeal = FileAppeal(AppealId(str(uuid.uuid4())), suspend.by.id, "no", clock.now())
    await stores.appeals.file(TOKEN, anna, appeal)
    await stores.appeals.decide(TOKEN, DecideAppeal(act(), appeal.id, "grant", "yes"))
    assert len(rings) == 2
    seen = Snapshot(user=UserSnapshot(anna, "anna", None, None, None))
    report = FileReport(ReportId(str(uuid.uuid4())), "user", anna, anna, "spam", None, seen, clock.now())
    await stores.reports.file(TOKEN, anna, report)
    await stores.reports.decide(TOKEN, DecideReport(act(), report.id, "suspend_user", "x"))
    assert len(rings) == 3
    await stores.standing.restore(TOKEN, anna, Restore(act()))
    assert len(rings) == 4
    await stores.standing.restore(TOKEN, anna, Restore(act()))
    assert len(rings) == 4, "there was nothing to restore"
    assert len(ends) == 1, "of the first suspension: later there was nothing to end"
    await PostgresAccounts(postgres, identity, clock).open_login(TOKEN, anna, login_of(clock))
    await stores.standing.sign_out(TOKEN, anna, SignOut(act(), "x"))
    assert (len(rings), len(ends)) == (4, 2)


async def test_what_commits_behind_a_lost_connection_is_waited_for(postgres: Postgres, clock: HandClock) -> None:
    """The repetition looked for its audit row before it waited for the user's: it found none, did everything again, and
    named no login that ended, so that none of their connections was closed."""
    identity = await begin_incarnation(postgres, "node")
    accounts = PostgresAccounts(postgres, identity, clock)
    anna, command = UserId(str(uuid.uuid4())), registration(clock, "a@example.org")
    await accounts.register(TOKEN, anna, command)
    another = login_of(clock)
    async with trio.open_nursery() as nursery:
        network = StillCommitting(postgres, nursery)
        stores = postgres_moderation(network, identity)  # type: ignore[arg-type]
        clock.seconds += 1
        act = Act(ActionId(str(uuid.uuid4())), clock.now(), admin_id=ADMIN)
        assert (await stores.standing.sign_out(TOKEN, anna, SignOut(act, "x"))).ended == (command.login.id,)
        await accounts.open_login(TOKEN, anna, another)
        network.slow = True
        clock.seconds += 1
        act = Act(ActionId(str(uuid.uuid4())), clock.now(), admin_id=ADMIN)
        changed = await stores.standing.suspend(TOKEN, anna, Suspend(act, "x"))
    assert (changed.ended, changed.rev) == ((another.id,), 2)
    assert await postgres.fetchval(int, "select count(*) from admin_actions") == 2


async def test_no_login_slips_past_a_suspension(postgres: Postgres, clock: HandClock) -> None:
    """Whoever signs in at the same moment, on another node, is either refused or signed out."""
    identity = await begin_incarnation(postgres, "node")
    accounts, stores = PostgresAccounts(postgres, identity, clock), postgres_moderation(postgres, identity)
    refused = 0
    for number in range(15):
        anna = UserId(str(uuid.uuid4()))
        await accounts.register(TOKEN, anna, registration(clock, f"a{number}@example.org", f"anna{number}"))

        async def sign_in(user: UserId = anna) -> None:
            nonlocal refused
            try:
                await accounts.open_login(TOKEN, user, login_of(clock))
            except KithError as error:
                refused += error.code in (ErrorCode.FORBIDDEN, ErrorCode.INVALID_CREDENTIALS)

        async def suspend(user: UserId = anna) -> None:
            act = Act(ActionId(str(uuid.uuid4())), clock.now(), admin_id=ADMIN)
            await stores.standing.suspend(TOKEN, user, Suspend(act, "x"))

        clock.seconds += 1
        async with trio.open_nursery() as nursery:
            for work in (sign_in, suspend, sign_in) if number % 2 else (suspend, sign_in, sign_in):
                nursery.start_soon(work)
        assert await accounts.logins(anna) == []
    assert refused < 30, "none was in time: this run showed nothing"


async def test_no_list_reads_a_table_whole(database_url: str, clock: HandClock) -> None:
    async with postgres_world(database_url) as world:
        talk = await begin_dialogue(world)
    await prefer_indexes(database_url)
    tables = ("users", "reports", "appeals", "admin_actions", "sessions")
    asking = "select sum(seq_scan)::bigint from pg_stat_user_tables where relname = any($1::text[])"
    async with open_postgres(database_url, connections=1) as postgres:
        before = await postgres.fetchval(int, asking, tables)
        stores = postgres_moderation(postgres, await begin_incarnation(postgres, "node"))
        for wanted in (
            UserFilter(),
            UserFilter("an"),
            UserFilter("an", status="active"),
            UserFilter(talk.a),
            UserFilter(status="suspended"),
            UserFilter(admins=True),
        ):
            await stores.people.find(wanted, None, 20)
            await stores.people.find(wanted, (1_795_000_000_000_000, talk.a), 20)
        await stores.people.counts(talk.a)
        for status in _OPEN_OR_ANY:
            await stores.reports.reports(ReportFilter(status=status), None, 20)
            await stores.appeals.appeals(AppealFilter(status=status), None, 20)
        await stores.reports.reports(ReportFilter(status=None, reporter=talk.a), None, 20)
        await stores.reports.reports(ReportFilter(status=None, about=talk.a), None, 20)
        await stores.appeals.appeals(AppealFilter(status=None, user=talk.a), None, 20)
        await stores.appeals.measures(talk.a)
        for asked in (
            ActionFilter(),
            ActionFilter(admin=talk.a),
            ActionFilter(target=talk.a),
            ActionFilter(about=talk.a),
            ActionFilter(since=clock.now()),
        ):
            await stores.audit.actions(asked, None, 20)
        await stores.standing.is_admin(talk.a)
        await stores.standing.suspension_of(talk.a)
        await postgres.fetch(lambda _: None, "select pg_stat_force_next_flush()")
        await postgres.fetchval(int, "select 1")
        assert await postgres.fetchval(int, asking, tables) == before


async def test_a_list_by_status_or_action_reads_what_it_shows(database_url: str, postgres: Postgres) -> None:
    """Of 200,000 rows it read all that were filed before the first that fits: 28 ms for nothing."""
    for table, columns, values in (
        ("reports", "id, reporter_id, kind, target_id, reason, snapshot, created_at, status, decided_at",
         "gen_random_uuid(), gen_random_uuid(), 'user', gen_random_uuid(), 'spam', '{}', t, 'dismissed', t"),
        ("appeals", "id, measure_id, user_id, body, created_at, status, decided_at",
         "gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '', t, 'upheld', t"),
        ("admin_actions", "id, at, actor, action, target_kind, target_id",
         "gen_random_uuid(), t, 'operator', 'grant_admin', 'user', gen_random_uuid()"),
    ):  # fmt: skip
        moments = "select now() - n * interval '1 second' as t from generate_series(1, 3000) n"
        await postgres.execute(f"insert into {table} ({columns}) select {values} from ({moments}) moments")
        await postgres.execute(f"analyze {table}")
    before = await rows_read(database_url)
    async with open_postgres(database_url, connections=1) as asking:
        stores = postgres_moderation(asking, await begin_incarnation(asking, "node"))
        for status in ("open", "content_removed"):
            assert await stores.reports.reports(ReportFilter(status=status), None, 20) == ([], None)
        for ruling in ("open", "granted"):
            assert await stores.appeals.appeals(AppealFilter(status=ruling), None, 20) == ([], None)
        assert await stores.audit.actions(ActionFilter(action="revoke_admin"), None, 20) == ([], None)
        await asking.fetch(lambda _: None, "select pg_stat_force_next_flush()")
        await asking.fetchval(int, "select 1")
    assert await rows_read(database_url) - before < 100


async def rows_read(url: str) -> int:
    async with open_postgres(url, connections=1) as asking:
        sql = """select (select sum(idx_tup_read) from pg_stat_user_indexes where relname = any($1::text[]))::bigint
                        + (select sum(seq_tup_read) from pg_stat_user_tables where relname = any($1::text[]))::bigint"""
        reads = await asking.fetchval(int, sql, ["reports", "appeals", "admin_actions"])
    assert reads is not None
    return reads
