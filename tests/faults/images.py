"""Images for the campaigns: small, made from their UID alone, so that every byte that comes back can be checked."""

from __future__ import annotations

import random
import struct
import uuid
from functools import cached_property
from hashlib import sha256
from typing import Final

from protocols.dataset.part10 import PREAMBLE_BYTES, file_meta

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_LONG_FORM: Final = frozenset({"OW", "OB", "SQ", "UN", "UT"})


def new_uid() -> str:
    """A UID of the kind that needs no registration (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


class Image:
    """One CT image, in Explicit VR Little Endian.

    pixel_bytes:  length of its pixel data, even
    """

    def __init__(
        self, study_uid: str, series_uid: str, number: int, *, pixel_bytes: int = 4096, uid: str = ""
    ) -> None:
        self.uid, self.study_uid, self.series_uid, self.number = (
            uid or new_uid(),
            study_uid,
            series_uid,
            number,
        )
        self.pixel_bytes = pixel_bytes

    @cached_property
    def data_set(self) -> bytes:
        return b"".join(
            (
                _element(0x0008, 0x0016, "UI", CT_IMAGE),
                _element(0x0008, 0x0018, "UI", self.uid),
                _element(0x0008, 0x0060, "CS", "CT"),
                _element(0x0010, 0x0010, "PN", "FAULTS^CAMPAIGN"),
                _element(0x0010, 0x0020, "LO", "FAULTS"),
                _element(0x0020, 0x000D, "UI", self.study_uid),
                _element(0x0020, 0x000E, "UI", self.series_uid),
                _element(0x0020, 0x0013, "IS", str(self.number)),
                _element(0x7FE0, 0x0010, "OW", random.Random(self.uid).randbytes(self.pixel_bytes)),
            )
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data set."""
        return sha256(self.data_set).hexdigest()

    @property
    def part10(self) -> bytes:
        return (
            bytes(PREAMBLE_BYTES) + file_meta(CT_IMAGE, self.uid, EXPLICIT_VR_LITTLE_ENDIAN) + self.data_set
        )


def _element(group: int, element: int, vr: str, value: str | bytes) -> bytes:
    raw = value.encode("ascii") if isinstance(value, str) else value
    if len(raw) % 2:
        raw += b"\0" if vr == "UI" else b" "
    head = struct.pack("<HH2s", group, element, vr.encode())
    if vr in _LONG_FORM:
        return head + struct.pack("<HI", 0, len(raw)) + raw
    return head + struct.pack("<H", len(raw)) + raw
