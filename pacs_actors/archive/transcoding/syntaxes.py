"""Which transfer syntaxes can be read and written, and what has to be done to their frames (PS3.5 annex A)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from protocols.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_BE,
    EXPLICIT_LE,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_LE,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Encoding,
)


class Codec(Enum):
    """How the frames of an encapsulated syntax are coded; the value is the standard's number."""

    NATIVE = "PS3.5 A.4.11"
    DEFLATED = "RFC 1951"
    RLE = "PS3.5 annex G"
    JPEG = "ISO/IEC 10918-1"
    JPEG_LS = "ISO/IEC 14495-1"
    JPEG_2000 = "ISO/IEC 15444-1"
    HTJ2K = "ISO/IEC 15444-15"
    JPEG_XL = "ISO/IEC 18181-1"


_JPEG: Final = "1.2.840.10008.1.2.4."

CODECS: Final[dict[str, Codec]] = {
    "1.2.840.10008.1.2.1.98": Codec.NATIVE,
    "1.2.840.10008.1.2.8.1": Codec.DEFLATED,
    "1.2.840.10008.1.2.5": Codec.RLE,
    # Huffman-coded processes, the retired ones too; nothing decodes the arithmetic and hierarchical ones.
    **{f"{_JPEG}{process}": Codec.JPEG for process in (50, 51, 53, 55, 57, 70)},
    **{f"{_JPEG}{process}": Codec.JPEG_LS for process in (80, 81)},
    **{f"{_JPEG}{process}": Codec.JPEG_2000 for process in (90, 91)},
    **{f"{_JPEG}{process}": Codec.JPEG_XL for process in (110, 111, 112)},
    **{f"{_JPEG}{process}": Codec.HTJ2K for process in (201, 202, 203)},
}

LOSSY_METHODS: Final[dict[str, str]] = {
    **{f"{_JPEG}{process}": "ISO_10918_1" for process in (50, 51, 53, 55)},
    f"{_JPEG}81": "ISO_14495_1",
    f"{_JPEG}91": "ISO_15444_1",
    **{f"{_JPEG}{process}": "ISO_18181_1" for process in (111, 112)},
    f"{_JPEG}203": "ISO_15444_15",
}
"""Syntaxes whose images may have lost something -> Lossy Image Compression Method (PS3.3 C.7.6.1.1.5)."""

TARGETS: Final[dict[str, Encoding]] = {
    EXPLICIT_VR_LITTLE_ENDIAN: EXPLICIT_LE,
    IMPLICIT_VR_LITTLE_ENDIAN: IMPLICIT_LE,
    EXPLICIT_VR_BIG_ENDIAN: EXPLICIT_BE,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: EXPLICIT_LE,
}


COMPRESSED_TARGETS: Final[dict[str, Codec]] = {
    "1.2.840.10008.1.2.5": Codec.RLE,
    f"{_JPEG}80": Codec.JPEG_LS,
    f"{_JPEG}90": Codec.JPEG_2000,
    f"{_JPEG}201": Codec.HTJ2K,
}
"""Syntaxes that images can be coded in, all without loss."""


def convertible(source: str, target: str) -> bool:
    """True if data sets of one transfer syntax can, as a rule, be given in the other."""
    return target in TARGETS and (source in TARGETS or source in CODECS)


def compressible(source: str, target: str) -> bool:
    """True if images of one transfer syntax can, as a rule, be coded in the other; data sets without pixels cannot."""
    return target in COMPRESSED_TARGETS and (source in TARGETS or source in CODECS)
