"""What actors and the edges need of the world, as protocols; storage and realtime implement them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from actors.shapes.audit import AuditRow
from actors.shapes.conversations import (
    ChangeRange,
    ConversationRow,
    ConversationState,
    ConversationView,
    MemberView,
    MyMembership,
)
from actors.shapes.errors import KithError
from actors.shapes.flushes import Changed, Position, Swept, Window
from actors.shapes.idempotency import KeptAnswer, KeyName, KeyRow
from actors.shapes.ids import ClientId, ConversationId, LoginId, MessageId, UserId
from actors.shapes.messages import DeletedMessage, MessageFacts, MessagePage, MessageSent, MessageView, StoredMessage
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import (
    Account,
    ChangePassword,
    Credentials,
    LoginView,
    NewLogin,
    Profile,
    Register,
    RotateLogin,
    UpdateProfile,
    UserState,
)


class Clock(Protocol):
    """Wall time is PostgreSQL's; monotonic time is trio's, so that a fake clock moves both."""

    def now(self) -> WallTime: ...

    def monotonic(self) -> Seconds: ...


class Asker(Protocol):
    """Who waits for the outcome of a command. One of the two is called, once; neither blocks nor raises."""

    def answer(self, value: object) -> None: ...

    def refuse(self, error: KithError) -> None: ...


class WriteToken(Protocol):
    """Proof that the writer is an actor; only the actor system issues one, for as long as the activation lives."""

    @property
    def actor(self) -> str:
        """Kind and id, for logs: `conversation/0190…`."""
        ...

    @property
    def valid(self) -> bool: ...


# -- the journal ----------------------------------------------------------------------------------------------------


class Beside(Struct, frozen=True, gc=False):
    """Rows that are written with a unit, or not at all. Few units have any; the others' flush does not ask."""

    deleted: Sequence[DeletedMessage] = ()  # of a conversation's unit only
    keys: Sequence[KeyRow] = ()
    audits: Sequence[AuditRow] = ()


class ConversationUnit(Struct, frozen=True, gc=False):
    """All rows of one conversation's batch: a compare-and-set of its head, and its new messages, seq and rev rising."""

    id: ConversationId
    old_rev: int
    new_rev: int
    new_seq: int
    messages: Sequence[StoredMessage]
    beside: Beside | None = None


class BirthUnit(Struct, frozen=True, gc=False):
    """A conversation that comes into being, with its members, at rev 1; a direct one is unique per pair and mode."""

    row: ConversationRow
    beside: Beside | None = None


class ProfileUnit(Struct, frozen=True, gc=False):
    """A change of one user's own row: a compare-and-set on user.rev."""

    id: UserId
    old_rev: int
    new_rev: int
    changes: UpdateProfile
    at: WallTime
    beside: Beside | None = None


Unit = ConversationUnit | BirthUnit | ProfileUnit


class Committed(Struct, frozen=True):
    """On disk."""


class Fenced(Struct, frozen=True):
    """Somebody else changed this address: reload and decide again."""


class Repeats(Struct, frozen=True):
    """Some of these client ids are stored; nothing of the unit was written. Answer them, decide the rest anew."""

    # With the stored text, to tell a conflict; None of a message that was deleted since.
    found: dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]


class KeysUsed(Struct, frozen=True):
    """Some of its idempotency keys are in use; nothing of the unit was written."""

    names: frozenset[KeyName]


class Poisoned(Struct, frozen=True):
    """The database refuses a row of this unit (SQLSTATE 22, 23 or an encoding error); nothing of it was written."""

    sqlstate: str


class Taken(Struct, frozen=True):
    """It met a constraint of normal life: the pair's conversation exists (its id), or a username does (None)."""

    by: ConversationId | None


Receipt = Committed | Fenced | Repeats | KeysUsed | Poisoned | Taken


class Journal(Protocol):
    """The one way to durable state. Nothing is visible or acknowledged before `append` has returned Committed."""

    async def append(self, token: WriteToken, unit: Unit) -> Receipt:
        """Park until the unit's transaction is decided; not cancellable.

        Raises KithError(UNAVAILABLE, outcome none) at once when the journal's bound is reached or it is closed, and
        KithError(UNAVAILABLE, outcome unknown) when the node stops before the outcome could be learned.
        """
        ...


# -- what actors load and read ----------------------------------------------------------------------------------------


class ConversationStore(Protocol):
    """Reads of conversations. All are answered from committed rows; loads are batched by the actor system."""

    async def load(self, ids: Sequence[ConversationId]) -> dict[ConversationId, ConversationState]: ...

    async def history(  # limit + 1 rows are never shown: has_more says it
        self, id: ConversationId, joined_rev: int, before_seq: int | None, after_seq: int | None, limit: int
    ) -> MessagePage: ...

    async def changes(self, id: ConversationId, joined_rev: int, after_rev: int, limit: int) -> ChangeRange: ...

    async def view(self, id: ConversationId, reader: UserId) -> tuple[ConversationView, MyMembership]: ...

    async def members(self, id: ConversationId, limit: int) -> list[MemberView]: ...

    async def last_seen(self, reader: UserId, users: Sequence[UserId]) -> dict[UserId, WallTime]:
        """When each of these was last here; of whom a block parts from the reader nothing, in either direction."""
        ...

    async def direct_between(self, a: UserId, b: UserId, privacy_mode: str) -> ConversationId | None: ...

    async def page_of(
        self, reader: UserId, before: tuple[WallTime, ConversationId] | None, limit: int
    ) -> tuple[list[ConversationView], tuple[WallTime, ConversationId] | None]:
        """The reader's conversations, latest activity first, and where the next page begins."""
        ...

    async def conversations_of(self, reader: UserId) -> list[ConversationId]: ...

    async def sent_before(
        self, id: ConversationId, keys: Sequence[tuple[UserId, ClientId]]
    ) -> dict[tuple[UserId, ClientId], tuple[MessageSent, str | None]]:
        """Which of these sends are stored, what their senders were told, and their text unless it was deleted."""
        ...

    async def facts(self, id: ConversationId, messages: Sequence[MessageId]) -> dict[MessageId, MessageFacts]:
        """What is known of those of these messages that are of this conversation."""
        ...

    async def message(self, id: ConversationId, joined_rev: int, message: MessageId) -> MessageView | None:
        """One message, or its tombstone, for whoever is a member since `joined_rev`."""
        ...

    async def where_is(self, message: MessageId) -> ConversationId | None: ...

    async def unread(self, reader: UserId, ids: Sequence[ConversationId]) -> dict[ConversationId, tuple[int, int]]:
        """(messages of others above last_read_seq, head seq at that moment) per conversation."""
        ...


