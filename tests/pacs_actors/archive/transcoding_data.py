"""Data sets for the tests of the transcoder: files at hand, encapsulated images made here, conversions in this process."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import _read_file_meta_info
from pydicom.uid import UID

from pacs_actors.archive.transcoding.convert import convert
from pacs_actors.archive.transcoding.messages import Job

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
TARGETS = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"
RLE = "1.2.840.10008.1.2.5"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "dicom"


class Stored:
    """A data set apart from its file: its bytes and the Transfer Syntax UID."""

    def __init__(self, data: bytes, syntax: str) -> None:
        self.data, self.syntax = data, syntax

    def to(self, target: str, *, max_bytes: int = 1 << 30) -> Stored:
        """Convert it here, without a process. Raises what ``convert`` raises."""
        source, made, scratch = (os.memfd_create(name) for name in ("source", "made", "scratch"))
        try:
            os.write(source, bytes(777) + self.data)
            job = Job(777, len(self.data), self.syntax, target, max_bytes, 60)
            length = convert(job, source, made, scratch)
            assert length == os.fstat(made).st_size
            return Stored(os.pread(made, length, 0), target)
        finally:
            for fd in (source, made, scratch):
                os.close(fd)

    def read(self) -> Dataset:
        """As pydicom reads it."""
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID(self.syntax)
        meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
        meta.MediaStorageSOPInstanceUID = UID("1.2.3")
        head = pydicom.filebase.DicomBytesIO()
        pydicom.filewriter.write_file_meta_info(head, meta)
        found = pydicom.dcmread(BytesIO(bytes(128) + b"DICM" + head.getvalue() + self.data))
        assert isinstance(found, Dataset)
        return found


def stored(path: Path) -> Stored:
    with path.open("rb") as file:
        file.seek(132)
        meta = _read_file_meta_info(file)
        return Stored(file.read(), str(meta.TransferSyntaxUID))


def part10(*folders: Path) -> list[Path]:
    """The Part 10 files of folders that name a transfer syntax, none of the very large ones, none twice."""
    found: dict[bytes, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        if (
            path.is_file()
            and path.stat().st_size < 5_000_000
            and (data := path.read_bytes())[128:132] == b"DICM"
        ):
            meta = pydicom.filereader.read_file_meta_info(path)
            if "TransferSyntaxUID" in meta:
                found.setdefault(sha256(data).digest(), path)
    return list(found.values())


def image(pixels: np.ndarray[Any, Any], *, bits: int = 0, photometric: str = "", frames: int = 0) -> Dataset:
    """An image's data set without its pixels; ``pixels``: one frame."""
    data_set = Dataset()
    data_set.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    data_set.SOPInstanceUID = UID("1.2.3.4")
    data_set.PatientName = "Synthetic^Person"
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    data_set.SamplesPerPixel = samples
    data_set.PhotometricInterpretation = photometric or ("RGB" if samples == 3 else "MONOCHROME2")
    if samples == 3:
        data_set.PlanarConfiguration = 0
    if frames:
        data_set.NumberOfFrames = frames
    data_set.Rows, data_set.Columns = pixels.shape[:2]
    data_set.BitsAllocated = pixels.dtype.itemsize * 8
    data_set.BitsStored = bits or data_set.BitsAllocated
    data_set.HighBit = data_set.BitsStored - 1
    data_set.PixelRepresentation = int(pixels.dtype.kind == "i")
    return data_set


def tags(data_set: Dataset) -> list[int]:
    """Of its elements, without the group lengths; iterating over it would decode them all."""
    keys = list(data_set.keys())
    return [int(tag) for tag in keys if tag.element]


def encapsulated(
    data_set: Dataset, frames: Sequence[bytes | bytearray], syntax: str, *, value: bytes | None = None
) -> Stored:
    """Its bytes with Pixel Data made of frames, or of a value that is given as a whole."""
    body = encode(data_set)
    value = encapsulate([bytes(frame) for frame in frames], has_bot=False) if value is None else value
    return Stored(
        body + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + value + SEQUENCE_END, syntax
    )


def encode(data_set: Dataset, *, implicit: bool = False, little: bool = True) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    pydicom.filewriter.write_dataset(buffer, data_set)
    return bytes(buffer.getvalue())


SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def gradient(rows: int = 16, columns: int = 20, dtype: str = "u1", *, samples: int = 1, seed: int = 0) -> Any:
    """Smooth with some noise, the same for the same arguments."""
    random = np.random.default_rng(seed)
    high = np.iinfo(dtype).max // 2
    low = np.iinfo(dtype).min // 2
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    slope = np.linspace(low, high, rows * columns * samples).reshape(shape)
    return (slope + random.integers(0, 5, shape)).astype(dtype)
