"""A user, his logins, the commands his actor takes and what it answers."""

import enum
from collections.abc import Sequence
from typing import Literal, NewType, Protocol

from msgspec import UNSET, Struct, UnsetType

from actors.shapes.frames import Frame
from actors.shapes.idempotency import Keyed
from actors.shapes.ids import ConversationId, LoginId, SocketId, UserId
from actors.shapes.logins import NewLogin as NewLogin
from actors.shapes.moderation import ModerationCommand
from actors.shapes.sign_in import SignInCommand
from actors.shapes.times import Seconds, WallTime

Limits = Literal["normal", "load"]
NAME_LIMIT = 100
BIO_LIMIT = 1_000

TicketId = NewType("TicketId", bytes)


class UserState(Struct, frozen=True, gc=False):
    """What an awake user holds in memory."""

    id: UserId
    rev: int
    username: str
    display_name: str | None
    limits: Limits
    status: Literal["active", "suspended", "deleted"] = "active"

    @property
    def name(self) -> str:
        return self.display_name or self.username


class Profile(Struct, frozen=True):
    """What `GET /users/me` shows of it; e-mail only to its owner."""

    id: UserId
    username: str
    display_name: str | None
    avatar_url: str | None
    bio: str | None
    interests: tuple[str, ...]
    follower_count: int
    following_count: int
    created_at: str
    email: str | UnsetType = UNSET


class Ending(enum.Enum):
    """Why a user's actor closes one of his connections; the edge knows the close code."""

    REPLACED = "replaced"  # by a newer connection of the same device
    TOO_MANY = "too_many"  # connections of this user
    REVOKED = "revoked"  # the login was revoked, the account suspended or deleted
    RESYNC = "resync"  # something did not reach it, and nobody can say what
    RESTART = "restart"  # its actor crashed
    TICKET = "ticket"  # it came with a ticket that somebody came with before


class Socket(Protocol):
    """One open, signed-in connection of a user, as his actor sees it; nothing here blocks."""

    __slots__ = ()

    @property
    def id(self) -> SocketId: ...

    @property
    def login_id(self) -> LoginId: ...

    def deliver(self, frame: Frame) -> None: ...

    def end(self, ending: Ending) -> None: ...


# -- commands of connections ---------------------------------------------------------------------------------------


class TicketStub(Struct, frozen=True, gc=False):
    """As much of a ticket as is needed to spend it."""

    id: TicketId
    expires_at: WallTime


class Connect(Struct, frozen=True):
    socket: Socket
    device_id: str | None
    attempt: int | None  # None: the newest wins
    ticket: TicketStub | None = None  # what its upgrade carried; good once


class Disconnect(Struct, frozen=True, gc=False):
    socket_id: SocketId


class EndLogins(Struct, frozen=True):
    """These logins were revoked elsewhere: close their connections."""

    logins: tuple[LoginId, ...]


class UserChanged(Struct, frozen=True, gc=False):
    """His row was changed elsewhere (another node, the operator): read it anew, unless it is known at this revision.

    For who is awake only: whoever wakes later reads the row in any case.
    """

    rev: int = 0  # 0: whatever is known


class Resync(Struct, frozen=True, gc=False):
    """Something did not reach his connections, and nobody can say what: close them, so that they reload."""


class SettleIn(Struct, frozen=True, gc=False):
    """Who came before this moment has been given all that was committed before it came."""

    before: Seconds


class Deliver(Struct, frozen=True, gc=False):
    """A durable event on its way to every connection of one user; the connection that caused it gets `ok` instead."""

    frame: Frame
    conversation_id: ConversationId
    seq: int  # of a message that was sent; 0: not of one; negative: this message was deleted
    sender: UserId
    origin: SocketId | None = None
    ok: Frame | None = None
    rev: int = 0  # 0: nothing durable


class CountUnread(Struct, frozen=True):
    """How many messages of others wait in each of these conversations; answered with a dict."""

    conversations: tuple[ConversationId, ...]


class Connected(Struct, frozen=True):
    user: UserState
    unread_notifications: int
    heads: dict[ConversationId, int]  # every conversation of his with its rev, read after he was registered


# -- commands of accounts: passwords arrive hashed, tokens arrive hashed ---------------------------------------------


class Register(Struct, frozen=True):
    email: str
    username: str
    username_chosen: bool  # False: made from the e-mail, may be varied when it is taken
    password_hash: str
    login: NewLogin
    keyed: Keyed | None = None


class OpenLogin(Struct, frozen=True):
    """`checked`: the hash that the password was right for. If it was changed meanwhile, the login would outlive it.

    `totp`: the one-time or recovery code, as typed; TOTP_REQUIRED when the account asks for one and none was given.
    """

    login: NewLogin
    checked: str | None = None
    totp: str | None = None


class RotateLogin(Struct, frozen=True):
    login_id: LoginId
    spent_hash: bytes
    next_hash: bytes
    expires_at: WallTime


class CloseLogins(Struct, frozen=True):
    """Revoke these logins (all of the user's when None) but `keep`; their sockets close with 4503."""

    logins: Sequence[LoginId] | None = None
    keep: LoginId | None = None


class ChangePassword(Struct, frozen=True):
    password_hash: str
    keep: LoginId
    checked: str | None = None  # as in OpenLogin


class UpdateProfile(Struct, frozen=True):
    username: str | UnsetType = UNSET
    display_name: str | UnsetType | None = UNSET
    avatar_url: str | UnsetType | None = UNSET
    bio: str | UnsetType | None = UNSET
    interests: tuple[str, ...] | UnsetType = UNSET


AccountCommand = Register | OpenLogin | RotateLogin | CloseLogins | ChangePassword | UpdateProfile
DeskCommand = AccountCommand | ModerationCommand | SignInCommand
UserCommand = Connect | Disconnect | EndLogins | UserChanged | Resync | SettleIn | Deliver | CountUnread | DeskCommand


class Account(Struct, frozen=True):
    """What the sign-in answers are made of."""

    user_id: UserId
    username: str
    email: str


class Registered(Struct, frozen=True):
    """What an Idempotency-Key keeps of a registration; whoever repeats it shows by the password who he is."""

    user_id: UserId


class Credentials(Struct, frozen=True):
    """What a login is checked against."""

    account: Account
    password_hash: str
    status: str


class LoginView(Struct, frozen=True):
    """One row of `GET /auth/sessions`."""

    id: LoginId
    user_agent: str | None
    address: str | None
    created_at: str
    last_used_at: str
    expires_at: str
    current: bool = False
