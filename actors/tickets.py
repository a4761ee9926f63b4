"""Tickets: one connection each for who cannot send a header with its upgrade; made and opened here, spent by the user's
actor."""

import binascii
import hmac
import re
import secrets
import uuid
from typing import Final, Protocol

from msgspec import Struct
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)
from nacl.exceptions import CryptoError

from actors.ports import WriteToken
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.shapes.users import TicketId, TicketStub
from actors.tokens import Claims

TICKET_LIFETIME: Final = Seconds(30.0)

_NONCE: Final = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_KIND: Final = b"\x01"
# 24 bytes of nonce, 41 sealed (kind, user, login, expiry) and 16 of proof: 81 bytes, so base64 has no spare bits and a
# ticket one spelling.
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{108}").fullmatch


class Ticket(Struct, frozen=True, gc=False):
    """What an opened ticket says: who comes by which login, and what has to be spent for it."""

    stub: TicketStub
    claims: Claims


class TicketAuthority:
    """Makes tickets with the current secret; opens those of the previous one, too.

    Sealed and not only signed: a ticket travels in a URL, and whoever reads a proxy's log should not learn who was
    there.
    """

    def __init__(self, secret: str, previous: str | None = None) -> None:
        self._keys = [_key(secret)] + ([_key(previous)] if previous else [])

    def issue(self, user: UserId, login: LoginId, now: WallTime) -> str:
        """A ticket as it travels."""
        expires_at = WallTime(now + round(TICKET_LIFETIME * 1000))
        nonce = secrets.token_bytes(_NONCE)  # 192 random bits: never twice, so it is the id as well
        said = _KIND + uuid.UUID(user).bytes + uuid.UUID(login).bytes + expires_at.to_bytes(8, "big")
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(said, None, nonce, self._keys[0])
        return binascii.b2a_base64(nonce + sealed, newline=False).decode().replace("+", "-").replace("/", "_")

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
        stub = TicketStub(TicketId(data[:_NONCE]), expires_at)
        return Ticket(stub, Claims(user, login, issued_at, expires_at))

    def _unsealed(self, sealed: bytes, nonce: bytes) -> bytes:
        for key in self._keys:
            try:
                said: bytes = crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, None, nonce, key)
            except CryptoError:
                continue
            return said
        raise KithError(ErrorCode.INVALID_TOKEN)


class SpentTickets(Protocol):
    """Which tickets somebody has come with, for all nodes, kept for longer than any of them would open the ticket."""

    async def spend(self, token: WriteToken, ticket: TicketStub) -> bool:
        """True for the first. Raises UNAVAILABLE; a ticket is good no more after that either, if it was written."""


def _key(secret: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) for one block, as for the tokens, but another key: neither can be taken for the other."""
    extracted = hmac.digest(b"kith tickets", secret.encode(), "sha256")
    return hmac.digest(extracted, b"xchacha20poly1305 key\x01", "sha256")
