"""Tickets at the door: which credential counts, what is refused before the upgrade, what only the actor knows."""

import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import trio

from actors.shapes.ids import LoginId
from actors.shapes.times import WallTime
from actors.tickets import TicketAuthority
from realtime.link import Admitted, Refused, UpgradeRequest
from realtime.reception import FrontDoor
from realtime.session import Session
from tests.actors.small_node import SmallNode, settled, small_node
from tests.realtime.small_gate import FakeLink, SmallGate


class Guest:
    """One connection that was let in."""

    def __init__(self, admitted: Admitted) -> None:
        self.authenticated = admitted.authenticated
        self.link = FakeLink()
        self.peer = admitted.seat(self.link)
        assert isinstance(self.peer, Session)
        self.session: Session = self.peer

    async def silent(self) -> list[str]:
        """What it is told when it says nothing for 250 ms."""
        self.session.idle_hello()
        await settled()
        return [frame["type"] for frame in self.link.take()]


class House:
    def __init__(self, node: SmallNode) -> None:
        self.node, self.gate = node, SmallGate(node)
        self.ann = node.add_user("ann")
        self.login = LoginId(node.new_id())
        self.door = FrontDoor(self.gate.gate, lambda: "req_1")

    def knock(self, query: str, token: str | None = None, path: str = "/ws") -> Guest | str:
        """Let in, or the status and code of the refusal."""
        headers = {} if token is None else {b"authorization": f"Bearer {token}".encode()}
        answer = self.door.upgrade(UpgradeRequest(path, query, headers, "192.0.2.1"))
        if isinstance(answer, Refused):
            return f"{answer.status} {json.loads(answer.body)['error']['code']}"
        return Guest(answer)

    def enter(self, query: str, token: str | None = None, path: str = "/ws") -> Guest:
        guest = self.knock(query, token, path)
        assert isinstance(guest, Guest), guest
        return guest

    def ticket(self) -> str:
        """As `POST /auth/ticket` makes it."""
        return self.gate.tickets.issue(self.ann, self.login, self.node.clock.now())

    def token(self) -> str:
        return self.gate.token(self.ann, self.login)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with small_node() as node:
        yield House(node)


@pytest.mark.parametrize("path", ["/ws", "/api/v1/ws"])
async def test_a_ticket_signs_a_connection_in(autojump_clock: object, house: House, path: str) -> None:
    guest = house.enter(f"ticket={house.ticket()}", path=path)
    assert guest.authenticated
    assert (guest.session.user_id, guest.session.login_id) == (house.ann, house.login)
    assert await guest.silent() == ["connected", "caught_up"]


async def test_a_hello_with_more_in_it_may_come_first(autojump_clock: object, house: House) -> None:
    guest = house.enter(f"ticket={house.ticket()}")
    hello = {"type": "hello", "ref": "h", "payload": {"device_id": "phone", "attempt": 3, "cursor": "c"}}
    guest.session.text(json.dumps(hello).encode())
    await settled()
    connected, _ = guest.link.take()
    assert (connected["type"], connected["ref"], connected["payload"]["user_id"]) == ("connected", "h", house.ann)


async def test_it_is_good_once_and_the_second_is_sent_for_another(autojump_clock: object, house: House) -> None:
    query = f"ticket={house.ticket()}"
    first, second = house.enter(query), house.enter(query)
    assert await first.silent() == ["connected", "caught_up"]
    assert await second.silent() == []
    assert second.link.closed == [(4401, "ticket")]
    assert first.link.code is None


async def test_whoever_comes_in_the_last_moment_may_still_say_hello(autojump_clock: object, house: House) -> None:
    query = f"ticket={house.ticket()}"
    await trio.sleep(29.99)
    guest = house.enter(query)
    await trio.sleep(0.25)
    assert await guest.silent() == ["connected", "caught_up"]


async def test_an_expired_ticket_is_refused_in_plain_http(autojump_clock: object, house: House) -> None:
    query = f"ticket={house.ticket()}"
    await trio.sleep(30)
    assert house.knock(query) == "401 INVALID_TOKEN"


async def test_a_ticket_of_another_secret_is_refused(autojump_clock: object, house: House) -> None:
    text = TicketAuthority("another").issue(house.ann, house.login, WallTime(house.node.clock.now()))
    assert house.knock(f"ticket={text}") == "401 INVALID_TOKEN"


@pytest.mark.parametrize(
    "query", ["ticket=", "ticket", "ticket=x", "ticket=%00", "ticket=%F0%9F%8E%AB", "a=b&ticket=&c"]
)
async def test_what_is_no_ticket_is_refused(autojump_clock: object, house: House, query: str) -> None:
    assert house.knock(query) == "401 INVALID_TOKEN"


async def test_two_tickets_are_one_too_many(autojump_clock: object, house: House) -> None:
    first, second = house.ticket(), house.ticket()
    assert house.knock(f"ticket={first}&ticket={second}") == "401 INVALID_TOKEN"


async def test_it_may_stand_anywhere_in_the_query_and_be_escaped(autojump_clock: object, house: House) -> None:
    text = house.ticket()
    assert house.enter(f"v=1&%74icket={quote(text, safe='')}&x=%zz").authenticated


async def test_a_revoked_login_is_refused_with_its_ticket(autojump_clock: object, house: House) -> None:
    query = f"ticket={house.ticket()}"
    house.node.revocations.add([house.login])
    assert house.knock(query) == "401 INVALID_TOKEN"


async def test_a_login_revoked_on_the_way_is_told_to_stop(autojump_clock: object, house: House) -> None:
    guest = house.enter(f"ticket={house.ticket()}")
    house.node.revocations.add([house.login])
    assert await guest.silent() == []
    assert guest.link.code == 4503


async def test_the_header_counts_first_and_leaves_the_ticket_unspent(autojump_clock: object, house: House) -> None:
    query = f"ticket={house.ticket()}"
    assert await house.enter(query, house.token()).silent() == ["connected", "caught_up"]
    assert await house.enter(query).silent() == ["connected", "caught_up"]
    assert house.knock(query, "not.a.token") == "401 INVALID_TOKEN"  # and no look at the ticket
    assert house.enter("ticket=nonsense", house.token()).authenticated


@pytest.mark.parametrize("name", ["token", "access_token", "jwt", "Ticket", "authorization"])
async def test_an_access_token_in_a_url_is_nothing(autojump_clock: object, house: House, name: str) -> None:
    guest = house.enter(f"{name}={house.token()}")
    assert not guest.authenticated
    guest.session.text(b'{"type":"ping","ref":1}')
    assert guest.link.code == 4500


async def test_an_access_token_is_no_ticket(autojump_clock: object, house: House) -> None:
    assert house.knock(f"ticket={house.token()}") == "401 INVALID_TOKEN"


async def test_a_token_of_somebody_else_does_not_get_along_with_it(autojump_clock: object, house: House) -> None:
    guest = house.enter(f"ticket={house.ticket()}")
    bob = house.gate.token(house.node.add_user("bob"))
    guest.session.text(json.dumps({"type": "hello", "payload": {"token": bob}}).encode())
    assert guest.link.code == 4500
