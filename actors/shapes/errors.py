"""The one table of errors: code, HTTP status, text, and whether the caller should try again."""

import enum
from typing import Any, Final, Literal, NamedTuple

Outcome = Literal["none", "unknown"]


class ErrorRow(NamedTuple):
    status: int
    text: str
    retryable: bool = False


class ErrorCode(enum.StrEnum):
    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    INVALID_QUERY = "INVALID_QUERY"
    INVALID_EMAIL = "INVALID_EMAIL"
    INVALID_USERNAME = "INVALID_USERNAME"
    WEAK_PASSWORD = "WEAK_PASSWORD"
    CONTENT_TOO_LONG = "CONTENT_TOO_LONG"
    INVALID_VISIBILITY = "INVALID_VISIBILITY"
    INVALID_STORY_VISIBILITY = "INVALID_STORY_VISIBILITY"
    INVALID_REACTION_EMOJI = "INVALID_REACTION_EMOJI"
    INVALID_MEDIA = "INVALID_MEDIA"
    INVALID_CURSOR = "INVALID_CURSOR"
    INVALID_GROUP_SIZE = "INVALID_GROUP_SIZE"
    SELF_FOLLOW = "SELF_FOLLOW"
    SELF_BLOCK = "SELF_BLOCK"
    DUPLICATE_FOLLOW = "DUPLICATE_FOLLOW"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    INVALID_TOKEN = "INVALID_TOKEN"
    MISSING_AUTH_HEADER = "MISSING_AUTH_HEADER"
    TOTP_REQUIRED = "TOTP_REQUIRED"
    FORBIDDEN = "FORBIDDEN"
    NOT_CONTENT_OWNER = "NOT_CONTENT_OWNER"
    NOT_FOLLOWING = "NOT_FOLLOWING"
    USER_BLOCKED = "USER_BLOCKED"
    STORY_ACCESS_DENIED = "STORY_ACCESS_DENIED"
    EDIT_WINDOW_CLOSED = "EDIT_WINDOW_CLOSED"
    USER_NOT_FOUND = "USER_NOT_FOUND"
    CONVERSATION_NOT_FOUND = "CONVERSATION_NOT_FOUND"
    MESSAGE_NOT_FOUND = "MESSAGE_NOT_FOUND"
    STORY_NOT_FOUND = "STORY_NOT_FOUND"
    CONTENT_NOT_FOUND = "CONTENT_NOT_FOUND"
    MEDIA_NOT_FOUND = "MEDIA_NOT_FOUND"
    HIGHLIGHT_NOT_FOUND = "HIGHLIGHT_NOT_FOUND"
    KEY_EXCHANGE_NOT_FOUND = "KEY_EXCHANGE_NOT_FOUND"
    PUBLIC_KEY_NOT_FOUND = "PUBLIC_KEY_NOT_FOUND"
    ROUTE_NOT_FOUND = "ROUTE_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONTENT_ALREADY_DELETED = "CONTENT_ALREADY_DELETED"
    KEY_EXCHANGE_ALREADY_COMPLETED = "KEY_EXCHANGE_ALREADY_COMPLETED"
    SUBSCRIPTION_ALREADY_ACTIVE = "SUBSCRIPTION_ALREADY_ACTIVE"
    STORY_ALREADY_REACTED = "STORY_ALREADY_REACTED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    EMAIL_TAKEN = "EMAIL_TAKEN"
    USERNAME_TAKEN = "USERNAME_TAKEN"
    HIGHLIGHT_NAME_TAKEN = "HIGHLIGHT_NAME_TAKEN"
    GROUP_FULL = "GROUP_FULL"
    CLOSE_FRIENDS_FULL = "CLOSE_FRIENDS_FULL"
    STALE_KEY_EPOCH = "STALE_KEY_EPOCH"
    MEDIA_NOT_READY = "MEDIA_NOT_READY"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    RESYNC = "RESYNC"
    STORY_EXPIRED = "STORY_EXPIRED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    DATABASE_ERROR = "DATABASE_ERROR"
    ENCRYPTION_ERROR = "ENCRYPTION_ERROR"
    STORAGE_ERROR = "STORAGE_ERROR"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    TRY_AGAIN = "TRY_AGAIN"
    TIMEOUT = "TIMEOUT"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"


