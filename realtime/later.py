"""What of the protocol comes later: commands that are known by name and not built, and events that nobody causes yet.

The one list of them. Whoever builds one takes its name out of here.
"""

from typing import Final

# Answered with NOT_IMPLEMENTED, so that a client learns that it has the name right (docs/decisions/0050).
COMMANDS: Final[frozenset[str]] = frozenset(
    {
        "message.edit",
        "user.range",
        "sync",
        "reaction.add",
        "reaction.remove",
        "receipt.delivered",
        "receipt.read",
        "typing.start",
        "typing.stop",
        "presence.set",
        "presence.watch",
        "presence.unwatch",
        "story.view",
        "story.leave",
        "live.join",
        "live.leave",
        "live.comment",
        "notification.read",
    }
)

# Their names are settled in every dialect before there is anything to say.
EVENTS: Final[tuple[str, ...]] = (
    "message.updated",
    "reaction.added",
    "reaction.removed",
    "receipt.updated",
    "member.joined",
    "member.left",
    "member.updated",
    "conversation.updated",
    "conversation.deleted",
    "notification.created",
    "mention.created",
    "typing",
    "presence.changed",
    "user.followed",
    "story.created",
    "story.expired",
    "story.deleted",
    "story.viewed",
    "story.reacted",
    "story.counts",
    "content.liked",
    "content.commented",
    "live.started",
    "live.ended",
    "live.viewers",
    "live.comment",
    "live.tip",
    "tip.received",
    "subscription.started",
    "subscription.cancelled",
    "key.rotated",
    "key_exchange.requested",
    "key_exchange.completed",
    "key_epoch.pending",
    "cursor",
)
