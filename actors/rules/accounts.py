"""What an e-mail, a username, a password and a profile may be, and what makes two of them the same."""

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

from msgspec import UNSET

from actors.rules.texts import composed
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.ids import UserId
from actors.shapes.users import BIO_LIMIT, NAME_LIMIT, UpdateProfile

EMAIL_LIMIT: Final = 254  # RFC 5321: a path of 256 with its angle brackets
LOCAL_LIMIT: Final = 64
PASSWORD_SHORTEST: Final = 8
PASSWORD_LONGEST_BYTES: Final = 1_024
USERNAME_LONGEST: Final = 30
# Nobody has so many places. Without an end a list of them, or a sign-out of all, was as large as somebody liked.
LOGINS_MOST: Final = 200
# In the place of a password's hash: no password is right, and asking whether one is takes as long as ever.
NO_PASSWORD: Final = "!"
URL_LIMIT: Final = 2_048
INTERESTS_LIMIT: Final = 50
INTEREST_LIMIT: Final = 50

_USERNAME: Final = re.compile(r"[a-zA-Z0-9_]{3,30}").fullmatch
_NOT_IN_USERNAME: Final = re.compile(r"[^a-zA-Z0-9_]+")
# Letters of any script are allowed on both sides; quoted local parts and address literals are not.
_LOCAL: Final = re.compile(r"[^\s@\"(),:;<>\[\]\\.]+(\.[^\s@\"(),:;<>\[\]\\.]+)*").fullmatch
_LABEL: Final = re.compile(r"[^\W_]([\w-]{0,61}[^\W_])?").fullmatch
_SHOWN: Final = 100
# Persian and Indian scripts need the two joiners, families of emoji one of them, and the flag of Wales tags.
_JOINERS: Final = frozenset("\u200c\u200d")
_TAGS: Final = ("\U000e0020", "\U000e007f")
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # letters and a symbol that show nothing
_STACKED: Final = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{5}").search


def check_email(email: str) -> str:
    """The e-mail as it is kept: as given, in NFC. Raises INVALID_EMAIL."""
    kept = composed(email, EMAIL_LIMIT)
    local, at, domain = kept[: EMAIL_LIMIT + 1].rpartition("@")
    labels = domain.split(".")
    fits = (
        bool(at)
        and len(kept) <= EMAIL_LIMIT
        and len(local) <= LOCAL_LIMIT
        and kept.isprintable()
        and _LOCAL(local) is not None
        and len(labels) >= 2
        and all(_LABEL(label) for label in labels)
        and not labels[-1].isdigit()
    )
    if not fits:
        shown = email if len(email) <= _SHOWN and email.isprintable() else None
        raise KithError(ErrorCode.INVALID_EMAIL, details={"field": "email", "value": shown})
    return kept


def email_key(email: str) -> str:
    """Two e-mails with the same key are the same account's."""
    kept = composed(email, EMAIL_LIMIT)
    if len(kept) > EMAIL_LIMIT:
        return kept  # nobody's, so whom it would be the same as does not matter
    folded = kept.casefold()
    return composed(folded, len(folded))


def check_username(username: str) -> str:
    if _USERNAME(username) is None:
        raise KithError(ErrorCode.INVALID_USERNAME, details={"field": "username"})
    return username


def username_key(username: str) -> str:
    return username.lower()


def username_from_email(email: str) -> str:
    """The local part, made to fit: `anna.b+news@example.org` is `anna_b`, `é@example.org` is `user_e`."""
    # Cut first, for what a provider calls somebody may be as long as he liked, and sorting marks takes quadratic time.
    local = unicodedata.normalize("NFKD", email.rpartition("@")[0][:EMAIL_LIMIT]).partition("+")[0]
    ascii_only = local.encode("ascii", "ignore").decode()
    name = _NOT_IN_USERNAME.sub("_", ascii_only).strip("_")[:USERNAME_LONGEST]
    if len(name) < 3:
        name = f"user_{name}".rstrip("_")
    return name


