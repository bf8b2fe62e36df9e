"""How a data set is laid out in bytes: transfer syntaxes, value representations, and the headers of elements.

PS3.5 7 and annex A. Tables and rules only; the walks over elements are in ``elements.py`` and ``scan.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from protocols.dataset.dictionaries import DicomDictionary

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
JPIP_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.95"
JPIP_HTJ2K_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.205"
PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.20"
GE_PRIVATE_IMPLICIT_VR: Final = "1.2.840.113619.5.2"

# Not 1.2.840.10008.1.2.8.1, Deflated Image Frame Compression: only its frames are deflated.
DEFLATED: Final = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, JPIP_REFERENCED_DEFLATE, JPIP_HTJ2K_REFERENCED_DEFLATE}
)
_IMPLICIT: Final = frozenset(
    {IMPLICIT_VR_LITTLE_ENDIAN, PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN, GE_PRIVATE_IMPLICIT_VR}
)

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION_ITEM: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION_ITEM: Final = 0xFFFEE0DD

# PS3.5 7.1.2: these carry a 32-bit length behind two reserved bytes.
LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
SHORT_VRS: Final = frozenset(
    {
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST",
        "TM", "UI", "UL", "US",
    }
)  # fmt: skip
VRS: Final = LONG_VRS | SHORT_VRS

NUMBER_FORMATS: Final[dict[str, str]] = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip


class Encoding(Struct, frozen=True, eq=False):
    """The byte layout of one data set, apart from deflation. There are three, told apart by identity.

    tag:             two 16-bit numbers: group, element
    implicit_header: group, element, 32-bit length
    explicit_header: group, element, two letters, 16-bit length
    """

    implicit: bool
    big_endian: bool
    tag: Layout
    u16: Layout
    u32: Layout
    implicit_header: Layout
    explicit_header: Layout

    def tag_bytes(self, tag: int) -> bytes:
        return self.tag.pack(tag >> 16, tag & 0xFFFF)


def _encoding(*, implicit: bool, big_endian: bool = False) -> Encoding:
    order = ">" if big_endian else "<"
    layouts = (Layout(order + code) for code in ("HH", "H", "I", "HHI", "HH2sH"))
    return Encoding(implicit, big_endian, *layouts)


IMPLICIT_LE: Final = _encoding(implicit=True)
EXPLICIT_LE: Final = _encoding(implicit=False)
EXPLICIT_BE: Final = _encoding(implicit=False, big_endian=True)

_VR_BYTES: Final = frozenset(vr.encode() for vr in VRS)
_TWO_CAPITALS: Final[Callable[[bytes], re.Match[bytes] | None]] = re.compile(rb"[A-Z]{2}").fullmatch


def is_deflated(transfer_syntax_uid: str) -> bool:
    """True if the whole data set is deflated (PS3.5 A.5)."""
    return transfer_syntax_uid in DEFLATED


def encoding_of(transfer_syntax_uid: str, first_bytes: bytes | memoryview = b"") -> Encoding:
    """The layout that a transfer syntax has, corrected by what the data set really begins with.

    first_bytes: at least the first 6 bytes of the data set (inflated), if there are any

    Implicit VR inside an explicit or compressed syntax, and the reverse, are common enough to be recognised:
    bytes 4-5 of the first element are two letters of a VR, or the low half of a length. An unknown syntax is
    taken for an encapsulated one, Explicit VR Little Endian (PS3.5 A.4).
    """
    vr = bytes(first_bytes[4:6])
    if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        return EXPLICIT_BE
    if transfer_syntax_uid in _IMPLICIT:
        return EXPLICIT_LE if vr in _VR_BYTES else IMPLICIT_LE
    return IMPLICIT_LE if len(vr) == 2 and not _TWO_CAPITALS(vr) else EXPLICIT_LE


def dictionary_vr(tag: int) -> str:
    """VR of a standard attribute (PS3.6), the first where several are allowed; UN if it is not known."""
    entry = DicomDictionary.get(tag)
    if entry is not None:
        return str(entry[0])[:2] if entry[0] != "NONE" else "UN"
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    return "UN"
