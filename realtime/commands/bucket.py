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

PATIENCE_SECONDS = 60.0
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
    reason = ""
    with trio.move_on_after(PATIENCE_SECONDS):
        while not final(reason):
            try:
                return await store.make_bucket(ANSWER_SECONDS)
            except StoreAwayError as error:
                reason = str(error)
                log.warning("the object store does not answer yet", extra={"reason": reason})
            await trio.sleep(1.0)
    if reason == "keys refused":
        setting = f"it refuses S3_ACCESS_KEY and S3_SECRET_KEY, or their S3_REGION ({settings.s3_region})"
    else:
        setting = f"{reason or 'no answer in time'}; is S3_ENDPOINT right?"
    where = f"{settings.s3_bucket} at {settings.object_store} (S3_ENDPOINT)"
    raise RefusalError(f"the bucket {where} cannot be made: {setting}")


def final(reason: str) -> bool:
    """Whether waiting cannot help: the keys are wrong, or what answers there is no object store."""
    return reason == "keys refused" or reason.startswith(("answers 3", "answers 4"))
