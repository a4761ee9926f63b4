"""What the web app is given: everything it asks, and every number it obeys."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from actors.fingerprints import Fingerprints
from actors.limiter import Limiter
from actors.loading import Loader
from actors.metrics import Metrics
from actors.moderation_ports import Moderation
from actors.passwords import Passwords
from actors.ports import AccountStore, Clock, ConversationStore, KeyStore, Revocations, UserStore
from actors.sealing import Seals
from actors.shapes.conversations import ConversationCommand
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import Seconds
from actors.shapes.users import Profile, UserCommand
from actors.sign_in_ports import IdentityProvider, SignInStore
from actors.tickets import TicketAuthority
from actors.tokens import TokenAuthority
from webapi.examiner import Examiner

Id = TypeVar("Id", contravariant=True)
Command = TypeVar("Command", contravariant=True)


class Asks(Protocol[Id, Command]):
    """As much of a directory of actors as the web app needs."""

    async def ask(self, id: Id, command: Command, timeout: Seconds) -> Any: ...  # noqa: ASYNC109 - not a cancellation: the work goes on


class WebOptions(Struct, frozen=True):
    ask_timeout: Seconds = Seconds(10.0)
    body_limit: int = 1024 * 1024  # bytes
    stranger_body_limit: int = 64 * 1024  # bytes, on routes for who is not signed in
    body_timeout: Seconds = Seconds(20.0)
    head_limit: int = 16 * 1024  # bytes of path, query and headers
    health_timeout: Seconds = Seconds(2.0)
    refresh_lifetime: Seconds = Seconds(30 * 86_400.0)
    gzip_from: int = 4_096  # bytes
    cors_origins: tuple[str, ...] = ()  # web pages of other origins that may call; "*" is all
    public_is_https: bool = False  # clients come by TLS, whatever we see of it


class Services(Struct, frozen=True):
    """Wired once per node.

    `client_address` tells the client's address from the peer's and X-Forwarded-For; `serving` is false while the
    node starts or drains.
    """

    users: Asks[UserId, UserCommand]
    conversations: Asks[ConversationId, ConversationCommand]
    accounts: AccountStore
    user_store: UserStore
    profiles: Loader[UserId, Profile]  # many requests of one moment are one query
    conversation_store: ConversationStore
    clock: Clock
    limiter: Limiter
    tokens: TokenAuthority
    tickets: TicketAuthority
    moderation: Moderation
    revocations: Revocations
    passwords: Passwords
    sign_in: SignInStore
    seals: Seals
    keys: KeyStore
    fingerprints: Fingerprints  # of requests with an Idempotency-Key
    provider: IdentityProvider | None  # none: nobody signs in with one
    metrics: Metrics
    health: Examiner
    new_id: Callable[[], str]
    client_address: Callable[[str, bytes], str]
    serving: Callable[[], bool]
    options: WebOptions = WebOptions()
    # (content type, body) of the numbers of all processes behind this port; none: this one is alone.
    exposition: Callable[[], Awaitable[tuple[str, bytes]]] | None = None
