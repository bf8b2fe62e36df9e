"""An archive for tests of WADO: what it holds, and what of that somebody should get."""

from __future__ import annotations

import io
import secrets
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from tests.system.dicomweb import Client, path_of
from tests.system.peers import CT, EXPLICIT, Instance, decode, make, send
from tests.system.server import Server

BIG_ENDIAN = "1.2.840.10008.1.2.2"
J2K = "1.2.840.10008.1.2.4.90"
MPEG = "1.2.840.10008.1.2.4.102"  # nothing is made into a video
RLE = "1.2.840.10008.1.2.5"
OCTETS = 'multipart/related; type="application/octet-stream"'
VIEWER = f'{OCTETS}; transfer-syntax="*"'
DICOM = 'multipart/related; type="application/dicom"'


class Archive:
    """A server that holds pydicom's files and some made for the purpose."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stored: list[Instance] = []

    def store(self, *instances: Instance) -> None:
        statuses = send(self.server, *instances)
        assert not any(statuses), [f"{status:04X}" for status in statuses]
        self.stored += instances

    def client(self, token: str | None = None) -> Client:
        return Client(self.server, token)


def image(study: str, series: str, number: int, syntax: str = EXPLICIT, **attributes: Any) -> Instance:
    pixels = secrets.token_bytes(64 * 64 * 2)
    facts: dict[str, Any] = {
        "StudyInstanceUID": study, "SeriesInstanceUID": series, "InstanceNumber": number, "PatientName": "Wado^Test",
        "Rows": 64, "Columns": 64, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "PixelData": pixels,
    }  # fmt: skip
    return make(CT, syntax, **(facts | attributes))


def where(one: Instance) -> str:
    return path_of(one.study, one.series, one.uid)


def read(part10: bytes) -> Dataset:
    return dcmread(io.BytesIO(part10))


def data_set_of(part10: bytes) -> bytes:
    """What follows the file meta information."""
    length = int.from_bytes(part10[140:144], "little")
    return part10[144 + length :]


def expected_frames(one: Instance) -> list[bytes]:
    """By pydicom."""
    source = decode(one.data, one.syntax)
    count = int(source.get("NumberOfFrames", 1) or 1)
    if UID(one.syntax).is_encapsulated:
        return list(generate_frames(source.PixelData, number_of_frames=count))
    samples = 2 if source.PhotometricInterpretation == "YBR_FULL_422" else source.SamplesPerPixel
    bits = source.Rows * source.Columns * samples * source.BitsAllocated
    assert bits % 8 == 0
    return [source.PixelData[at * bits // 8 : (at + 1) * bits // 8] for at in range(count)]


def uri(one: Instance, **more: str) -> dict[str, str]:
    return {
        "requestType": "WADO",
        "studyUID": one.study,
        "seriesUID": one.series,
        "objectUID": one.uid,
        **more,
    }
