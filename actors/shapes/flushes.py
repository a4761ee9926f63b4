"""What other nodes have committed, as the sweep reads it: positions, heads, and the rows that changed under them."""

from msgspec import Struct

from actors.shapes.conversations import ConversationView, MemberView
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import MessageView
from actors.shapes.times import WallTime


class Position(Struct, frozen=True):
    """Which flush rows a node has seen: those of transactions below `upto` that were not `open` when it looked.

    It is a snapshot of PostgreSQL, cut behind the highest transaction of a flush that was visible in it. A number alone
    would miss a transaction that began early and committed late. Uncut it could name transactions that a crash of
    PostgreSQL takes back and whose numbers are then given out again.
    """

    upto: int
    open: tuple[int, ...]
    at: WallTime  # by PostgreSQL's clock


class Head(Struct, frozen=True, gc=False, array_like=True):
    """An address that a flush changed; kind `c` is a conversation, `u` a user."""

    kind: str
    id: str
    old_rev: int
    new_rev: int


class Swept(Struct, frozen=True):
    """What other nodes committed since a position, in the order of their transactions."""

    position: Position  # the next one
    heads: list[Head]
    oldest_ms: int = 0  # how long ago the first of them began its transaction
    whole: bool = True  # False: it was too much or is too long ago, and `heads` says nothing


class Window(Struct, frozen=True):
    """A stretch of one conversation's revisions, without the first and with the last."""

    id: ConversationId
    after_rev: int
    upto_rev: int


class Interval(Struct, frozen=True, gc=False):
    """A membership: its member reads revisions from `joined_rev` to before `left_rev`, and the one that ends it."""

    user_id: UserId
    joined_rev: int
    left_rev: int | None = None

    def shows(self, rev: int) -> bool:
        return self.joined_rev <= rev and (self.left_rev is None or rev <= self.left_rev)


class SweptMessage(Struct, frozen=True, gc=False):
    """A message as it is now, and the revision that it was created with."""

    created_rev: int
    view: MessageView


class Changed(Struct, frozen=True):
    """The rows of one conversation that changed within a window, as they are now, and who may hear of them.

    A message created within it is here also if a later change of it lies above. Members and the conversation itself
    are here only if messages do not explain every revision of the window.
    """

    id: ConversationId
    audience: list[Interval]
    messages: list[SweptMessage]
    members: list[MemberView] = []
    own: ConversationView | None = None
    own_rev: int = 0
