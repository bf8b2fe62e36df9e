"""What goes wrong between us and an S3 server, in our words."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from pacs_actors.lifecycle.stores.errors import (
    CopyMissing,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from pacs_actors.lifecycle.stores.remote import PreconditionFailed, RangeBeyondEnd

_MISSING: Final = frozenset({"NoSuchKey", "404"})
_FULL: Final = frozenset(
    {"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "InsufficientCapacity", "507"}
)
# Damage on the way, or a moment's trouble: the same request may succeed.
_PASSING: Final = frozenset(
    {"BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "RequestTimeout", "SlowDown",
     "OperationAborted", "ConditionalRequestConflict", "RequestTimeTooSkewed"}
)  # fmt: skip
_FAILURES: Final = (
    OSError,
    EOFError,
    TimeoutError,
    asyncio.TimeoutError,
    aiohttp.ClientError,
    BotoCoreError,
    ClientError,
    ResponseParserError,
)


class NotImplementedThere(StoreError):
    """The server does not know what was asked."""


class NoSuchUpload(StoreError):
    """The multipart upload has ended, by us or by somebody else."""


_BY_CODE: Final[dict[str, type[StoreError]]] = {
    "PreconditionFailed": PreconditionFailed,
    "412": PreconditionFailed,
    "NotImplemented": NotImplementedThere,
    "501": NotImplementedThere,
    "NoSuchUpload": NoSuchUpload,
    "InvalidRange": RangeBeyondEnd,
    "416": RangeBeyondEnd,
}


def translated(store: str, error: Exception) -> StoreError | None:
    """In our words; None if it is our bug. error: of aiobotocore, aiohttp or the socket

    The text holds no header, body or key of access.
    """
    if not isinstance(error, _FAILURES):
        return None
    if isinstance(error, ClientError):
        return _answered(store, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return StoreDenied(store, "no credentials were found")
    passing = isinstance(
        error,
        OSError
        | EOFError
        | aiohttp.ClientError
        | BotoConnectionError
        | HTTPClientError
        | ResponseParserError,
    )
    return StoreUnavailable(store, f"no usable answer ({type(error).__name__})", retry=passing)


def _answered(store: str, error: ClientError) -> StoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))[:64]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = f"answered {code or 'an error'} ({status})"
    if code in _BY_CODE:
        return _BY_CODE[code](store, what)
    if code in _FULL or status == 507:
        return StoreFull(store, what)
    if code in _PASSING or status >= 500 or status in (408, 429):
        return StoreUnavailable(store, what)
    if code in _MISSING:
        return CopyMissing(store, what)
    if status in (401, 403):
        return StoreDenied(store, what)
    return StoreUnavailable(store, what, retry=False)
