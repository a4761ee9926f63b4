"""The one error of the embedded PostgreSQL: a sentence for whoever typed `make run`."""


class EmbeddedPostgresError(Exception):
    """The machine, not Kith, is at fault; the text says what is wrong and what to do about it."""
