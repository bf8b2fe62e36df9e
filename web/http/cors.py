"""Which pages of other origins may read our answers (CORS, the Fetch standard). Pure.

None, unless the settings list them. They log in by a token of their own: cookies are never allowed, so there is no
``Access-Control-Allow-Credentials``, and no ``*``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Headers = list[tuple[bytes, bytes]]

_PLACES: Final = ("/api/", "/dicom-web")
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, accept, if-none-match, range"),
    (b"access-control-max-age", b"600"),
)
_EXPOSED: Final = (
    b"etag, location, content-location, content-disposition, content-range, retry-after, warning"
)


def answered_to(path: str, headers: Iterable[tuple[bytes, bytes]], allowed: tuple[str, ...]) -> Headers:
    """What an answer needs for the page that asks; nothing for our own and for strangers."""
    if not allowed or not path.startswith(_PLACES):
        return []
    added: Headers = [(b"vary", b"origin")]
    origin = _one(headers, b"origin")
    if origin is not None and origin.decode("latin-1") in allowed:
        added += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED)]
    return added


def preflight(
    method: str, path: str, headers: Iterable[tuple[bytes, bytes]], allowed: tuple[str, ...]
) -> Headers | None:
    """The answer's headers to a browser that asks whether it may ask; None if this is no such question, or it may not."""
    headers = list(headers)
    if method != "OPTIONS" or _one(headers, b"access-control-request-method") is None:
        return None
    added = answered_to(path, headers, allowed)
    return [*added, *_PREFLIGHT] if len(added) > 1 else None


def _one(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((bytes(value) for key, value in headers if key.lower() == name), None)
