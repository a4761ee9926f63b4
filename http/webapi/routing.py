"""The table of routes: which handler answers what, who may call it and which bucket pays."""

import enum
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, Rule

from actors.limiter import Limit
from actors.shapes.errors import ErrorCode, KithError
from webapi.aliases import ALIASES
from webapi.answers import Answer

if TYPE_CHECKING:
    from webapi.call import Call

PREFIX: Final = "/api/v1"
_UUID: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


class Access(enum.Enum):
    OPEN = "open"  # anybody, and no bucket pays
    ANONYMOUS = "anonymous"  # anybody; the client's address pays
    USER = "user"  # a valid access token; the user pays
    ADMIN = "admin"  # the same of a platform admin, as the database knows him at this moment

    @property
    def signed_in(self) -> bool:
        return self in (Access.USER, Access.ADMIN)


class Parameter(Struct, frozen=True):
    """One query parameter, as the documentation shows it; the handler reads it with webapi/paging.py."""

    name: str
    meaning: str
    kind: Any = str  # or int, or a Literal


class Plain(Struct, frozen=True):
    """An answer that is no JSON, in a route's `gives`."""

    media_type: str
    tagged: bool = False  # it carries an ETag


class Route(Struct, frozen=True):
    """What follows `limit` is for the documentation, and for the tests that hold every answer against it."""

    method: str
    path: str  # ids in braces, as in the documents; also the label of its metrics
    handler: "Callable[[Call], Awaitable[Answer]]"
    access: Access = Access.USER
    limit: Limit = Limit.REQUESTS
    takes: type[Struct] | None = None  # the JSON body
    needs_body: bool = True  # False: none is the same as an empty object
    gives: tuple[tuple[int, Any], ...] = ()  # (status, the type of the answer's body, or Plain; None: none)
    query: tuple[Parameter, ...] = ()
    refuses: tuple[ErrorCode, ...] = ()  # beside what any route of this access may answer
    secret: bool = False  # what it answers is kept by nobody, not even with an ETag
    exact: bool = False  # answers where it is spelled in these letters only: a proxy in front hides it by its path


class _Id(BaseConverter):
    """A UUID and nothing else, so that literal paths never meet parameters."""

    regex = _UUID
    part_isolating = True

    def to_python(self, value: str) -> str:
        return value.lower()


class _UserId(_Id):
    regex = f"me|{_UUID}"


class _Emoji(BaseConverter):
    """Whatever a client takes for an emoji; the handler says whether it is one."""

    regex = "[^/]{1,64}"
    part_isolating = True


class RouteTable:
    """Finds the route of a method and a path: a path of the documents, or one of ours with the prefix or without."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[str, Route] = {}
        # Neither redirects nor merges: a client that got the path wrong is told so, and never sent elsewhere.
        self._map = Map(
            converters={"id": _Id, "user": _UserId, "emoji": _Emoji},
            strict_slashes=False,
            merge_slashes=False,
            redirect_defaults=False,
        )
        for route in routes:
            name = f"{route.method} {route.path}"
            if name in self._routes:
                raise ValueError(f"{name} is there twice")
            self._routes[name] = route
            for prefix in ("", PREFIX):
                # An exact path of a document goes before ours of the same name.
                if f"{route.method} {prefix}{route.path}" not in ALIASES:
                    self._add(name, route.method, prefix + route.path)
        for alias, name in ALIASES.items():
            if name in self._routes:
                method, _, path = alias.partition(" ")
                self._add(name, method, path, strict=True)
        self._adapter = self._map.bind("")

    def _add(self, name: str, method: str, path: str, strict: bool = False) -> None:
        self._map.add(Rule(_rule(path), endpoint=name, methods=[method], strict_slashes=strict))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Raises ROUTE_NOT_FOUND, or METHOD_NOT_ALLOWED with the methods that are."""
        if path.startswith("//"):  # werkzeug would look past the first of them, and a rule of a proxy's would not
            raise KithError(ErrorCode.ROUTE_NOT_FOUND)
        try:
            name, params = self._adapter.match(path, method)
        except MethodNotAllowed as error:
            allowed = sorted({*(error.valid_methods or ()), "OPTIONS"})
            raise KithError(ErrorCode.METHOD_NOT_ALLOWED, details={"allowed": allowed}) from None
        except NotFound:
            raise KithError(ErrorCode.ROUTE_NOT_FOUND) from None
        return self._routes[name], dict(params)


_KINDS: Final = {"user_id": "user", "emoji": "emoji"}


def _rule(path: str) -> str:
    """`/users/{user_id}` as werkzeug writes it."""
    return re.sub(r"\{(\w+)\}", lambda found: f"<{_KINDS.get(found[1], 'id')}:{found[1]}>", path)
