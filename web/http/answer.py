"""What a handler answers: a status, headers, and a body that is there already or comes piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from protocols.errors import PacsError, PeerError, Refusal, Unavailable
from web.problems import CONTENT_TYPE, document

DICOM_JSON: Final = "application/dicom+json"
# Extension of ASGI between Front and Connection: a body's message may have pieces, also of files, under this key.
FILES: Final = "pacs.pieces"


class FilePart(Protocol):
    """Bytes of an open file."""

    @property
    def fd(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...


@runtime_checkable
class FileBody(Protocol):
    """A body, some of which is in files: whoever can send from a file asks for groups, others iterate over bytes.

    short: not worth watching whether the client leaves
    """

    short: bool

    def groups(self) -> AsyncGenerator[tuple[bytes | FilePart, ...], None]:
        """What to send together; what it takes from files is in the kernel's memory."""


class Answer(Struct, frozen=True):
    """body: bytes, or their iterator; it is closed when the client leaves, so that it can give back what it holds."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | AsyncIterator[bytes] = b""

    @property
    def length_bytes(self) -> int | None:
        return len(self.body) if isinstance(self.body, bytes) else None


def json_answer(
    value: object, status: int = 200, content_type: str = "application/json", *headers: tuple[str, str]
) -> Answer:
    return Answer(status, (("content-type", content_type), *headers), msgspec.json.encode(value))


def problem_answer(status: int, detail: str = "", *headers: tuple[str, str]) -> Answer:
    return Answer(status, (("content-type", CONTENT_TYPE), *headers), document(status, detail))


def of_error(error: PacsError) -> Answer:
    """An expected error as a problem document (RFC 9457)."""
    match error:
        case Refusal(http_status=401):
            return problem_answer(401, str(error), ("www-authenticate", "Bearer"))
        case Refusal():
            return problem_answer(error.http_status, str(error))
        case Unavailable():
            return problem_answer(503, str(error), ("retry-after", str(error.retry_after_s)))
        case PeerError():
            return problem_answer(400, str(error))
        case _:
            return problem_answer(500)
