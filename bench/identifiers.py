"""Query identifiers in Implicit VR Little Endian (PS3.5 7.1.3), and the three queries of the find suite."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from bench.population import NAME_PREFIX, Run, Study, date_ranges

QUERY_LEVEL, STUDY_DATE = 0x00080052, 0x00080020
PATIENT_NAME, PATIENT_ID, STUDY_INSTANCE_UID = 0x00100010, 0x00100020, 0x0020000D
# What a workstation's study list shows; three of them have to be counted or joined by the archive.
RETURNED: Final = (
    0x00080020,
    0x00080030,
    0x00080050,
    0x00080061,
    0x00081030,
    0x00100010,
    0x00100020,
    0x00100030,
    0x0020000D,
    0x00200010,
    0x00201206,
    0x00201208,
)


@dataclass(frozen=True, slots=True)
class Question:
    """A study query with its right answer. matches: for a study, whether this query has to find it."""

    keys: Mapping[int, str]
    matches: Callable[[Study], bool]


def encode(keys: Mapping[int, str], level: str = "STUDY") -> bytes:
    """Tag -> value ('' asks for the attribute); the level is added."""
    encoded = b""
    for tag, value in sorted({**keys, QUERY_LEVEL: level}.items()):
        raw = value.encode("ascii")
        raw += (b"\0" if tag == STUDY_INSTANCE_UID else b" ") * (len(raw) % 2)
        encoded += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw
    return encoded


def decode(data: bytes) -> Dataset:
    """An answer, by pydicom: only for checks outside the clock."""
    return read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)


def by_patient_id(run: Run, studies: int, count: int) -> list[Question]:
    """PatientID, single value matching: one study each."""

    def question(wanted: str) -> Question:
        return _question({PATIENT_ID: wanted}, lambda study: study.patient_id == wanted)

    return [question(run.study(index * 7919 % studies).patient_id) for index in range(count)]


def by_name(_run: Run, _studies: int, _count: int) -> list[Question]:
    """PatientName, wild card matching: every family name that begins so."""
    return [
        _question({PATIENT_NAME: f"{NAME_PREFIX}*"}, lambda study: study.patient_name.startswith(NAME_PREFIX))
    ]


def by_date(_run: Run, studies: int, count: int, hits: int = 100) -> list[Question]:
    """StudyDate, range matching: about ``hits`` studies each."""

    def question(span: str) -> Question:
        first, last = span.split("-")
        return _question({STUDY_DATE: span}, lambda study: first <= study.study_date <= last)

    return [question(span) for span in date_ranges(studies, hits, count)]


def _question(keys: Mapping[int, str], matches: Callable[[Study], bool]) -> Question:
    return Question({**dict.fromkeys(RETURNED, ""), **keys}, matches)


KINDS: Final[dict[str, Callable[[Run, int, int], list[Question]]]] = {
    "patient": by_patient_id,
    "name": by_name,
    "date": by_date,
}
