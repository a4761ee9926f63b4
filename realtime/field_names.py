"""Says in words what a field of the wire takes, from the type that checks it."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from msgspec import Meta, Struct, UnsetType

Shapes = Mapping[type[Struct], str]

WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", object: "anything"}
ID_LENGTH = 36
HUGE = 2**62  # a bound that keeps numbers inside the database's bigint, and that nobody will reach


def say(name: str, hint: Any, shapes: Shapes) -> str:
    """`name` is the field's: times travel as text, and only by names like `…_at` can they be told from other text."""
    if isinstance(hint, NewType):
        return "UUID" if hint.__supertype__ is str else say(name, hint.__supertype__, shapes)
    if hint is str and name.endswith(("_at", "_until", "_time")):
        return "time"
    if isinstance(hint, type) and issubclass(hint, Struct):
        return f"**{shapes[hint]}**"
    if hint in WORDS:
        return WORDS[hint]
    return _compound(name, get_origin(hint), get_args(hint), shapes)


def _compound(name: str, origin: Any, parts: tuple[Any, ...], shapes: Shapes) -> str:
    if origin is Annotated:
        return _bounded(say(name, parts[0], shapes), parts[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(say(name, part, shapes) for part in parts if part is not UnsetType)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (list, tuple):
        return f"list of {say(name, parts[0], shapes)}"
    if origin is dict:
        return f"object: {say(name, parts[1], shapes)} by {say('', parts[0], shapes)}"
    raise TypeError(f"there are no words for the type of {name}: {origin}{parts}")


def _bounded(base: str, notes: tuple[Any, ...]) -> str:
    meta = next(note for note in notes if isinstance(note, Meta))
    if meta.min_length == meta.max_length == ID_LENGTH:
        return "UUID"
    least = meta.ge if meta.ge is not None else meta.min_length
    most = meta.le if meta.le is not None else meta.max_length
    unit = " characters" if base == "string" else ""
    if least is None or least == 0:
        return f"{base} ≥ 0" if most is None or most >= HUGE else f"{base}, at most {most:,}{unit}"
    return f"{base} ≥ {least}{unit}" if most is None else f"{base} of {least} to {most:,}{unit}"
