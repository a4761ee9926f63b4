"""The errors of the embedded servers: a sentence for whoever typed `make run`."""


class EmbeddedError(Exception):
    """The machine, not Kith, is at fault; the text says what is wrong and what to do about it."""


class EmbeddedPostgresError(EmbeddedError):
    """PostgreSQL cannot be started, or not as it should."""


class EmbeddedValkeyError(EmbeddedError):
    """Likewise Valkey."""
