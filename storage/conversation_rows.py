"""How rows of `conversations` and `conversation_members` become what readers see."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.shapes.conversations import ConversationType, ConversationView, MemberView, MyMembership, PrivacyMode
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import MessageView
from actors.shapes.times import WallTime, iso
from storage.message_rows import MESSAGE_COLUMNS, MessageRow, iso_or_none, milliseconds

NAME: Final = "coalesce(nullif(u.display_name, ''), u.username)"
ACTIVITY: Final = milliseconds("coalesce(c.last_message_at, c.created_at)")

# In the order of ConversationFields.
OWN_COLUMNS: Final = f"""c.id::text, c.type, c.name, c.description, c.privacy_mode, c.key_epoch, c.member_count,
 {milliseconds("c.created_at")}, {milliseconds("c.updated_at")}, c.rev, c.own_rev"""

# For the present member $1. The last message stands there unless it was written before he joined.
SEEN_TABLES: Final = """conversation_members p
  join conversations c on c.id = p.conversation_id and p.user_id = $1::uuid and p.left_rev is null
  left join messages m on m.id = c.last_message_id and m.created_rev >= p.joined_rev
  left join users s on s.id = m.sender_id"""
SEEN_COLUMNS: Final = f"""{MESSAGE_COLUMNS}, {OWN_COLUMNS}, {ACTIVITY},
 p.role, {milliseconds("p.muted_until")}, p.archived_at is not null, p.last_read_seq, p.delivered_seq,
 {milliseconds("p.joined_at")}"""

MEMBER_COLUMNS: Final = f"""m.user_id::text, u.username, u.display_name, u.avatar_url, m.role,
 {milliseconds("m.joined_at")}, {milliseconds("m.left_at")}, m.rev"""


OF_USERS: Final = """
select distinct conversation_id::text from conversation_members where user_id = any($1::uuid[]) and left_rev is null
"""


class ConversationFields(Struct, frozen=True, gc=False):
    id: ConversationId
    type: ConversationType
    name: str | None
    description: str | None
    privacy_mode: PrivacyMode
    key_epoch: int
    member_count: int
    created_at: WallTime
    updated_at: WallTime
    rev: int
    own_rev: int

    def shown(self, last_message: MessageView | None) -> ConversationView:
        return ConversationView(
            id=self.id,
            type=self.type,
            name=self.name,
            description=self.description,
            privacy_mode=self.privacy_mode,
            key_epoch=self.key_epoch,
            member_count=self.member_count,
            last_message=last_message,
            rev=self.rev,
            created_at=iso(self.created_at),
            updated_at=iso(self.updated_at),
        )


class MembershipFields(Struct, frozen=True, gc=False):
    activity: WallTime
    role: str
    muted_until: WallTime | None
    archived: bool
    last_read_seq: int
    delivered_seq: int
    joined_at: WallTime

    @property
    def shown(self) -> MyMembership:
        return MyMembership(
            role=self.role,
            muted_until=iso_or_none(self.muted_until),
            archived=self.archived,
            last_read_seq=self.last_read_seq,
            delivered_seq=self.delivered_seq,
            joined_at=iso(self.joined_at),
        )


_MESSAGE_END: Final = len(MessageRow.__struct_fields__)
_OWN_END: Final = _MESSAGE_END + len(ConversationFields.__struct_fields__)


class SeenConversation(Struct, frozen=True):
    """A conversation as one of its members sees it, and where it stands in his list."""

    view: ConversationView
    my: MyMembership
    activity: WallTime

    @property
    def shown(self) -> ConversationView:
        return replace(self.view, my=self.my)


def seen_conversation(*row: object) -> SeenConversation:
    """A row of SEEN_COLUMNS; a conversation nobody has written to has no last message."""
    message = MessageRow(*row[:_MESSAGE_END])  # type: ignore[arg-type] # the columns of one statement, in order
    own = ConversationFields(*row[_MESSAGE_END:_OWN_END])  # type: ignore[arg-type]
    my = MembershipFields(*row[_OWN_END:])  # type: ignore[arg-type]
    return SeenConversation(own.shown(message.shown if row[0] is not None else None), my.shown, my.activity)


class MemberRow(Struct, frozen=True, gc=False):
    user_id: UserId
    username: str
    display_name: str | None
    avatar_url: str | None
    role: str
    joined_at: WallTime
    left_at: WallTime | None
    rev: int

    @property
    def shown(self) -> MemberView:
        return MemberView(
            user_id=self.user_id,
            username=self.username,
            display_name=self.display_name,
            avatar_url=self.avatar_url,
            role=self.role,
            joined_at=iso(self.joined_at),
            left_at=iso_or_none(self.left_at),
            rev=self.rev,
        )
