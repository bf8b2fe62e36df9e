"""What the server and a pixel process say to each other about a conversion: one JSON object a datagram, descriptors beside it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from protocols.errors import PacsError

MAX_REASON_CHARACTERS: Final = 300
PASSING: Final = "passing"
"""Kind of a refusal whose reason is not the data set's: it may go well another time."""


class CannotTranscode(PacsError):
    """The data set cannot be given in the transfer syntax that was asked for; ``reason`` names no patient data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class CannotTranscodeNow(CannotTranscode):
    """As above, but for a reason that is not the data set's: it may go well another time."""


class Job(Struct, frozen=True, tag="transcode", forbid_unknown_fields=True):
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
    """kind: PASSING, or what the kind of job knows it as; "" for all else."""

    reason: str
    kind: str = ""


Answer = Converted | Refused

encode: Final = msgspec.json.Encoder().encode
decode_answer: Final = msgspec.json.Decoder[Answer](Answer).decode
