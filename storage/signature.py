"""AWS Signature Version 4 of one request to an object store: pure; it knows no clock and sends nothing."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from msgspec import Struct

EMPTY_BODY: Final = hashlib.sha256(b"").hexdigest()
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class StoreKeys(Struct, frozen=True):
    """Who asks, and what proves it."""

    access_key: str
    secret_key: str
    region: str

    def __repr__(self) -> str:
        return f"StoreKeys({self.access_key[:4]}…)"


class StoreRequest(Struct, frozen=True, kw_only=True):
    """`at` is the time in the form 20130524T000000Z; `headers` are those to be signed beside host and date."""

    method: str
    host: str
    path: str
    at: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body_hash: str = EMPTY_BODY


def signed_headers(request: StoreRequest, keys: StoreKeys) -> dict[str, str]:
    """The request's headers with everything that the store checks."""
    headers = {name.lower(): value.strip() for name, value in request.headers.items()}
    headers |= {"host": request.host, "x-amz-content-sha256": request.body_hash, "x-amz-date": request.at}
    names = ";".join(sorted(headers))
    query = sorted((_quoted(name), _quoted(value)) for name, value in request.query.items())
    canonical = "\n".join(
        [
            request.method,
            _quoted(request.path, "/"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            request.body_hash,
        ]
    )
    day = request.at[:8]
    scope = f"{day}/{keys.region}/s3/aws4_request"
    to_sign = "\n".join([_ALGORITHM, request.at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys.secret_key}".encode()
    for part in (day, keys.region, "s3", "aws4_request"):
        key = _mac(key, part)
    signature = _mac(key, to_sign).hex()
    who = f"Credential={keys.access_key}/{scope}"
    headers["authorization"] = f"{_ALGORITHM} {who},SignedHeaders={names},Signature={signature}"
    return headers


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _quoted(text: str, safe: str = "") -> str:
    return quote(text, safe=f"{safe}-_.~")
