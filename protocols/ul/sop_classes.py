"""UIDs that we know by name: SOP classes by service, transfer syntaxes by what they do to the bytes.

Fixed tables, not the libraries' registries: importing those takes most of a second.
"""

from __future__ import annotations

from typing import Final

from protocols.ul.storage_classes import RETIRED_STORAGE, STORAGE

__all__ = ["RETIRED_STORAGE", "STORAGE"]

VERIFICATION: Final = "1.2.840.10008.1.1"

STORAGE_COMMITMENT_PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The one SOP Instance of the push model (PS3.4 J.3.5)."""

PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET: Final = "1.2.840.10008.5.1.4.1.2.3.3"

FIND: Final = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND})
MOVE: Final = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, PATIENT_STUDY_ONLY_MOVE})
GET: Final = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET, PATIENT_STUDY_ONLY_GET})

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
"""Preferred first."""

_JPEG: Final = "1.2.840.10008.1.2.4."
ENCAPSULATED: Final = (
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
    f"{_JPEG}50",  # JPEG Baseline
    f"{_JPEG}51",  # JPEG Extended
    f"{_JPEG}57",  # JPEG Lossless, Process 14
    f"{_JPEG}70",  # JPEG Lossless, Process 14, Selection Value 1
    f"{_JPEG}80",  # JPEG-LS Lossless
    f"{_JPEG}81",  # JPEG-LS Near-Lossless
    f"{_JPEG}90",  # JPEG 2000 Lossless
    f"{_JPEG}91",  # JPEG 2000
    f"{_JPEG}92",  # JPEG 2000 Part 2 Multi-component Lossless
    f"{_JPEG}93",  # JPEG 2000 Part 2 Multi-component
    f"{_JPEG}94",  # JPIP Referenced
    f"{_JPEG}95",  # JPIP Referenced Deflate
    f"{_JPEG}100",  # MPEG2 Main Profile / Main Level
    f"{_JPEG}100.1",
    f"{_JPEG}101",  # MPEG2 Main Profile / High Level
    f"{_JPEG}101.1",
    f"{_JPEG}102",  # MPEG-4 AVC/H.264 High Profile
    f"{_JPEG}102.1",
    f"{_JPEG}103",  # … BD-compatible
    f"{_JPEG}103.1",
    f"{_JPEG}104",  # … 2D video
    f"{_JPEG}104.1",
    f"{_JPEG}105",  # … 3D video
    f"{_JPEG}105.1",
    f"{_JPEG}106",  # … Stereo
    f"{_JPEG}106.1",
    f"{_JPEG}107",  # HEVC/H.265 Main
    f"{_JPEG}108",  # HEVC/H.265 Main 10
    f"{_JPEG}110",  # JPEG XL Lossless
    f"{_JPEG}111",  # JPEG XL JPEG Recompression
    f"{_JPEG}112",  # JPEG XL
    f"{_JPEG}201",  # High-Throughput JPEG 2000 Lossless
    f"{_JPEG}202",  # … Lossless, RPCL
    f"{_JPEG}203",  # High-Throughput JPEG 2000
    f"{_JPEG}204",  # JPIP HTJ2K Referenced
    f"{_JPEG}205",  # JPIP HTJ2K Referenced Deflate
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
)
RETIRED_ENCAPSULATED: Final = tuple(f"{_JPEG}{process}" for process in (*range(52, 57), *range(58, 67)))
"""JPEG processes that left the standard; old images are still kept as they are."""

ALL_TRANSFER_SYNTAXES: Final = (
    *UNCOMPRESSED,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    *ENCAPSULATED,
    *RETIRED_ENCAPSULATED,
)
"""Everything in which an image can be stored; streamed video (SMPTE ST 2110) cannot."""
