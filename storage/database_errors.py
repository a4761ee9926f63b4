"""What can go wrong with PostgreSQL, told by whose fault it is; knows nothing of the driver."""

from typing import ClassVar, Final

from actors.shapes.errors import ErrorCode, KithError


class DatabaseError(KithError):
    """The root of the errors below. What crosses the wire is the code's own text; `str()` is for logs."""

    CODE: ClassVar[ErrorCode] = ErrorCode.DATABASE_ERROR

    def __init__(self, text: str) -> None:
        super().__init__(self.CODE)
        self.text = text

    def __str__(self) -> str:
        return self.text


class DatabaseAwayError(DatabaseError):
    """The world's fault: no connection, or it was lost; whether the statement took effect is not known."""

    CODE = ErrorCode.UNAVAILABLE


# Lost connections, wrong transaction states (a standby is read-only until it is promoted), rollbacks, lack of
# resources, locks, an operator, the disk: the same can be written later. Other errors follow from what is sent.
_OF_THE_WORLD: Final = frozenset({"08", "25", "40", "53", "55", "57", "58"})


class StatementFailedError(DatabaseError):
    """The server answered with an error that is no row's fault; the statement had no effect."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(f"{text} ({sqlstate})")
        self.sqlstate = sqlstate

    @property
    def of_the_world(self) -> bool:
        return self.sqlstate[:2] in _OF_THE_WORLD

    @property
    def rolled_back(self) -> bool:
        """Somebody was in the way, for this once: of two that wait for each other one is sent away."""
        return self.sqlstate[:2] == "40"


class RowRefusedError(DatabaseError):
    """A value cannot be stored: SQLSTATE class 22 or 23, or the driver cannot encode it.

    It carries no text of the server's and no cause: both quote the refused row, and logs show no content.
    """

    def __init__(self, sqlstate: str, constraint: str | None = None) -> None:
        super().__init__(f"refused with SQLSTATE {sqlstate} by {constraint or 'a type'}")
        self.sqlstate = sqlstate
        self.constraint = constraint


class UnsafeSettingsError(DatabaseError):
    """The server would acknowledge what is not on disk."""


class SchemaError(DatabaseError):
    """The schema in the database is not one that this code can work with."""
