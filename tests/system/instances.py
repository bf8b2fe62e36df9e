"""Instances for tests: made, or read from files, with the bytes of their data sets in hand."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


@dataclass(frozen=True)
class Instance:
    """An instance as it goes over the wire. data: the data set alone, encoded in ``syntax``."""

    sop_class: str
    uid: str
    syntax: str
    data: bytes = field(repr=False)
    study: str = ""
    series: str = ""

    @property
    def context(self) -> tuple[str, str]:
        return self.sop_class, self.syntax


def make(sop_class: str = CT, syntax: str = EXPLICIT, /, **attributes: Any) -> Instance:
    """A small instance with UIDs of its own; ``attributes`` by keyword, None leaves one out."""
    dataset = Dataset()
    given = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientID": f"ID{generate_uid()[-20:]}",
        "Modality": "CT",
        **attributes,
    }
    for keyword, value in given.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return Instance(
        str(dataset.get("SOPClassUID", sop_class)),
        str(dataset.get("SOPInstanceUID", "")),
        syntax,
        encode(dataset, syntax),
        str(dataset.get("StudyInstanceUID", "")),
        str(dataset.get("SeriesInstanceUID", "")),
    )


def encode(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(stream, dataset)
    written: bytes = stream.getvalue()
    return written


def decode(data: bytes, syntax: str = EXPLICIT) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT, True)


def from_file(path: Path) -> Instance | None:
    """The instance in a Part 10 file, by pydicom; None if there is none with all its UIDs."""
    try:
        with path.open("rb") as file:
            read_preamble(file, force=False)
            meta = _read_file_meta_info(file)
            offset = file.tell()
        dataset = dcmread(path, stop_before_pixels=True)
        found = Instance(
            str(dataset.SOPClassUID),
            str(dataset.SOPInstanceUID),
            str(meta.TransferSyntaxUID),
            path.read_bytes()[offset:],
            str(dataset.StudyInstanceUID),
            str(dataset.SeriesInstanceUID),
        )
    except Exception:  # whatever it is, pydicom cannot say what to send
        return None
    return found if all((found.sop_class, found.uid, found.study, found.series)) else None


def write_part10(path: Path, instance: Instance) -> None:
    dataset = decode(instance.data, instance.syntax)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(instance.sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance.uid)
    dataset.file_meta.TransferSyntaxUID = UID(instance.syntax)
    dataset.save_as(path, enforce_file_format=True)


def bundled() -> list[Path]:
    """The test files that come with pydicom itself; it would download the others."""
    folder = Path(str(pydicom.data.__file__)).parent
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def example(name: str) -> Instance:
    """One of pydicom's files as an instance that nobody else has: with UIDs of its own, of the same lengths."""
    found = from_file(Path(str(get_testdata_file(name, download=False))))
    assert found is not None
    uid, study = (
        f"1.2.{secrets.randbelow(10**60) + 10**60}"[: len(each)] for each in (found.uid, found.study)
    )
    data = found.data.replace(found.uid.encode(), uid.encode()).replace(found.study.encode(), study.encode())
    return replace(found, uid=uid, study=study, data=data)


def shared(folder: str) -> list[Path]:
    """Test files that may be there besides."""
    return sorted(path for path in (SHARED / folder).rglob("*") if path.is_file())
