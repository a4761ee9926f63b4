"""The web app on real actors, for tests: on rows in memory, or on a real database."""

import functools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import httpx
import pytest
import trio
from msgspec import Struct

import webapi.app
from actors.account import AccountDesk
from actors.conversation import ConversationActor, Conversations, ConversationWorld, Users
from actors.fingerprints import Fingerprints
from actors.hashing import HashWork, perform
from actors.kinds import ActorKind
from actors.limiter import Limiter, LimiterOptions
from actors.loading import Loader
from actors.metrics import Metrics
from actors.moderation import ModerationDesk
from actors.moderation_ports import Moderation
from actors.passwords import PasswordOptions, Passwords
from actors.ports import AccountStore, ConversationStore, Health, Journal, KeyStore, UserStore
from actors.reading import Readers
from actors.recital import Library
from actors.revocations import RevokedLogins
from actors.sealing import Seals
from actors.shapes.ids import ConversationId, LoginId, MessageId, SocketId, UserId
from actors.shapes.times import Seconds
from actors.shapes.users import Connect, Ending, Profile
from actors.sign_in import SignInDesk, SignInWorld
from actors.sign_in_ports import IdentityProvider, SignInStore
from actors.system import ActorSystem
from actors.tickets import TicketAuthority
from actors.tokens import TokenAuthority
from actors.user import Heads, UserActor, UserWorld
from storage.memory.accounts import MemoryAccounts
from storage.memory.conversations import MemoryConversations
from storage.memory.idempotency_keys import MemoryKeys
from storage.memory.journal import MemoryJournal
from storage.memory.moderation import memory_moderation
from storage.memory.notes import MemoryNotes
from storage.memory.sign_in import MemorySignIn
from storage.memory.tables import MemoryTables
from storage.memory.tickets import MemoryTickets
from storage.memory.users import MemoryUsers
from tests.clocks import HandClock
from tests.webapi.judge import Judge, UndeclaredError, the_judge
from webapi.answering import Answering, Sent
from webapi.answers import Answer
from webapi.app import WebApp, create_app
from webapi.call import Call
from webapi.examiner import Examiner
from webapi.routing import RouteTable
from webapi.services import Services, WebOptions

PASSWORD = "correct horse battery staple"
SECRET = "a secret of the tests"
# The least that libsodium takes: what it costs to hash a password is not what these tests are about.
QUICK = PasswordOptions(passes=1, memory=8_192)

# It never changes, and werkzeug compiles two functions for each of its rules: half of what a test of a route took.
same_table = functools.cache(RouteTable)


async def hashed_in_a_thread(work: HashWork) -> str:
    """A process for each of a thousand tests would cost more than what it keeps off the loop."""
    return await trio.to_thread.run_sync(perform, work)


class Stores(Struct, frozen=True):
    accounts: AccountStore
    users: UserStore
    conversations: ConversationStore
    journal: Journal
    sign_in: SignInStore
    keys: KeyStore
    moderation: Moderation


class OpenSocket:
    """A connection that remembers why it was closed."""

    def __init__(self, number: int, login: str) -> None:
        self.id = SocketId(number)
        self.login_id = LoginId(login)
        self.ended: list[Ending] = []

    def deliver(self, frame: object) -> None: ...

    def end(self, ending: Ending) -> None:
        self.ended.append(ending)


class FinePart:
    """A part of the node whose health a test can change."""

    def __init__(self, name: str, state: str = "ok", serves: bool = True) -> None:
        self.name = name
        self.state = state
        self.serves = serves
        self.hangs = False
        self.fault: Exception | None = None
        self.looks = 0

    async def check(self) -> tuple[str, float, bool]:
        self.looks += 1
        if self.hangs:
            await trio.sleep_forever()
        if self.fault is not None:
            raise self.fault
        return self.state, 0.0015, self.serves


class Switch:
    """Whether the node takes new clients."""

    on = True


