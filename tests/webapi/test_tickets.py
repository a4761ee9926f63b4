"""`POST /auth/ticket`: what it answers, who pays, and that his actor takes it once."""

import trio

from actors.asking import Question
from actors.shapes.ids import SocketId
from actors.shapes.times import Seconds
from actors.shapes.users import CloseLogins, Connect, Connected, Ending, TicketStub
from tests.webapi.node import Node, OpenSocket, Person
from tests.webapi.test_accounts import code


async def come(person: Person, ticket: TicketStub, number: int) -> list[Ending]:
    """As a session does whose upgrade carried this ticket."""
    socket = OpenSocket(number, person.login)
    assert socket.id == SocketId(number)
    asked = Question("user")
    person.node.users.tell(person.id, Connect(socket, None, None, ticket), asked)
    with trio.move_on_after(0.2 if number > 1 else 5.0):  # whoever is turned away is not answered
        assert isinstance(await asked.wait(Seconds(5.0)), Connected)
    return socket.ended


async def test_a_ticket_is_for_the_login_that_asked(node: Node, anna: Person) -> None:
    answer = await anna.client.post("/auth/ticket")
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"ticket", "expires_in"}
    assert body["expires_in"] == 30
    ticket = node.services.tickets.open(body["ticket"], node.clock.now())
    assert (ticket.claims.user_id, ticket.claims.login_id) == (anna.id, anna.login)
    assert ticket.claims.expires_at == node.clock.now() + 30_000
    assert await come(anna, ticket.stub, 1) == []
    assert await come(anna, ticket.stub, 2) == [Ending.TICKET]


async def test_a_body_is_not_needed_and_not_read(node: Node, anna: Person) -> None:
    assert (await anna.client.post("/auth/ticket", json={"expires_in": 10**9})).json()["expires_in"] == 30


async def test_every_ticket_is_another(node: Node, anna: Person) -> None:
    tickets = {(await anna.client.post("/auth/ticket")).json()["ticket"] for _ in range(5)}
    assert len(tickets) == 5


async def test_without_a_token_there_is_none(node: Node) -> None:
    async with node.client() as nobody:
        assert code(await nobody.post("/auth/ticket")) == "401 MISSING_AUTH_HEADER"
    async with node.client("not.a.token") as nobody:
        assert code(await nobody.post("/auth/ticket")) == "401 INVALID_TOKEN"


async def test_a_ticket_is_no_access_token(node: Node, anna: Person) -> None:
    ticket = (await anna.client.post("/auth/ticket")).json()["ticket"]
    async with node.client(ticket) as client:
        assert code(await client.get("/users/me")) == "401 INVALID_TOKEN"


async def test_the_bucket_of_requests_pays(node: Node, anna: Person, ben: Person) -> None:
    for _ in range(100):
        assert (await anna.client.post("/auth/ticket")).status_code == 201
    refused = await anna.client.post("/auth/ticket")
    assert code(refused) == "429 RATE_LIMIT_EXCEEDED"
    assert (await ben.client.post("/auth/ticket")).status_code == 201


async def test_a_login_that_was_ended_gets_none(node: Node, anna: Person) -> None:
    await node.users.ask(anna.id, CloseLogins([anna.login]), Seconds(1.0))
    assert code(await anna.client.post("/auth/ticket")) == "401 INVALID_TOKEN"
