"""Requests with an `Idempotency-Key`: what they ask for is done once, and a repeat gets the first answer."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.idempotency import LONGEST, REGISTRATION, Keyed, KeyUsedError
from webapi.answers import Answer
from webapi.call import Call

T = TypeVar("T")

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = ("Idempotent-Replayed", "true")
_TRIES: Final = 3


class Once(NamedTuple, Generic[T]):
    """What came of the command, now or under the same key before."""

    value: T
    replayed: bool

    def answer(self, value: object, status: int) -> Answer:
        return Answer(value, status, (REPLAYED,) if self.replayed else ())


async def once(
    call: Call,
    gives: type[T],
    do: Callable[[Keyed | None], Awaitable[T]],
    *,
    unread: tuple[str, ...] = (),
    made: Callable[[T], bool] = lambda _: True,
) -> Once[T]:
    """Do it, unless it was done under this key within a day; the body has been read by then.

    `do` puts what it is given into its command, whose actor has it written in the transaction of the effect, with the
    typed outcome `gives`. `unread` names fields of the body that no fingerprint is made of; `made` tells whether
    anything was written, and the key with it. Raises IDEMPOTENCY_CONFLICT when the key was used for another request.
    """
    key = call.request.headers.get(HEADER)
    if key is None:
        return Once(await do(None), replayed=False)
    check_key(key)
    services = call.services
    asked = _asked(call, await call.data(), unread)
    owner = REGISTRATION if call.claims is None else call.me
    keyed = Keyed(owner, key, services.fingerprints.of(asked), call.now)

    async def done_before() -> Once[T] | None:
        kept = await services.keys.find(owner, key, call.now)
        if kept is None:
            return None
        if not services.fingerprints.knows(kept.fingerprint, asked):
            raise used_otherwise()
        return Once(msgspec.json.decode(kept.outcome, type=gives), replayed=True)

    for _ in range(_TRIES):
        before = await done_before()
        if before is not None:
            return before
        try:
            value = await do(keyed)
        except KeyUsedError:  # somebody was faster with it: his answer is there now
            continue
        if made(value):
            return Once(value, replayed=False)
        # What it found there may have been made a moment ago, under this very key.
        return await done_before() or Once(value, replayed=False)
    raise KeyUsedError


def used_otherwise() -> KithError:
    return KithError(
        ErrorCode.IDEMPOTENCY_CONFLICT,
        "This Idempotency-Key was used for another request",
        details={"field": HEADER},
    )


def check_key(key: str) -> None:
    if not 0 < len(key) <= LONGEST or not key.isascii() or not key.isprintable():
        raise invalid(HEADER, f"`{HEADER}` has 1 to {LONGEST} printable ASCII characters")


def _asked(call: Call, data: bytes, unread: tuple[str, ...]) -> bytes:
    """Method, route, what the path names, and the JSON value: neither the order of keys nor spaces make another one."""
    assert call.route is not None
    try:
        body: Any = msgspec.json.decode(data) if data else None
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if name not in unread}
        return msgspec.json.encode([call.route.method, call.route.path, call.params, body], order="deterministic")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # In a field that the handler does not know: without a fingerprint a repeat could not be told.
        raise KithError(ErrorCode.INVALID_PAYLOAD, "The body is no JSON that a repeat could be compared with") from None
