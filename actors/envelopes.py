"""Encodes what a client receives: events, `ok` and `error`, each once, as the frame that every receiver shares."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from actors.shapes.errors import KithError
from actors.shapes.frames import DURABLE, Frame, FrameClass

Ref = str | int | None

# Typed structs straight to JSON: 0.5 us for a message event. orjson is as fast, but wants a dict built first.
_encode: Final = msgspec.json.Encoder().encode


class _Event(msgspec.Struct, gc=False):
    type: str
    payload: object


class _Ok(msgspec.Struct, gc=False):
    ref: Ref
    payload: object
    type: str = "ok"


class _ErrorBody(msgspec.Struct, gc=False):
    code: str
    message: str
    details: dict[str, Any]
    outcome: str
    retry_after: float | UnsetType = UNSET


class _Error(msgspec.Struct, gc=False):
    ref: Ref
    error: _ErrorBody
    type: str = "error"


def event_frame(type: str, payload: object, born: float = 0.0, frame_class: FrameClass = DURABLE) -> Frame:
    return Frame(_encode(_Event(type, payload)), frame_class, None, born)


def ok_frame(ref: Ref, payload: object, born: float = 0.0) -> Frame:
    return Frame(_encode(_Ok(ref, payload)), DURABLE, None, born)


def error_frame(ref: Ref, error: KithError) -> Frame:
    """An error answers a command, so it is as durable as the `ok` it stands for."""
    body = _ErrorBody(
        error.code,
        error.message,
        error.details,
        error.outcome,
        UNSET if error.retry_after is None else error.retry_after,
    )
    return Frame(_encode(_Error(ref, body)))
