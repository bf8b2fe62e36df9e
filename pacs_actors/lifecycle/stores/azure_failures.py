"""What goes wrong between us and Azure Blob Storage, in our words."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from pacs_actors.lifecycle.stores.errors import (
    CopyMissing,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from pacs_actors.lifecycle.stores.remote import PreconditionFailed, RangeBeyondEnd

# Damage on the way, or a moment's trouble: the same request may succeed.
_PASSING: Final = frozenset(
    {"Md5Mismatch", "Crc64Mismatch", "RequestBodyTooSmall", "SnapshotOperationRateExceeded"}
)
_FAILURES: Final = (OSError, EOFError, TimeoutError, asyncio.TimeoutError, aiohttp.ClientError, AzureError)


class BlocksGone(StoreError):
    """The blocks have become another writer's blob, or were dropped with it."""


_BY_CODE: Final[dict[str, type[StoreError]]] = {
    "BlobNotFound": CopyMissing,
    "BlobAlreadyExists": PreconditionFailed,
    "ConditionNotMet": PreconditionFailed,
    "TargetConditionNotMet": PreconditionFailed,
    "InvalidBlockList": BlocksGone,
    "InvalidRange": RangeBeyondEnd,
}


def translated(store: str, error: Exception) -> StoreError | None:
    """In our words; None if it is our bug. error: of azure-core, aiohttp or the socket

    The text holds no header, body, address or key of access.
    """
    if not isinstance(error, _FAILURES):
        return None
    if isinstance(error, HttpResponseError) and error.status_code is not None and error.status_code >= 300:
        return _answered(store, error, error.status_code)
    if isinstance(error, ClientAuthenticationError):
        return StoreDenied(store, "the request could not be signed")
    passing = isinstance(
        error,
        OSError
        | EOFError
        | aiohttp.ClientError
        | ServiceRequestError
        | ServiceResponseError
        | DecodeError
        | HttpResponseError,  # of an answer that was cut off
    )
    return StoreUnavailable(store, f"no usable answer ({type(error).__name__})", retry=passing)


def _answered(store: str, error: HttpResponseError, status: int) -> StoreError:
    given = getattr(error, "error_code", None)
    code = str(getattr(given, "value", given) or "")[:64]
    what = f"answered {code or 'an error'} ({status})"
    if code in _BY_CODE:
        return _BY_CODE[code](store, what)
    if status == 507:
        return StoreFull(store, what)
    if code in _PASSING or status >= 500 or status in (408, 429):
        return StoreUnavailable(store, what)
    if status == 404 and not code:
        return CopyMissing(store, what)
    if status in (401, 403):
        return StoreDenied(store, what)
    return StoreUnavailable(store, what, retry=False)
