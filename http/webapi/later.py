"""Routes of the protocol whose feature is not built yet: known, and answered with 501 (decision 0050).

This is the one list of them. Whoever builds a route takes its row from here; the list ends empty.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from actors.shapes.errors import ErrorCode, KithError
from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Route

LATER: Final[dict[str, tuple[str, ...]]] = {
    "groups": (
        "PUT /conversations/{conversation_id}",
        "DELETE /conversations/{conversation_id}",
        "GET /conversations/{conversation_id}/members",
        "POST /conversations/{conversation_id}/members",
        "PUT /conversations/{conversation_id}/members/{user_id}",
        "DELETE /conversations/{conversation_id}/members/{user_id}",
    ),
    "messaging": (
        "GET /messages",
        "POST /messages",
        "POST /messages/send",
        "POST /messages/sync",
        "PUT /messages/{message_id}",
        "POST /messages/{message_id}/delivered",
        "POST /messages/{message_id}/read",
        "POST /conversations/heads",
        "POST /conversations/{conversation_id}/receipts",
        "POST /conversations/{conversation_id}/typing",
    ),
    "reactions": (
        "GET /messages/{message_id}/reactions",
        "POST /messages/{message_id}/reactions",
        "DELETE /messages/{message_id}/reactions",
        "DELETE /messages/{message_id}/reactions/{emoji}",
    ),
    "analytics": (
        "GET /conversations/{conversation_id}/metadata",
        "GET /conversations/{conversation_id}/analytics",
        "GET /conversations/{conversation_id}/analytics/members",
        "GET /me/stats",
    ),
    "notifications": ("GET /notifications", "POST /notifications/read"),
    "events": ("GET /events", "GET /events/stream", "GET /presence", "PUT /users/{user_id}/presence"),
    "encryption": (
        "POST /users/{user_id}/public-key",
        "GET /users/{user_id}/public-key",
        "POST /key-exchange/initiate",
        "POST /key-exchange/{key_exchange_id}/complete",
        "GET /conversations/{conversation_id}/keys",
    ),
    "graph": (
        "POST /users/{user_id}/follow",
        "DELETE /users/{user_id}/follow",
        "POST /users/{user_id}/block",
        "DELETE /users/{user_id}/block",
        "POST /users/{user_id}/mute",
        "DELETE /users/{user_id}/mute",
        "GET /users/{user_id}/followers",
        "GET /users/{user_id}/following",
        "GET /users/{user_id}/recommendations",
        "GET /users/{user_id}/close-friends",
        "POST /users/{user_id}/close-friends/{friend_id}",
        "DELETE /users/{user_id}/close-friends/{friend_id}",
    ),
    "stories": (
        "POST /stories",
        "GET /stories/feed",
        "GET /stories/recent",
        "GET /stories/{story_id}",
        "DELETE /stories/{story_id}",
        "PUT /stories/{story_id}/privacy",
        "POST /stories/{story_id}/view",
        "GET /stories/{story_id}/viewers",
        "GET /stories/{story_id}/metrics",
        "GET /stories/{story_id}/reactions",
        "POST /stories/{story_id}/reactions",
        "DELETE /stories/{story_id}/reactions",
        "DELETE /stories/{story_id}/reactions/{emoji}",
        "POST /stories/{story_id}/highlights",
        "GET /users/{user_id}/stories",
        "GET /users/{user_id}/highlights",
        "POST /highlights",
        "GET /highlights/{highlight_id}",
        "PUT /highlights/{highlight_id}",
        "DELETE /highlights/{highlight_id}",
    ),
    "media": (
        "POST /upload/presigned",
        "POST /media/complete",
        "POST /stories/media/upload",
        "GET /stories/media/{media_id}",
    ),
    "search": ("GET /search/messages", "GET /search", "GET /trending"),
    "posts": (
        "POST /posts",
        "GET /posts/{post_id}",
        "DELETE /posts/{post_id}",
        "POST /posts/{post_id}/like",
        "DELETE /posts/{post_id}/like",
        "POST /posts/{post_id}/comment",
        "POST /posts/{post_id}/share",
        "POST /posts/{post_id}/save",
        "GET /reels/{reel_id}/analytics",
        "GET /feed",
        "GET /feed/following",
    ),
    "live": (
        "POST /live/start",
        "GET /live/{stream_id}/status",
        "POST /live/{stream_id}/join",
        "POST /live/{stream_id}/leave",
        "POST /live/{stream_id}/comment",
        "POST /live/{stream_id}/end",
        "POST /live/{stream_id}/tips",
    ),
    "money": (
        "POST /tips",
        "GET /subscriptions",
        "POST /subscriptions/{subscription_id}/cancel",
        "GET /me/analytics",
        "GET /me/revenue",
    ),
}


def not_built(feature: str) -> KithError:
    return KithError(ErrorCode.NOT_IMPLEMENTED, details={"feature": feature})


def _refusing(feature: str) -> Callable[[Call], Awaitable[Answer]]:
    async def refuse(call: Call) -> Answer:  # noqa: ARG001 - nothing of it is read
        """Known, and not built yet."""
        raise not_built(feature)

    return refuse


def _routes(feature: str, rows: tuple[str, ...]) -> list[Route]:
    handler = _refusing(feature)
    split = [row.partition(" ") for row in rows]
    return [Route(method, path, handler, refuses=(ErrorCode.NOT_IMPLEMENTED,)) for method, _, path in split]


# Not among the routes that are documented: nobody should build on them yet.
LATER_ROUTES: Final = tuple(route for feature, rows in LATER.items() for route in _routes(feature, rows))
