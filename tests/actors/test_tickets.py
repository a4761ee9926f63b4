"""Tickets: what does not come from us is not opened, what was spent or forgotten is not spent again."""

import base64
import string

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, SocketId, UserId
from actors.shapes.times import WallTime
from actors.shapes.users import Connect, Ending, IssueTicket, TicketId
from actors.tickets import GRACE_MS, OPEN_MOST, OpenTickets, TicketAuthority
from tests.actors.small_node import Answer, Ear, SmallNode, settled, small_node

NOW = WallTime(1_800_000_000_000)
USER = UserId("0190aaaa-0000-7000-8000-000000000001")
LOGIN = LoginId("0190aaaa-0000-7000-8000-000000000002")
AUTHORITY = TicketAuthority("a secret")


def refused(text: str, now: WallTime = NOW, authority: TicketAuthority = AUTHORITY) -> bool:
    with pytest.raises(KithError) as caught:
        authority.open(text, now)
    return caught.value.code is ErrorCode.INVALID_TOKEN


# -- as it travels ----------------------------------------------------------------------------------------------------


def test_a_ticket_says_who_comes_by_which_login_and_until_when() -> None:
    text, made = AUTHORITY.issue(USER, LOGIN, NOW)
    opened = AUTHORITY.open(text, WallTime(NOW + 29_999))
    assert opened == made
    assert (opened.claims.user_id, opened.claims.login_id) == (USER, LOGIN)
    assert (opened.claims.issued_at, opened.claims.expires_at) == (NOW, NOW + 30_000)


def test_it_ends_after_thirty_seconds() -> None:
    text, _ = AUTHORITY.issue(USER, LOGIN, NOW)
    assert refused(text, WallTime(NOW + 30_000))


def test_two_tickets_of_one_moment_differ() -> None:
    made = [AUTHORITY.issue(USER, LOGIN, NOW) for _ in range(2)]
    assert len({text for text, _ in made}) == len({ticket.id for _, ticket in made}) == 2


def test_it_fits_into_a_url_and_tells_nobody_who_it_is() -> None:
    text, _ = AUTHORITY.issue(USER, LOGIN, NOW)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")
    opened = base64.urlsafe_b64decode(text)
    assert bytes.fromhex(USER.replace("-", "")) not in opened
    assert bytes.fromhex(LOGIN.replace("-", "")) not in opened


def test_the_previous_secret_still_opens_and_no_other() -> None:
    text, ticket = TicketAuthority("an older secret").issue(USER, LOGIN, NOW)
    assert TicketAuthority("a secret", "an older secret").open(text, NOW) == ticket
    assert refused(text)
    assert refused(text, authority=TicketAuthority("a secret", "another"))


@pytest.mark.parametrize(
    "text", ["", "x", "A" * 107, "A" * 108, "A" * 109, "=" * 108, "é" * 108, "A" * 107 + "\n", "+" * 108]
)
def test_what_is_no_ticket(text: str) -> None:
    assert refused(text)


@given(st.integers(0, 80), st.integers(0, 7))
def test_one_other_bit_anywhere_makes_it_worthless(place: int, bit: int) -> None:
    text, _ = AUTHORITY.issue(USER, LOGIN, NOW)
    data = bytearray(base64.urlsafe_b64decode(text))
    data[place] ^= 1 << bit
    assert refused(base64.urlsafe_b64encode(bytes(data)).decode())


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=108, max_size=108))
def test_nothing_made_up_is_opened(text: str) -> None:
    assert refused(text)


def test_every_ticket_has_one_spelling() -> None:
    """81 bytes are 108 characters without spare bits: each other character says other bytes."""
    text, _ = AUTHORITY.issue(USER, LOGIN, NOW)
    others = {text[:-1] + last for last in string.ascii_letters + string.digits + "-_"} - {text}
    assert len(others) == 63
    assert all(refused(other) for other in others)


# -- as the user's actor remembers it --------------------------------------------------------------------------------


def id_of(number: int) -> TicketId:
    return TicketId(b"%024d" % number)