def username_from_claims(preferred: str | None, email: str) -> str:
    """What a provider calls somebody, made to fit; some call him by an e-mail."""
    wish = preferred or ""
    return username_from_email(wish if "@" in wish else f"{wish}@") if wish.strip() else username_from_email(email)


def username_variants(username: str, id: UserId) -> tuple[str, ...]:
    """What to try when a made username is taken: longer and longer tails of the user's own random id."""
    tail = id.replace("-", "")[::-1]
    return tuple(f"{username[: USERNAME_LONGEST - 1 - size]}_{tail[:size]}" for size in (4, 8, 16))


def check_password(password: str) -> str:
    """The password as it is hashed: in NFC, because keyboards differ in how they compose. Raises WEAK_PASSWORD."""
    kept = composed(password, PASSWORD_LONGEST_BYTES)
    if len(kept) < PASSWORD_SHORTEST or len(kept.encode()) > PASSWORD_LONGEST_BYTES:
        raise KithError(ErrorCode.WEAK_PASSWORD, details={"field": "password"})
    return kept


def check_profile(changes: UpdateProfile) -> UpdateProfile:
    """The changes as they are kept: texts in NFC, empty ones null. Raises the first field's error."""
    return UpdateProfile(
        username=changes.username if changes.username is UNSET else check_username(changes.username),
        display_name=(
            UNSET if changes.display_name is UNSET else _line(changes.display_name, NAME_LIMIT, "display_name")
        ),
        avatar_url=UNSET if changes.avatar_url is UNSET else _web_address(changes.avatar_url),
        bio=UNSET if changes.bio is UNSET else _text(changes.bio, BIO_LIMIT, "bio"),
        interests=UNSET if changes.interests is UNSET else _interests(changes.interests),
    )


def _text(text: str | None, limit: int, field: str) -> str | None:
    if text is None:
        return None
    kept = composed(text.strip(), limit).strip()
    if len(kept) > limit:
        raise KithError(
            ErrorCode.CONTENT_TOO_LONG, f"`{field}` has at most {limit:,} characters", details={"field": field}
        )
    return kept or None


def _line(text: str | None, limit: int, field: str) -> str | None:
    """A text that stands beside others in one line: it may neither push them around nor pretend to be another."""
    kept = _text(text, limit, field)
    if kept is None:
        return None
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in kept):
        raise invalid(field, f"`{field}` is one line")
    if any(_is_hidden(character) for character in kept):
        raise invalid(field, f"`{field}` has characters that nobody sees or that turn the direction of others")
    if _STACKED(kept):
        raise invalid(field, f"`{field}` has more marks on one letter than any script needs")
    if not any(unicodedata.category(character)[0] in "LNPS" for character in kept):
        raise invalid(field, f"`{field}` shows nothing")
    return kept


def _is_hidden(character: str) -> bool:
    """Format characters, but those that scripts and emoji are joined with, and private or unassigned ones."""
    category = unicodedata.category(character)
    if category == "Cf":
        return character not in _JOINERS and not _TAGS[0] <= character <= _TAGS[1]
    return category in ("Co", "Cs") or character in _BLANK_LETTERS


def _web_address(url: str | None) -> str | None:
    """http or https with a host. It is handed to clients and never fetched here."""
    if not url:
        return None
    if len(url) > URL_LIMIT or not url.isprintable() or " " in url:
        raise invalid("avatar_url", f"`avatar_url` is an http or https URL of at most {URL_LIMIT:,} characters")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        good = False
    if not good:
        raise invalid("avatar_url", "`avatar_url` is an http or https URL")
    return url


def _interests(interests: tuple[str, ...]) -> tuple[str, ...]:
    if len(interests) > INTERESTS_LIMIT:  # before each letter of a megabyte is looked at
        raise invalid("interests", f"at most {INTERESTS_LIMIT} interests")
    kept: dict[str, str] = {}  # by what they are compared by, in their order
    for interest in interests:
        line = _line(interest, INTEREST_LIMIT, "interests")
        if line is None:
            raise invalid("interests", "an interest must not be empty")
        kept.setdefault(line.casefold(), line)
    return tuple(kept.values())
