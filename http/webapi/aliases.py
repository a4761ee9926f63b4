"""Paths of the documents that Kith was drawn from: each is answered by a handler of ours, as if it had been called so.

Keyed by method and the exact path, before the prefix is taken off.
"""

from typing import Final

ALIASES: Final[dict[tuple[str, str], str]] = {
    ("POST", "/signup"): "/auth/register",
    ("POST", "/login"): "/auth/login",
}