_C = ErrorCode
TABLE: Final[dict[ErrorCode, ErrorRow]] = {
    _C.INVALID_PAYLOAD: ErrorRow(400, "The request does not have the expected form"),
    _C.INVALID_QUERY: ErrorRow(400, "A query parameter is not valid"),
    _C.INVALID_EMAIL: ErrorRow(400, "Email format is invalid"),
    _C.INVALID_USERNAME: ErrorRow(400, "A username has 3 to 30 letters, digits or underscores"),
    _C.WEAK_PASSWORD: ErrorRow(400, "A password has at least 8 characters and at most 1,024 bytes"),
    _C.CONTENT_TOO_LONG: ErrorRow(400, "The text is too long"),
    _C.INVALID_VISIBILITY: ErrorRow(400, "Unknown visibility"),
    _C.INVALID_STORY_VISIBILITY: ErrorRow(400, "Unknown story visibility"),
    _C.INVALID_REACTION_EMOJI: ErrorRow(400, "A reaction is one emoji"),
    _C.INVALID_MEDIA: ErrorRow(400, "The media cannot be used"),
    _C.INVALID_CURSOR: ErrorRow(400, "The cursor is not one of ours"),
    _C.INVALID_GROUP_SIZE: ErrorRow(400, "A group has 3 to 500 members"),
    _C.SELF_FOLLOW: ErrorRow(400, "Nobody follows himself"),
    _C.SELF_BLOCK: ErrorRow(400, "Nobody blocks himself"),
    _C.DUPLICATE_FOLLOW: ErrorRow(400, "Already followed"),
    _C.UNKNOWN_TYPE: ErrorRow(400, "Unknown command type"),
    _C.INVALID_CREDENTIALS: ErrorRow(401, "Email or password is wrong"),
    _C.TOKEN_EXPIRED: ErrorRow(401, "The token has expired"),
    _C.INVALID_TOKEN: ErrorRow(401, "The token is not valid"),
    _C.MISSING_AUTH_HEADER: ErrorRow(401, "The Authorization header is missing"),
    _C.TOTP_REQUIRED: ErrorRow(401, "A one-time code is required"),
    _C.FORBIDDEN: ErrorRow(403, "Not permitted"),
    _C.NOT_CONTENT_OWNER: ErrorRow(403, "Only the owner may do this"),
    _C.NOT_FOLLOWING: ErrorRow(403, "Only followers may do this"),
    _C.USER_BLOCKED: ErrorRow(403, "A block stands between you"),
    _C.STORY_ACCESS_DENIED: ErrorRow(403, "This story is not shared with you"),
    _C.EDIT_WINDOW_CLOSED: ErrorRow(403, "Messages can be edited for 15 minutes"),
    _C.USER_NOT_FOUND: ErrorRow(404, "No such user"),
    _C.CONVERSATION_NOT_FOUND: ErrorRow(404, "No such conversation"),
    _C.MESSAGE_NOT_FOUND: ErrorRow(404, "No such message"),
    _C.STORY_NOT_FOUND: ErrorRow(404, "No such story"),
    _C.CONTENT_NOT_FOUND: ErrorRow(404, "No such content"),
    _C.MEDIA_NOT_FOUND: ErrorRow(404, "No such media"),
    _C.HIGHLIGHT_NOT_FOUND: ErrorRow(404, "No such highlight"),
    _C.KEY_EXCHANGE_NOT_FOUND: ErrorRow(404, "No such key exchange"),
    _C.PUBLIC_KEY_NOT_FOUND: ErrorRow(404, "No public key registered"),
    _C.ROUTE_NOT_FOUND: ErrorRow(404, "No such route"),
    _C.METHOD_NOT_ALLOWED: ErrorRow(405, "This method is not allowed here"),
    _C.CONTENT_ALREADY_DELETED: ErrorRow(409, "Already deleted"),
    _C.KEY_EXCHANGE_ALREADY_COMPLETED: ErrorRow(409, "The key exchange is already completed"),
    _C.SUBSCRIPTION_ALREADY_ACTIVE: ErrorRow(409, "The subscription is already active"),
    _C.STORY_ALREADY_REACTED: ErrorRow(409, "Already reacted to this story"),
    _C.IDEMPOTENCY_CONFLICT: ErrorRow(409, "The same id was used for something else"),
    _C.EMAIL_TAKEN: ErrorRow(409, "This email is registered already"),
    _C.USERNAME_TAKEN: ErrorRow(409, "This username is taken"),
    _C.HIGHLIGHT_NAME_TAKEN: ErrorRow(409, "A highlight has this name already"),
    _C.GROUP_FULL: ErrorRow(409, "The group is full"),
    _C.CLOSE_FRIENDS_FULL: ErrorRow(409, "The list of close friends is full"),
    _C.STALE_KEY_EPOCH: ErrorRow(409, "The key epoch has changed"),
    _C.MEDIA_NOT_READY: ErrorRow(409, "The media are still being processed"),
    _C.OUT_OF_ORDER: ErrorRow(409, "The message named in `after` is not committed", retryable=True),
    _C.RESYNC: ErrorRow(409, "This range cannot be given; reload"),
    _C.STORY_EXPIRED: ErrorRow(410, "The story has ended"),
    _C.PAYLOAD_TOO_LARGE: ErrorRow(413, "The request is too large"),
    _C.UNSUPPORTED_MEDIA_TYPE: ErrorRow(415, "Send application/json"),
    _C.RATE_LIMIT_EXCEEDED: ErrorRow(429, "Too many requests", retryable=True),
    _C.INTERNAL_ERROR: ErrorRow(500, "A fault of the server"),
    _C.DATABASE_ERROR: ErrorRow(500, "The database refused"),
    _C.ENCRYPTION_ERROR: ErrorRow(500, "Encryption failed"),
    _C.STORAGE_ERROR: ErrorRow(500, "The object store refused"),
    _C.NOT_IMPLEMENTED: ErrorRow(501, "This part of the service does not exist yet"),
    _C.UNAVAILABLE: ErrorRow(503, "Not available at the moment", retryable=True),
    _C.OVERLOADED: ErrorRow(503, "Too much to do at the moment", retryable=True),
    _C.TRY_AGAIN: ErrorRow(503, "Somebody else was faster, again and again", retryable=True),
    _C.TIMEOUT: ErrorRow(503, "No answer in time", retryable=True),
    _C.STORAGE_UNAVAILABLE: ErrorRow(503, "The object store is not available", retryable=True),
}

# After these nobody knows whether the command took effect: the client repeats it with the same client_id.
_OUTCOME_UNKNOWN: Final = frozenset({_C.TRY_AGAIN, _C.TIMEOUT})


class KithError(Exception):
    """An error that crosses the wire; its code decides everything that the table can decide."""

    def __init__(
        self,
        code: ErrorCode,
        message: str | None = None,
        *,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        row = TABLE[code]
        super().__init__(message or row.text)
        self.code = code
        self.status = row.status
        self.message = message or row.text
        self.details = details or {}
        self.retry_after = retry_after if retry_after is not None else (1.0 if row.status in (429, 503) else None)
        self.outcome: Outcome = outcome or ("unknown" if code in _OUTCOME_UNKNOWN else "none")


def invalid(field: str, message: str) -> KithError:
    """A field that does not fit, named."""
    return KithError(ErrorCode.INVALID_PAYLOAD, message, details={"field": field})
