"""The node's numbers, for Prometheus."""

from typing import Final

from webapi.answers import Answer
from webapi.call import Call
from webapi.routing import Access, Plain, Route


async def show_metrics(call: Call) -> Answer:
    """Everything that is counted, in Prometheus' text format; of several workers, whichever is asked tells of all."""
    gathered = call.services.exposition
    content_type, body = call.services.metrics.expose() if gathered is None else await gathered()
    return Answer(body, content_type=content_type)


ROUTES: Final = (Route("GET", "/metrics", show_metrics, Access.OPEN, gives=((200, Plain("text/plain")),), exact=True),)
