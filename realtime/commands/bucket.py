"""`kith bucket`: makes S3_BUCKET in the object store if there is none, waiting for a store that is still starting."""

import logging

import trio

from actors.clock import SystemClock
from actors.shapes.times import Seconds
from realtime.refusal import RefusalError
from realtime.settings import Settings
from storage.object_store import ObjectStore, StoreAwayError
from storage.signature import StoreKeys

log = logging.getLogger("kith.bucket")

PATIENCE_SECONDS = 30
ANSWER_SECONDS = Seconds(5.0)


def make_bucket(settings: Settings) -> int:
    if not settings.object_store:
        raise RefusalError("there is no object store: set S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY.")
    made = trio.run(_make, settings)
    print(f"{'Made' if made else 'There is already'} the bucket {settings.s3_bucket} at {settings.object_store}.")
    return 0


async def _make(settings: Settings) -> bool:
    keys = StoreKeys(settings.s3_access_key, settings.s3_secret_key, settings.s3_region)
    store = ObjectStore(settings.object_store, settings.s3_bucket, keys, SystemClock().now)
    for left in range(PATIENCE_SECONDS, -1, -1):
        try:
            return await store.make_bucket(ANSWER_SECONDS)
        except StoreAwayError as error:
            if not left or str(error) == "keys refused":
                where = f"{settings.s3_bucket} at {settings.object_store}"
                raise RefusalError(f"the bucket {where} cannot be made: {error}.") from None
            log.warning("the object store does not answer yet", extra={"reason": str(error)})
            await trio.sleep(1.0)
    raise AssertionError("the last attempt either returns or raises")
