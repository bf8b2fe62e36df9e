"""The head of a plain HTTP/1.1 request, read at once. Pure.

Only what leaves no doubt where a request ends and what it means is read here: no space before a colon, no Transfer-Encoding, at
most one Content-Length, of digits only, exactly one Host (RFC 9112 sections 5, 6.3). Whatever else comes, well-formed or not,
is h11's to judge, but for the line ends that it would forgive. So nothing can be smuggled past one of the two, or past a proxy.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

MOST_BYTES: Final = 16384
_HEAD: Final = re.compile(
    rb"([A-Z]{1,16}+) (/[!-~]*+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_FIELD: Final = re.compile(rb"([^:]+):([^\r]*)\r\n")
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"upgrade", b"expect", b"http2-settings", b"trailer"})
_DOUBTFUL: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_LENGTH: Final = re.compile(rb"\d{1,18}")


class Head(Struct):
    """headers: names in lower case. length_bytes: of the body. size_bytes: of the head itself, up to the body"""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    length_bytes: int
    keep_alive: bool
    size_bytes: int


def read_head(data: bytes) -> Head | None:
    """The request that data begins with; None if it is no plain one, or not all of its head is there."""
    match = _HEAD.match(data, 0, MOST_BYTES)
    if match is None:
        return None
    headers = [(name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(match[3])]
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 or not _NOT_PLAIN.isdisjoint(names):
        return None
    length, keep_alive = 0, True
    if b"content-length" in names:
        given = headers[names.index(b"content-length")][1]
        if names.count(b"content-length") != 1 or not _LENGTH.fullmatch(given):
            return None
        length = int(given)
    if b"connection" in names:
        option = headers[names.index(b"connection")][1].lower()
        if names.count(b"connection") != 1 or option not in (b"keep-alive", b"close"):
            return None
        keep_alive = option == b"keep-alive"
    return Head(match[1], match[2], headers, length, keep_alive, match.end())


def has_doubtful_line(data: bytes, end: int) -> bool:
    """Whether the head has a bare CR or LF, or a folded line, up to this place (RFC 9112 sections 2.2 and 5.2)."""
    return _DOUBTFUL.search(data, 0, end) is not None
