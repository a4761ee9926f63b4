"""The seed of the signing key when the operator gave none: made once, kept in KITH_VAR for all restarts."""

import contextlib
import os
import secrets

import msgspec

from realtime.settings import Settings, SettingsError


def settle_secret(settings: Settings) -> Settings:
    """The settings with a `jwt_secret` in any case; KITH_VAR must exist."""
    if settings.jwt_secret:
        return settings
    path = settings.var / "secret"
    if not path.exists():
        unfinished = settings.var / f"secret.{os.getpid()}"
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Of several processes that start together the first wins, and no one reads half a secret.
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
        unfinished.unlink()
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingsError([f"{path} cannot be read ({error.strerror}): another user made it."]) from None
    if len(secret) < 32:
        raise SettingsError([f"{path} does not hold a secret; remove it, and everybody has to sign in again."])
    return msgspec.structs.replace(settings, jwt_secret=secret)