class UserStore(Protocol):
    """Reads of users."""

    async def load(self, ids: Sequence[UserId]) -> dict[UserId, UserState]: ...

    async def heads(self, ids: Sequence[UserId]) -> dict[UserId, tuple[int, dict[ConversationId, int]]]:
        """Per user: unread notifications, and the rev of each conversation he is in."""
        ...

    async def profiles(self, ids: Sequence[UserId]) -> dict[UserId, Profile]:
        """With the e-mail address, which the edge shows to its owner only; of a deleted user nothing."""
        ...

    async def block_between(self, a: UserId, b: UserId) -> frozenset[tuple[UserId, UserId]]:
        """The blocks among the two, as (blocker, blocked)."""
        ...


class AccountStore(Protocol):
    """Accounts and logins. Each write is its own transaction with a flush row, and takes the writer's token."""

    async def credentials(self, email: str) -> Credentials | None: ...

    async def credentials_of(self, id: UserId) -> Credentials | None: ...

    async def login_of_token(self, token_hash: bytes) -> tuple[UserId, LoginId] | None:
        """Whose refresh token this is or was (spent ones included, so that their reuse is seen)."""
        ...

    async def logins(self, id: UserId) -> list[LoginView]: ...

    async def revoked_since(self, moment: WallTime) -> list[tuple[UserId, LoginId]]: ...

    async def register(self, token: WriteToken, id: UserId, command: Register) -> Account:
        """Raises KithError EMAIL_TAKEN or USERNAME_TAKEN."""
        ...

    async def open_login(self, token: WriteToken, id: UserId, login: NewLogin, checked: str | None = None) -> Account:
        """Raises KithError INVALID_CREDENTIALS when `checked` is not the hash of the password any more."""
        ...

    async def rotate_login(self, token: WriteToken, id: UserId, command: RotateLogin) -> Account | None:
        """None: the token was spent before, or the login is revoked or over; the caller revokes the family."""
        ...

    async def close_logins(
        self, token: WriteToken, id: UserId, logins: Sequence[LoginId] | None, keep: LoginId | None
    ) -> list[LoginId]:
        """Revoke, and say which ones were live until now."""
        ...

    async def change_password(self, token: WriteToken, id: UserId, command: ChangePassword) -> list[LoginId]:
        """Set it and revoke every other login; say which ones. Raises as `open_login`."""
        ...


class KeyStore(Protocol):
    """Idempotency keys that are in use. They are written with their effects; this only looks them up."""

    async def find(self, owner: str, key: str, now: WallTime) -> KeptAnswer | None: ...


class FlushLog(Protocol):
    """What other nodes of the deployment commit, read back from the flush rows; this node's own are left out."""

    async def position(self) -> Position:
        """Behind everything that is committed now."""
        ...

    async def since(self, position: Position) -> Swept:
        """What was committed since then by others; nothing is in two answers, and nothing in none."""
        ...

    async def changed(self, windows: Sequence[Window], is_here: Callable[[UserId], bool]) -> list[Changed]:
        """The changes of these conversations, one window each, of which somebody may hear who is here."""
        ...

    async def conversations_of(self, users: Sequence[UserId]) -> list[ConversationId]:
        """Where these are members now: their names are remembered there."""
        ...

    async def renew(self) -> int:
        """Say that this node lives; how many others do."""
        ...


class Sweeper(Protocol):
    """What actors need of the sweep."""

    def wake(self) -> None:
        """Somebody else has committed something."""
        ...

    async def told(self) -> None:
        """Return when all that others have committed until now was told here, or a moment later if that takes long; at
        once on a node that is alone."""
        ...

    def unpublished(self, id: ConversationId, old_rev: int, new_rev: int) -> None:
        """This node has committed a change and failed to tell the members of it."""
        ...

    def arrived(self, user: UserId) -> None:
        """A connection of his was told its heads."""
        ...


class SoftNotes(Protocol):
    """What may be lost with its last second: written behind, promised to nobody. Neither call blocks or raises."""

    def login_used(self, login: LoginId, at: WallTime) -> None: ...

    def user_seen(self, user: UserId, at: WallTime) -> None: ...


class Health(Protocol):
    """One part of the node as `/healthz` shows it."""

    name: str

    async def check(self) -> tuple[str, float, bool]:
        """(state in a word, latency in seconds, can the node serve without it)."""
        ...


class Revocations(Protocol):
    """Logins revoked within the life of an access token: its signature holds, and it is refused all the same."""

    def add(self, logins: Iterable[LoginId]) -> None: ...

    def __contains__(self, login: LoginId) -> bool: ...
