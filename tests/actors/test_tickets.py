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
from actors.shapes.users import Connect, Ending, TicketId, TicketStub
from actors.tickets import TicketAuthority
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
    opened = AUTHORITY.open(AUTHORITY.issue(USER, LOGIN, NOW), WallTime(NOW + 29_999))
    assert opened.stub.expires_at == opened.claims.expires_at
    assert (opened.claims.user_id, opened.claims.login_id) == (USER, LOGIN)
    assert (opened.claims.issued_at, opened.claims.expires_at) == (NOW, NOW + 30_000)


def test_it_ends_after_thirty_seconds() -> None:
    text = AUTHORITY.issue(USER, LOGIN, NOW)
    assert refused(text, WallTime(NOW + 30_000))


def test_two_tickets_of_one_moment_differ() -> None:
    made = [AUTHORITY.issue(USER, LOGIN, NOW) for _ in range(2)]
    assert len(set(made)) == len({AUTHORITY.open(text, NOW).stub.id for text in made}) == 2


def test_it_fits_into_a_url_and_tells_nobody_who_it_is() -> None:
    text = AUTHORITY.issue(USER, LOGIN, NOW)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")
    opened = base64.urlsafe_b64decode(text)
    assert bytes.fromhex(USER.replace("-", "")) not in opened
    assert bytes.fromhex(LOGIN.replace("-", "")) not in opened


def test_the_previous_secret_still_opens_and_no_other() -> None:
    text = TicketAuthority("an older secret").issue(USER, LOGIN, NOW)
    assert TicketAuthority("a secret", "an older secret").open(text, NOW).claims.user_id == USER
    assert refused(text)
    assert refused(text, authority=TicketAuthority("a secret", "another"))


@pytest.mark.parametrize(
    "text", ["", "x", "A" * 107, "A" * 108, "A" * 109, "=" * 108, "é" * 108, "A" * 107 + "\n", "+" * 108]
)
def test_what_is_no_ticket(text: str) -> None:
    assert refused(text)


@given(st.integers(0, 80), st.integers(0, 7))
def test_one_other_bit_anywhere_makes_it_worthless(place: int, bit: int) -> None:
    text = AUTHORITY.issue(USER, LOGIN, NOW)
    data = bytearray(base64.urlsafe_b64decode(text))
    data[place] ^= 1 << bit
    assert refused(base64.urlsafe_b64encode(bytes(data)).decode())


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=108, max_size=108))
def test_nothing_made_up_is_opened(text: str) -> None:
    assert refused(text)


def test_every_ticket_has_one_spelling() -> None:
    """81 bytes are 108 characters without spare bits: each other character says other bytes."""
    text = AUTHORITY.issue(USER, LOGIN, NOW)
    others = {text[:-1] + last for last in string.ascii_letters + string.digits + "-_"} - {text}
    assert len(others) == 63
    assert all(refused(other) for other in others)


# -- as the user's actor spends it ------------------------------------------------------------------------------------


def stub_of(node: SmallNode, number: int) -> TicketStub:
    return TicketStub(TicketId(b"%024d" % number), WallTime(node.clock.now() + 30_000))


async def come(node: SmallNode, user: UserId, login: LoginId, number: int = 1) -> list[Ending]:
    ear = Ear(SocketId(int(node.new_id()[-12:], 16)), login)
    node.users.tell(user, Connect(ear, None, None, stub_of(node, number)), Answer())
    await trio.sleep(10)  # longer than an actor that crashed is left alone
    return ear.ended


async def test_the_first_who_comes_is_let_in_and_no_second(autojump_clock: object) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        assert await come(node, user, login) == []
        assert await come(node, user, login) == [Ending.TICKET]
        assert await come(node, user, login, 2) == []


async def test_an_actor_that_crashed_has_not_forgotten_what_was_spent(autojump_clock: object) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        assert await come(node, user, login) == []
        node.users.tell(user, object())  # type: ignore[arg-type] # a bug
        await settled()
        assert await come(node, user, login) == [Ending.TICKET]


async def test_who_could_not_be_let_in_has_spent_it_all_the_same(autojump_clock: object) -> None:
    """The world refused after the look at the ticket: the client comes back with a new one, as after every end."""
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        node.user_store.failures.append(RuntimeError("the store is away"))
        assert await come(node, user, login) == []  # refused, and not by the user's actor
        assert await come(node, user, login) == [Ending.TICKET]


@pytest.mark.parametrize("status", ["suspended", "deleted"])
async def test_who_may_not_come_in_spends_none(autojump_clock: object, status: str) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        node.tables.users[user].status = status  # type: ignore[assignment]
        assert await come(node, user, login) == [Ending.REVOKED]
        assert await come(node, user, login) == [Ending.REVOKED]


async def test_a_revoked_login_comes_in_with_none(autojump_clock: object) -> None:
    async with small_node() as node:
        user, login = node.add_user("ann"), LoginId(node.new_id())
        node.revocations.add([login])
        assert await come(node, user, login) == [Ending.REVOKED]
