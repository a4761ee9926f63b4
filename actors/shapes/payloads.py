"""The payloads of socket commands and their HTTP twins, as clients send them; ids are checked by rules/payloads.py."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from actors.shapes.messages import HISTORY_LIMIT, MENTIONS_LIMIT, RANGE_LIMIT

Id = Annotated[str, Meta(min_length=36, max_length=36)]
Seq = Annotated[int, Meta(ge=0, le=2**62)]
MEDIA_LIMIT = 10
HISTORY_DEFAULT = 50


class Nothing(Struct):
    """A payload whose fields, if any, mean nothing."""


class HelloPayload(Struct):
    token: str | None = None
    device_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    attempt: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    cursor: str | None = None


class SendPayload(Struct, gc=False):
    """`text`, or the ciphertext fields of a strict conversation."""

    conversation_id: Id
    client_id: Id
    text: str | UnsetType = UNSET
    ciphertext: str | UnsetType = UNSET
    reply_to: Id | None = None
    media_ids: Annotated[tuple[Id, ...], Meta(max_length=MEDIA_LIMIT)] = ()
    mentions: Annotated[tuple[Id, ...], Meta(max_length=MENTIONS_LIMIT)] = ()
    after: Id | None = None


class DeletePayload(Struct):
    conversation_id: Id
    message_id: Id


class HistoryPayload(Struct):
    conversation_id: Id
    before_seq: Seq | None = None
    after_seq: Seq | None = None
    limit: Annotated[int, Meta(ge=1)] = HISTORY_DEFAULT
    order: str = "desc"

    @property
    def clamped(self) -> int:
        return min(self.limit, HISTORY_LIMIT)


class RangePayload(Struct):
    conversation_id: Id
    after_rev: Seq
    limit: Annotated[int, Meta(ge=1)] = RANGE_LIMIT

    @property
    def clamped(self) -> int:
        return min(self.limit, RANGE_LIMIT)


class OpenPayload(Struct):
    conversation_id: Id
