"""JSON schemas of the structs that validate and encode, as the OpenAPI document has them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from webapi.answers import Failure
from webapi.document.openapi_fields import Json, described
from webapi.routing import Plain, Route

REF: Final = "#/components/schemas/{name}"


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
        names = {name: _readable(name) for name in [*given.components, *taken.components]}
        for name, schema in given.components.items():
            shown = {**_written(name, schema, given.classes.get(name)), "title": names[name]}
            self.components[names[name]] = _renamed(shown, names)
        read = {name: names[name] + ("Input" if name in given.components else "") for name in taken.components}
        for name, schema in taken.components.items():
            self.components[read[name]] = _renamed(_formatted(name, schema), read)
        self._given: dict[Any, Json] = {kind: _renamed(schema, names) for kind, schema in given.found.items()}
        self._taken = {kind: _renamed(schema, read) for kind, schema in taken.found.items()}

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


def _written(name: str, schema: Json, kind: Any) -> Json:
    """With every field required that is always written: a reader of the document need not ask for it first."""
    schema = _formatted(name, schema)
    if kind is None:
        return schema
    struct: Any = kind if isinstance(kind, type) else kind.__origin__
    if not struct.__struct_config__.omit_defaults:
        optional = {field.encode_name for field in msgspec.structs.fields(kind) if field.default is UNSET}
        schema["required"] = [field for field in schema["properties"] if field not in optional]
    for field in schema["properties"].values():
        field.pop("default", None)  # says what is assumed when it is missing, and it never is
    return schema


def _formatted(name: str, schema: Json) -> Json:
    """Ids and moments are text for msgspec; their names say which text."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {field: described(name, field, value) for field, value in schema["properties"].items()}
    return schema


def _readable(name: str) -> str:
    """`Page[UserSummary]`, which msgspec calls `Page_UserSummary_`, as one would name a class."""
    generic, _, of = name.rstrip("_").partition("_")
    return of + generic


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        renamed = {key: _renamed(part, names) for key, part in value.items()}
        ref = renamed.get("$ref")
        if isinstance(ref, str):
            name = ref.rpartition("/")[2]
            renamed["$ref"] = REF.format(name=names.get(name, name))
        return renamed
    return [_renamed(part, names) for part in value] if isinstance(value, list) else value
