"""JSON schemas of the structs that validate and encode, as the OpenAPI document has them."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET

from webapi.answers import Failure
from webapi.routing import Plain, Route

# A document is made of dictionaries by definition; they leave this package as bytes only.
Json = dict[str, Any]
REF: Final = "#/components/schemas/{name}"
UUID_PATTERN: Final = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

# What ends in `_id` or is called `id` is a UUID, and these are, too; but not those: names that others gave.
_UUIDS: Final = frozenset({"id", "reply_to", "deleted_by", "mentions"})
_NO_UUIDS: Final = frozenset({"request_id", "device_id", "sender_key_id"})


class Schemas:
    """The components, and for each type of a route the schema that stands for it.

    What is read and what is written have different required fields (a default is written, and need not be read), so
    they are two sets of components; a struct that is in both is called `…Input` where it is read.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        routes = list(routes)
        written: list[Any] = [kind for route in routes for _, kind in route.gives if _is_json(kind)]
        given = _schemas([Failure, *written])
        taken = _schemas([route.takes for route in routes if route.takes is not None])
        self.components: Json = {}
        for name, schema in given.components.items():
            self.components[name] = _written(schema, given.classes.get(name))
        clashing = {name for name, schema in taken.components.items() if name in self.components}
        for name, schema in taken.components.items():
            renamed = _renamed(_formatted(schema), clashing)
            self.components[name + "Input" if name in clashing else name] = renamed
        self._given = given.found
        self._taken = {kind: _renamed(schema, clashing) for kind, schema in taken.found.items()}

    def answer(self, kind: Any) -> Json:
        return self._given[kind]

    def body(self, kind: Any) -> Json:
        schema: Json = self._taken[kind]
        return schema


class _Found(msgspec.Struct):
    found: dict[Any, Json]
    components: Json
    classes: dict[str, Any]


def _schemas(kinds: list[Any]) -> _Found:
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    return _Found(dict(zip(kinds, schemas, strict=True)), components, dict(_named(kinds)))


def schema_of(kind: Any) -> Json:
    """The schema of a query parameter's type, which is no struct."""
    return msgspec.json.schema(kind)


def _is_json(kind: Any) -> bool:
    return kind is not None and not isinstance(kind, Plain)


def _named(kinds: list[Any]) -> Iterator[tuple[str, Any]]:
    """Each struct that these types are made of, by the name of its component."""
    waiting: list[Any] = list(msgspec.inspect.multi_type_info(kinds))
    seen: set[int] = set()
    while waiting:
        info = waiting.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        if isinstance(info, msgspec.inspect.StructType):
            schema = msgspec.json.schema_components([info.cls], ref_template=REF)[0][0]
            yield schema["$ref"].rpartition("/")[2], info.cls
            waiting += [field.type for field in info.fields]
            continue
        for part in ("type", "item_type", "key_type", "value_type"):
            waiting += [getattr(info, part)] if hasattr(info, part) else []
        waiting += getattr(info, "types", ()) or getattr(info, "item_types", ())


def _written(schema: Json, kind: Any) -> Json:
    """With every field required that is always written: a reader of the document need not ask for it first."""
    schema = _formatted(schema)
    if kind is None:
        return schema
    struct: Any = kind if isinstance(kind, type) else kind.__origin__
    if not struct.__struct_config__.omit_defaults:
        optional = {field.encode_name for field in msgspec.structs.fields(kind) if field.default is UNSET}
        schema["required"] = [name for name in schema["properties"] if name not in optional]
    for described in schema["properties"].values():
        described.pop("default", None)  # says what is assumed when it is missing, and it never is
    return schema


def _formatted(schema: Json) -> Json:
    """Ids and moments are text for msgspec; their names say which text."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: _with_format(name, value) for name, value in schema["properties"].items()}
    return schema


def _with_format(name: str, schema: Json) -> Json:
    if name in _NO_UUIDS:
        return dict(schema)
    if name in _UUIDS or name.endswith(("_id", "_ids")):
        return _refined(schema, {"format": "uuid", "pattern": UUID_PATTERN})
    if name == "timestamp" or name.endswith(("_at", "_until")):
        return _refined(schema, {"format": "date-time"})
    return dict(schema)


def _refined(schema: Json, format: Json) -> Json:
    if schema.get("type") == "string":
        return {**schema, **format}
    if schema.get("type") == "array":
        return {**schema, "items": _refined(schema["items"], format)}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_refined(choice, format) for choice in schema["anyOf"]]}
    return dict(schema)


def _renamed(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        renamed = {key: _renamed(part, names) for key, part in value.items()}
        ref = renamed.get("$ref")
        if isinstance(ref, str) and ref.rpartition("/")[2] in names:
            renamed["$ref"] = ref + "Input"
        return renamed
    return [_renamed(part, names) for part in value] if isinstance(value, list) else value
