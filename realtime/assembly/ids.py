"""New ids: time-ordered, made by Rust."""

from uuid_utils import uuid7

from actors.shapes.ids import MessageId


def new_id() -> str:
    return str(uuid7())


def new_message_id() -> MessageId:
    return MessageId(str(uuid7()))
