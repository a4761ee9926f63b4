"""The name of the request that is being served, so that every log line on its way carries it."""

from contextvars import ContextVar

# An actor that a request wakes must not keep it: the actor system starts its tasks in an empty context.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