class Node:
    """One web app with what it stands on within a test's reach."""

    def __init__(self, services: Services, clock: HandClock, stores: Stores, users: Users) -> None:
        self.services = services
        self.stores = stores
        self.clock = clock
        # None: a real database
        self.tables = stores.journal.tables if isinstance(stores.journal, MemoryJournal) else None
        self.users = users
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(webapi.app, "RouteTable", same_table)
            self.app: WebApp = create_app(services)
        self.judge: Judge | None = the_judge()  # None: this test makes answers that no route gives
        self.undeclared: list[str] = []
        self.answer_with(self.app.answering)
        self.switch = Switch()
        self.tokens = services.tokens
        self.metrics = services.metrics
        self.parts: dict[str, FinePart] = {p.name: p for p in services.health.parts if isinstance(p, FinePart)}
        self._numbers = 0

    def answer_with(self, answering: Answering) -> None:
        """Every answer of every test is looked at on its way out."""
        self._sent = answering.sent
        answering.sent = self._judged  # type: ignore[method-assign]
        self.app.answering = answering

    def _judged(self, call: Call, answer: Answer) -> Sent:
        sent = self._sent(call, answer)
        if self.judge is not None:
            try:
                self.judge.check(call, sent)
            except UndeclaredError as error:
                self.undeclared.append(str(error))
        return sent

    def client(
        self, token: str | None = None, address: str = "192.0.2.1", prefix: str = "/api/v1"
    ) -> httpx.AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(app=self.app, client=(address, 50_000))  # type: ignore[arg-type] # hypercorn's types
        return httpx.AsyncClient(transport=transport, base_url=f"http://kith.test{prefix}", headers=headers)

    async def person(self, name: str = "", email: str | None = None) -> "Person":
        """Somebody who has registered, from an address of his own so that nobody's limits are his."""
        self._numbers += 1
        name = name or f"user{self._numbers}"
        address = f"10.0.{self._numbers // 250}.{self._numbers % 250 + 1}"
        body = {"email": email or f"{name}@example.org", "password": PASSWORD, "username": name}
        async with self.client(address=address) as client:
            answer = await client.post("/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        return Person(self, answer.json(), address)


class Person:
    """A registered user and his clients."""

    def __init__(self, node: Node, signed_in: dict[str, Any], address: str) -> None:
        self.id = UserId(signed_in["user_id"])
        self.name: str = signed_in["username"]
        self.email: str = signed_in["email"]
        self.token: str = signed_in["access_token"]
        self.refresh_token: str = signed_in["refresh_token"]
        self.address = address
        self.node = node
        self.client = node.client(self.token, address)

    @property
    def login(self) -> LoginId:
        return self.node.tokens.verify(self.token, self.node.clock.now()).login_id

    async def socket(self, number: int = 1) -> OpenSocket:
        """Open a connection as the gateway would."""
        socket = OpenSocket(number, self.login)
        await self.node.users.ask(self.id, Connect(socket, None, 0), Seconds(5.0))
        return socket

    async def chat_with(self, other: "Person") -> ConversationId:
        answer = await self.client.post("/conversations", json={"type": "direct", "member_ids": [other.id]})
        assert answer.status_code in (200, 201), answer.text
        return ConversationId(answer.json()["id"])

    async def say(self, chat: ConversationId, text: str) -> dict[str, Any]:
        answer = await self.client.post(f"/conversations/{chat}/messages", json={"text": text})
        assert answer.status_code == 201, answer.text
        sent: dict[str, Any] = answer.json()
        return sent


def memory_stores(clock: HandClock) -> Stores:
    tables = MemoryTables()
    accounts = MemoryAccounts(tables, clock)
    return Stores(
        accounts,
        MemoryUsers(tables),
        MemoryConversations(tables),
        MemoryJournal(tables),
        MemorySignIn(accounts),
        MemoryKeys(tables),
        memory_moderation(tables, accounts).stores,
    )


@asynccontextmanager
async def open_node(
    stores: Stores,
    clock: HandClock,
    limits: LimiterOptions | None = None,
    provider: IdentityProvider | None = None,
    secrets: tuple[str, str | None] = (SECRET, None),
) -> AsyncIterator[Node]:
    """Real actors between the web app and the stores."""
    metrics, tokens = Metrics(), TokenAuthority(SECRET)
    revocations = RevokedLogins(clock)
    seals = Seals(*secrets)
    signing_in = SignInWorld(stores.sign_in, seals, clock)
    heads: Loader[UserId, Heads] = Loader(stores.users.heads)
    profiles: Loader[UserId, Profile] = Loader(stores.users.profiles)
    readers, system = Readers(), ActorSystem(clock)
    world = UserWorld(
        unread=stores.conversations.unread,
        heads=heads,
        revocations=revocations,
        desk=lambda activation: SignInDesk(
            activation.id,
            activation,
            signing_in,
            ModerationDesk(
                activation.id,
                activation,
                stores.moderation,
                AccountDesk(activation.id, activation, stores.accounts, stores.journal, clock),
            ),
        ),
        renamed=_nobody_cares,
        connections_most=20,
        clock=clock,
        notes=MemoryNotes(),
        tickets=MemoryTickets(),
    )
    users: Users = system.register(
        ActorKind(
            "user", stores.users.load, lambda activation, state: UserActor(world, activation, state), Seconds(60.0)
        )
    )
    library = Library(stores.conversations, readers, users.is_pinned)
    street = ConversationWorld(clock, stores.journal, stores.conversations, users, library, _new_message)
    conversations: Conversations = system.register(
        ActorKind(
            "conversation",
            stores.conversations.load,
            lambda activation, state: ConversationActor(street, activation, state),
            Seconds(60.0),
        )
    )
    switch = Switch()
    health: list[Health] = [FinePart("database"), FinePart("redis", "not configured"), FinePart("journal")]
    services = Services(
        users=users,
        conversations=conversations,
        accounts=stores.accounts,
        user_store=stores.users,
        profiles=profiles,
        conversation_store=stores.conversations,
        clock=clock,
        limiter=Limiter(clock, limits or LimiterOptions(), metrics),
        tokens=tokens,
        tickets=TicketAuthority("a secret of the tests"),
        revocations=revocations,
        passwords=Passwords(QUICK, metrics, perf_counter, hashed_in_a_thread),
        sign_in=stores.sign_in,
        moderation=stores.moderation,
        seals=seals,
        keys=stores.keys,
        fingerprints=Fingerprints(SECRET),
        provider=provider,
        metrics=metrics,
        health=Examiner(health, clock),
        new_id=lambda: str(uuid.uuid4()),
        client_address=lambda peer, forwarded: forwarded.decode() or peer,
        serving=lambda: switch.on,
        options=WebOptions(health_timeout=Seconds(0.05), body_timeout=Seconds(0.2)),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heads.run)
        nursery.start_soon(profiles.run)
        nursery.start_soon(readers.run)
        await nursery.start(system.run)
        node = Node(services, clock, stores, users)
        node.switch = switch
        yield node
        nursery.cancel_scope.cancel()
    assert not node.undeclared, "answers that the document does not know:\n" + "\n".join(node.undeclared)


async def _nobody_cares(user: UserId, name: str) -> None: ...


def _new_message() -> MessageId:
    return MessageId(str(uuid.uuid4()))


OpenNode = Callable[..., Any]
