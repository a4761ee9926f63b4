"""The actors of a node and what they share."""

from msgspec import Struct

from actors.account import AccountDesk
from actors.conversation import ConversationActor, Conversations, ConversationWorld, Users
from actors.kinds import Activation, ActorKind
from actors.loading import Loader
from actors.moderation import ModerationDesk
from actors.reading import Readers
from actors.recital import Library
from actors.shapes.conversations import MemberRenamed
from actors.shapes.ids import UserId
from actors.shapes.times import Seconds
from actors.shapes.users import Profile, UserCommand, UserState
from actors.sign_in import SignInDesk, SignInWorld
from actors.sweep import Sweep
from actors.system import ActorSystem
from actors.user import Desk, Heads, UserActor, UserWorld
from realtime.assembly.core import Core
from realtime.assembly.ids import new_message_id
from storage.conversations import PostgresConversations
from storage.sweep import PostgresFlushLog
from storage.tickets import PostgresTickets
from storage.users import PostgresUsers


class Population(Struct, frozen=True):
    """The actors of a node and what they share."""

    system: ActorSystem
    users: Users
    conversations: Conversations
    user_store: PostgresUsers
    conversation_store: PostgresConversations
    readers: Readers
    heads: Loader[UserId, Heads]
    profiles: Loader[UserId, Profile]
    sweep: Sweep


def populate(core: Core) -> Population:
    """Users first: conversations address them, and stop before them."""
    settings, clock, journal = core.settings, core.clock, core.journal
    system, readers = ActorSystem(clock), Readers()
    user_store, conversation_store = PostgresUsers(core.postgres), PostgresConversations(core.postgres)
    heads: Loader[UserId, Heads] = Loader(user_store.heads)
    signing_in = SignInWorld(core.sign_in, core.seals, clock)

    async def renamed(user: UserId, name: str) -> None:
        for conversation in await conversation_store.conversations_of(user):
            conversations.tell_awake(conversation, MemberRenamed(user, name))

    def desk(activation: Activation[UserId, UserState, UserCommand]) -> Desk:
        """One behind the other: each passes on what is not for it."""
        id = activation.id
        accounts = AccountDesk(id, activation, core.accounts, journal, clock)
        return SignInDesk(id, activation, signing_in, ModerationDesk(id, activation, core.moderation, accounts))

    world = UserWorld(
        unread=conversation_store.unread,
        heads=heads,
        revocations=core.revocations,
        desk=desk,
        renamed=renamed,
        connections_most=settings.max_connections_per_user,
        clock=clock,
        notes=core.notes,
        tickets=PostgresTickets(core.postgres, clock),
        sweeper=core.notices,
    )
    users: Users = system.register(
        ActorKind(
            name="user",
            load=user_store.load,
            build=lambda activation, state: UserActor(world, activation, state),
            idle=Seconds(settings.user_idle_seconds),
            capacity=settings.mailbox_capacity,
        )
    )
    library = Library(conversation_store, readers, users.is_pinned)
    street = ConversationWorld(clock, journal, conversation_store, users, library, new_message_id, core.notices)
    conversations: Conversations = system.register(
        ActorKind(
            name="conversation",
            load=conversation_store.load,
            build=lambda activation, state: ConversationActor(street, activation, state),
            idle=Seconds(settings.conversation_idle_seconds),
            capacity=settings.mailbox_capacity,
        )
    )
    profiles: Loader[UserId, Profile] = Loader(user_store.profiles)
    log = PostgresFlushLog(core.postgres.dedicated(), core.postgres, core.identity)
    sweep = Sweep(log, users, conversations, clock, core.notices)
    if core.bus is not None:
        core.bus.is_needed = lambda: sweep.others > 0
    return Population(system, users, conversations, user_store, conversation_store, readers, heads, profiles, sweep)
