"""The public keys by which anybody can check our access tokens."""

from typing import Final

from msgspec import Struct

from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Access, Route


class PublicKey(Struct, frozen=True):
    """One key as RFC 8037 writes it."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class KeySet(Struct, frozen=True):
    keys: list[PublicKey]


async def show_keys(call: Call) -> Answer:
    """The keys that access tokens are signed with."""
    return Answer(call.services.tokens.jwks(), headers=(("Cache-Control", "public, max-age=300"),))


ROUTES: Final = (Route("GET", "/.well-known/jwks.json", show_keys, Access.OPEN, gives=((200, KeySet),)),)
