"""Paths of the documents that Kith was drawn from: each is answered by a route of ours, as if it had been called so.

Keyed by method and the exact full path, before the prefix is taken off: `GET /feed` is one document's feed and
`GET /api/v1/feed` another's. Parameters have the names of the route they lead to.
"""

from typing import Final

ALIASES: Final[dict[str, str]] = {
    "POST /signup": "POST /auth/register",
    "POST /login": "POST /auth/login",
    "POST /follow/{user_id}": "POST /users/{user_id}/follow",
    "DELETE /follow/{user_id}": "DELETE /users/{user_id}/follow",
    "POST /api/v1/users/{user_id}/unfollow": "DELETE /users/{user_id}/follow",
    "POST /api/v1/users/{user_id}/unblock": "DELETE /users/{user_id}/block",
    "POST /api/v1/users/{user_id}/unmute": "DELETE /users/{user_id}/mute",
    "GET /feed": "GET /stories/recent",
    "GET /feed/stories": "GET /stories/feed",
    "POST /stories/{story_id}/seen": "POST /stories/{story_id}/view",
    "POST /stories/{story_id}/views": "POST /stories/{story_id}/view",
    "POST /media/uploads": "POST /upload/presigned",
    "POST /api/v1/live/{stream_id}/tip": "POST /live/{stream_id}/tips",
}
