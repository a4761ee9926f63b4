"""A login that begins: the one noun that every way to sign in ends with."""

from msgspec import Struct

from actors.shapes.ids import LoginId
from actors.shapes.times import WallTime


class NewLogin(Struct, frozen=True):
    id: LoginId
    token_hash: bytes
    user_agent: str | None
    address: str | None
    created_at: WallTime
    expires_at: WallTime
