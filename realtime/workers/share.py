"""What one of N workers may have of what the operator allowed for all of them."""

import math

import msgspec

from realtime.settings import Settings


def share_of(settings: Settings, number: int) -> Settings:
    """The settings of worker `number`, a node of its own. Bounds of memory and of one connection stay whole; limits
    are divided where their buckets are made (realtime/limits.py)."""
    workers = settings.kith_workers
    return msgspec.structs.replace(
        settings,
        kith_node=f"{settings.kith_node}-{number}",
        database_pool_max=settings.database_pool_max // workers,
        max_connections=math.ceil(settings.max_connections / workers),
        handshakes_per_second=math.ceil(settings.handshakes_per_second / workers),
        password_hash_concurrency=max(1, settings.password_hash_concurrency // workers),
    )
