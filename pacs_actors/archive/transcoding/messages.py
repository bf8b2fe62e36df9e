"""What the server and its transcoding processes say to each other: one JSON object a datagram, descriptors beside it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from protocols.errors import PacsError

MAX_MESSAGE_BYTES: Final = 4096
MAX_REASON_CHARACTERS: Final = 300


class CannotTranscode(PacsError):
    """The data set cannot be given in the transfer syntax that was asked for; ``reason`` names no patient data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Job(Struct, frozen=True, forbid_unknown_fields=True):
    """Convert the data set of ``length`` bytes at ``offset`` of the first descriptor into the second, which is empty.

    source, target: transfer syntax UIDs
    max_bytes:      the output may have; cpu_s: the work may take
    """

    offset: int
    length: int
    source: str
    target: str
    max_bytes: int
    cpu_s: int


class Converted(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    length: int


class Refused(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    reason: str


Answer = Converted | Refused

encode: Final = msgspec.json.Encoder().encode
decode_job: Final = msgspec.json.Decoder(Job).decode
decode_answer: Final = msgspec.json.Decoder[Answer](Answer).decode
