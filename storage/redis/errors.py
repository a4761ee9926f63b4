"""What can go wrong with Redis. None of it loses anything: the sweep comes once a second in any case."""


class RedisError(Exception):
    """The root of the errors below."""


class RedisAwayError(RedisError):
    """The world's fault: no connection, it was lost, or nobody answers on it."""


class RedisRefusedError(RedisError):
    """The server said no: a wrong password, a database that does not exist, a command it does not know."""