def test_a_ticket_is_spent_once() -> None:
    tickets = OpenTickets()
    tickets.note(id_of(1), WallTime(NOW + 30_000), NOW)
    assert not tickets.spend(id_of(2))
    assert tickets.spend(id_of(1))
    assert not tickets.spend(id_of(1))


def test_so_many_are_remembered_and_the_oldest_goes() -> None:
    tickets = OpenTickets()
    for number in range(OPEN_MOST + 1):
        tickets.note(id_of(number), WallTime(NOW + 30_000), NOW)
    assert len(tickets) == OPEN_MOST
    assert not tickets.spend(id_of(0))
    assert all(tickets.spend(id_of(number)) for number in range(1, OPEN_MOST + 1))


def test_what_has_expired_is_forgotten_and_a_moment_of_grace_is_kept() -> None:
    """Somebody may come through the door in the last moment and say hello a little later."""
    tickets = OpenTickets()
    tickets.note(id_of(1), WallTime(NOW + 30_000), NOW)
    tickets.note(id_of(2), WallTime(NOW + 60_000), WallTime(NOW + 30_000 + GRACE_MS - 1))
    assert len(tickets) == 2
    tickets.note(id_of(3), WallTime(NOW + 60_000), WallTime(NOW + 30_000 + GRACE_MS))
    assert len(tickets) == 2
    assert not tickets.spend(id_of(1))


async def issue(node: SmallNode, user: UserId, login: LoginId, number: int = 1) -> Answer:
    answer = Answer()
    node.users.tell(user, IssueTicket(id_of(number), login, WallTime(node.clock.now() + 30_000)), answer)
    await settled()
    return answer


async def come(node: SmallNode, user: UserId, login: LoginId, number: int = 1) -> list[Ending]:
    ear = Ear(SocketId(int(node.new_id()[-12:], 16)), login)
    node.users.tell(user, Connect(ear, None, None, id_of(number)), Answer())
    await trio.sleep(10)  # longer than an actor that crashed is left alone
    return ear.ended


async def test_the_first_who_comes_is_let_in_and_no_second(autojump_clock: object) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        assert (await issue(node, user, login)).only is None
        assert await come(node, user, login) == []
        assert await come(node, user, login) == [Ending.TICKET]


async def test_somebody_else_s_actor_does_not_know_it(autojump_clock: object) -> None:
    async with small_node() as node:
        ann, bob, login = node.add_user("ann"), node.add_user("bob"), LoginId(node.new_id())
        await issue(node, ann, login)
        assert await come(node, bob, login) == [Ending.TICKET]
        assert await come(node, ann, login) == []


async def test_an_actor_that_crashed_has_forgotten_its_tickets(autojump_clock: object) -> None:
    """Void is what they may become, and never good for a second time."""
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        await issue(node, user, login, 1)
        await issue(node, user, login, 2)
        assert await come(node, user, login, 1) == []
        node.users.tell(user, object())  # type: ignore[arg-type] # a bug
        await settled()
        assert await come(node, user, login, 1) == [Ending.TICKET]
        assert await come(node, user, login, 2) == [Ending.TICKET]


async def test_who_could_not_be_let_in_has_spent_it_all_the_same(autojump_clock: object) -> None:
    """The world refused after the look at the ticket: the client comes back with a new one, as after every end."""
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        await issue(node, user, login)
        node.user_store.failures.append(RuntimeError("the store is away"))
        assert await come(node, user, login) == []  # refused, and not by the user's actor
        assert await come(node, user, login) == [Ending.TICKET]


@pytest.mark.parametrize("status", ["suspended", "deleted"])
async def test_who_may_not_come_in_gets_no_ticket(autojump_clock: object, status: str) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        node.tables.users[user].status = status  # type: ignore[assignment]
        assert (await issue(node, user, login)).only.code is ErrorCode.INVALID_TOKEN


async def test_a_revoked_login_gets_no_ticket_and_comes_in_with_none(autojump_clock: object) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        await issue(node, user, login)
        node.revocations.add([login])
        assert (await issue(node, user, login, 2)).only.code is ErrorCode.INVALID_TOKEN
        assert await come(node, user, login) == [Ending.REVOKED]
