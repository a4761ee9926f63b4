"""Tickets: one connection each for who cannot send a header with its upgrade; made and opened here, spent in the user's
actor."""

import binascii
import hmac
import re
import secrets
import uuid
from typing import Final

from msgspec import Struct
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)
from nacl.exceptions import CryptoError

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import TicketId
from actors.tokens import Claims

TICKET_LIFETIME: Final = Seconds(30.0)
OPEN_MOST: Final = 32  # of one user: more than he may have connections, so nobody who uses them meets it
# Who came through the door in the last moment may say hello a little later; until then his ticket is still his.
GRACE_MS: Final = 15_000

_NONCE: Final = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_KIND: Final = b"\x01"
# 24 bytes of nonce, 41 sealed (kind, user, login, expiry) and 16 of proof: 81 bytes, so base64 has no spare bits and a
# ticket one spelling.
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{108}").fullmatch


class Ticket(Struct, frozen=True, gc=False):
    """What an opened ticket says: who comes by which login, and the id under which his actor remembers it."""

    id: TicketId
    claims: Claims


class TicketAuthority:
    """Makes tickets with the current secret; opens those of the previous one, too.

    Sealed and not only signed: a ticket travels in a URL, and whoever reads a proxy's log should not learn who was
    there.
    """

    def __init__(self, secret: str, previous: str | None = None) -> None:
        self._keys = [_key(secret)] + ([_key(previous)] if previous else [])

    def issue(self, user: UserId, login: LoginId, now: WallTime) -> tuple[str, Ticket]:
        """A ticket as it travels, and what it says. It is worth nothing before the user's actor knows its id."""
        expires_at = WallTime(now + round(TICKET_LIFETIME * 1000))
        nonce = secrets.token_bytes(_NONCE)  # 192 random bits: never twice, so it is the id as well
        said = _KIND + uuid.UUID(user).bytes + uuid.UUID(login).bytes + expires_at.to_bytes(8, "big")
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(said, None, nonce, self._keys[0])
        text = binascii.b2a_base64(nonce + sealed, newline=False).decode().replace("+", "-").replace("/", "_")
        return text, Ticket(TicketId(nonce), Claims(user, login, now, expires_at))

    def open(self, text: str, now: WallTime) -> Ticket:
        """Raises INVALID_TOKEN for what is malformed, forged or expired; whether it was spent is not known here."""
        if _SHAPE(text) is None:
            raise KithError(ErrorCode.INVALID_TOKEN)
        data = binascii.a2b_base64(text.replace("-", "+").replace("_", "/"))
        said = self._unsealed(data[_NONCE:], data[:_NONCE])
        expires_at = WallTime(int.from_bytes(said[33:], "big"))
        if said[:1] != _KIND or expires_at <= now:
            raise KithError(ErrorCode.INVALID_TOKEN)
        user, login = UserId(str(uuid.UUID(bytes=said[1:17]))), LoginId(str(uuid.UUID(bytes=said[17:33])))
        issued_at = WallTime(expires_at - round(TICKET_LIFETIME * 1000))
        return Ticket(TicketId(data[:_NONCE]), Claims(user, login, issued_at, expires_at))

    def _unsealed(self, sealed: bytes, nonce: bytes) -> bytes:
        for key in self._keys:
            try:
                said: bytes = crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, None, nonce, key)
            except CryptoError:
                continue
            return said
        raise KithError(ErrorCode.INVALID_TOKEN)


class OpenTickets:
    """The tickets of one user that nobody has come with yet. Whoever is not in here does not get in, so forgetting one
    (too many, a crash, a restart) makes it void and never good for a second time."""

    __slots__ = ("_expiries",)

    def __init__(self) -> None:
        self._expiries: dict[TicketId, WallTime] = {}

    def __len__(self) -> int:
        return len(self._expiries)

    def note(self, id: TicketId, expires_at: WallTime, now: WallTime) -> None:
        """Remember a new one; what has expired goes, and of too many the oldest."""
        kept = {id: expiry for id, expiry in self._expiries.items() if expiry + GRACE_MS > now}
        while len(kept) >= OPEN_MOST:
            del kept[next(iter(kept))]
        kept[id] = expires_at
        self._expiries = kept

    def spend(self, id: TicketId) -> bool:
        """True for the first who comes with it. The door has looked at the expiry."""
        return self._expiries.pop(id, None) is not None


def _key(secret: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) for one block, as for the tokens, but another key: neither can be taken for the other."""
    extracted = hmac.digest(b"kith tickets", secret.encode(), "sha256")
    return hmac.digest(extracted, b"xchacha20poly1305 key\x01", "sha256")
