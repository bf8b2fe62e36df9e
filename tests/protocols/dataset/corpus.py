"""The DICOM files that the tests run over, pydicom's own and the shared ones where they are, and small made ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom
import pytest

PYDICOM_DATA = Path(pydicom.__file__).parent / "data"
SHARED_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
_NO_DICOM = {".py", ".pyc", ".json", ".txt", ".md", ".dump", ".gz", ".icc", ".csv"}


def _dicom_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in _NO_DICOM and not path.name.startswith("README")
    )


PYDICOM_FILES = _dicom_files(PYDICOM_DATA)
SHARED_FILES = _dicom_files(SHARED_DATA / "dicom")
HOSTILE_FILES = _dicom_files(SHARED_DATA / "hostile" / "generated")

needs_shared = pytest.mark.skipif(not SHARED_FILES, reason="the shared test data is not here")
needs_hostile = pytest.mark.skipif(not HOSTILE_FILES, reason="the hostile test data is not here")

LONG = {"OB", "OW", "SQ", "UN", "UT", "UC", "UR", "OF", "OD", "OL", "OV", "SV", "UV"}
UNDEFINED = 0xFFFFFFFF


def explicit(tag: int, vr: str, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    """One element, Explicit VR, written independently of the code under test."""
    length = len(value) if length is None else length
    if vr in LONG:
        return struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length) + value
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length) + value


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    """One element, Implicit VR Little Endian; also items and delimiters of any little endian syntax."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def instance(**changes: bytes) -> bytes:
    """The smallest data set that a scan accepts, Explicit VR LE; ``changes`` are elements by t + 8-digit tag."""
    elements = {
        0x00080016: explicit(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        0x00080018: explicit(0x00080018, "UI", b"1.2.3.4\0"),
        0x0020000D: explicit(0x0020000D, "UI", b"1.2\0"),
        0x0020000E: explicit(0x0020000E, "UI", b"1.2.3\0"),
    }
    elements |= {int(name[1:], 16): element for name, element in changes.items()}
    return b"".join(elements[tag] for tag in sorted(elements))
