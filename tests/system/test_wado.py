"""WADO-RS and WADO-URI of a running server: what was stored comes back, as a client asks for it, to those who may have it."""

from __future__ import annotations

import io
import json
import os
import secrets
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from protocols.dataset.transfer_syntax import DEFLATED
from tests.system.dicomweb import Client, path_of
from tests.system.peers import (
    CT,
    EXPLICIT,
    IMPLICIT,
    SHARED,
    Instance,
    bundled,
    decode,
    example,
    from_file,
    make,
    send,
)
from tests.system.peers import wait_until as wait
from tests.system.server import Server, running

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


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with running(Server(tmp_path_factory.mktemp("wado") / "data")) as server:
        archive = Archive(server)
        found: dict[str, Instance] = {}
        for path in [*bundled(), *sorted((SHARED / "dicom" / "synthetic").glob("*.dcm"))]:
            one = from_file(path)
            if one is not None:
                found.setdefault(one.uid, one)
        statuses = send(server, *found.values())
        archive.stored = [one for one, status in zip(found.values(), statuses, strict=True) if status == 0]
        assert len(archive.stored) > 50
        yield archive


@pytest.fixture
def client(archive: Archive) -> Iterator[Client]:
    with archive.client() as client:
        yield client


@pytest.fixture(scope="module")
def ct(archive: Archive) -> list[Instance]:
    """A series of five."""
    study, series = generate_uid(), generate_uid()
    made = [image(study, series, number) for number in range(1, 6)]
    archive.store(*made)
    return made


@pytest.fixture(scope="module")
def rle(archive: Archive) -> Instance:
    one = example("MR_small_RLE.dcm")
    archive.store(one)
    return one


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


# -- instances --------------------------------------------------------------------------------------------------------------
def test_every_object_comes_back_as_it_was_stored(archive: Archive, client: Client) -> None:
    for one in archive.stored:
        reply = client.get(where(one), f"{DICOM}; transfer-syntax=*")
        assert reply.status == 200, (one, reply.body)
        (part,) = reply.parts
        syntax = EXPLICIT if one.syntax in (IMPLICIT, BIG_ENDIAN) else one.syntax
        if part.content_type != f"application/dicom; transfer-syntax={one.syntax}":
            assert part.content_type == f"application/dicom; transfer-syntax={syntax}"
        assert f"transfer-syntax={part.content_type.rpartition('=')[2]}" in reply.content_type
        assert part.body[:132] == bytes(128) + b"DICM", "the preamble tells nothing"
        if part.content_type.endswith(f"={one.syntax}"):
            assert data_set_of(part.body) == one.data
        else:
            again = read(part.body)
            assert again.file_meta.TransferSyntaxUID == syntax
            assert again.SOPInstanceUID == one.uid


def test_one_instance_is_a_file_for_who_asks_for_one(ct: list[Instance], client: Client) -> None:
    reply = client.get(where(ct[0]), "application/dicom")
    assert reply.status == 200
    assert reply.content_type == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert reply.headers["content-disposition"] == f'attachment; filename="{ct[0].uid}.dcm"'
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["cache-control"] == "no-store"
    assert data_set_of(reply.body) == ct[0].data


def test_without_a_syntax_it_is_explicit_vr_little_endian(rle: Instance, client: Client) -> None:
    one = rle
    original = read(client.get(where(one), "application/dicom; transfer-syntax=*").body)
    assert original.file_meta.TransferSyntaxUID == RLE
    plain = read(client.get(where(one), "application/dicom").body)
    assert plain.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    native = read_example("MR_small.dcm")
    assert plain.PixelData == native.PixelData
    (part,) = client.get(where(one), DICOM).parts
    assert part.content_type == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert read(part.body).PixelData == native.PixelData


def read_example(name: str) -> Dataset:
    (path,) = (path for path in bundled() if path.name == name)
    return dcmread(path)


@pytest.mark.parametrize("anything", [None, "*/*", "text/html,application/xhtml+xml,*/*;q=0.8"])
def test_who_takes_anything_gets_what_is_stored(rle: Instance, client: Client, anything: str | None) -> None:
    one = rle
    (part,) = client.get(where(one), anything).parts
    assert part.content_type == f"application/dicom; transfer-syntax={RLE}"
    assert data_set_of(part.body) == one.data


def test_the_parameter_goes_before_the_header(ct: list[Instance], client: Client) -> None:
    reply = client.get(where(ct[0]), DICOM, query={"accept": "application/dicom"})
    assert reply.content_type.startswith("application/dicom;")


def test_what_cannot_be_given_is_406(ct: list[Instance], client: Client) -> None:
    for accept in ("image/png", "application/zip", f"{DICOM}; transfer-syntax={MPEG}", "text/html"):
        reply = client.get(where(ct[0]), accept)
        assert (reply.status, reply.content_type) == (406, "application/problem+json"), accept


def test_head_tells_the_length_and_sends_nothing(ct: list[Instance], client: Client) -> None:
    reply = client.get(where(ct[0]), "application/dicom", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) > len(ct[0].data)


@pytest.mark.parametrize("path", ["", "/frames/1", "/bulkdata/7FE00010", "/pixeldata"])
def test_what_is_not_there_is_404(ct: list[Instance], client: Client, path: str) -> None:
    one, other = ct[0], generate_uid()
    for study, series, uid in (
        (other, one.series, one.uid), (one.study, other, one.uid), (one.study, one.series, other),
        ("1.2;--", one.series, one.uid), ("..", one.series, one.uid), (one.study, one.series, "9" * 65),
    ):  # fmt: skip
        assert client.get(path_of(study, series, uid) + path).status == 404


# -- frames -----------------------------------------------------------------------------------------------------------------
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


def is_image(one: Instance) -> bool:
    try:
        source = decode(one.data, one.syntax)
        whole = source.Rows * source.Columns * source.SamplesPerPixel * source.BitsAllocated // 8
        int(source.get("NumberOfFrames", 1) or 1)
        return UID(one.syntax).is_encapsulated or len(source.PixelData) >= whole
    except (AttributeError, KeyError, ValueError):
        return False


def test_every_frame_is_cut_out_as_pydicom_cuts_it(archive: Archive, client: Client) -> None:
    seen = 0
    for one in archive.stored:
        if one.syntax in (*DEFLATED, BIG_ENDIAN) or not is_image(one):
            continue
        expected = expected_frames(one)
        numbers = ",".join(str(number) for number in range(1, len(expected) + 1))
        reply = client.get(f"{where(one)}/frames/{numbers}", VIEWER)
        assert reply.status == 200, (one, reply.body)
        assert [part.body.rstrip(b"\0") for part in reply.parts] == [
            frame.rstrip(b"\0") for frame in expected
        ]
        syntax = EXPLICIT if one.syntax == IMPLICIT else one.syntax
        kinds = {part.content_type for part in reply.parts}
        assert kinds == {f"{MEDIA_TYPES.get(syntax, 'application/octet-stream')}; transfer-syntax={syntax}"}
        assert client.get(f"{where(one)}/pixeldata", VIEWER).parts == reply.parts
        assert client.get(f"{where(one)}/frames/{len(expected) + 1}", VIEWER).status == 404
        seen += 1
    assert seen > 25


def test_a_frame_alone_is_bytes_and_nothing_else(ct: list[Instance], client: Client) -> None:
    (pixels,) = expected_frames(ct[1])
    for accept in ("application/octet-stream", "application/octet-stream; transfer-syntax=*"):
        reply = client.get(f"{where(ct[1])}/frames/1", accept)
        assert (reply.status, reply.body) == (200, pixels)
        assert reply.content_type == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    part = client.get(f"{where(ct[1])}/frames/1", VIEWER, range="bytes=10-19")
    assert part.status == 200, "a range is for single parts"
    piece = client.get(f"{where(ct[1])}/frames/1", "application/octet-stream", range="bytes=10-19")
    assert (piece.status, piece.body) == (206, pixels[10:20])


def test_a_list_of_frames_is_a_multipart_in_its_order(archive: Archive, client: Client) -> None:
    pixels = [secrets.token_bytes(24) for _ in range(4)]
    one = image(
        generate_uid(), generate_uid(), 1, Rows=4, Columns=3, NumberOfFrames=4, PixelData=b"".join(pixels)
    )
    archive.store(one)
    reply = client.get(f"{where(one)}/frames/3,1,4", VIEWER)
    assert [part.body for part in reply.parts] == [pixels[2], pixels[0], pixels[3]]
    assert client.get(f"{where(one)}/frames/1,2", "application/octet-stream").status == 406, (
        "two are no single part"
    )


@pytest.mark.parametrize(
    "frames", ["0", "x", "1,", "1;2", "-1", "1.0", ",", "1,1", "1" * 10, "1," * 20_000 + "1"]
)
def test_a_list_of_frames_that_is_none_is_refused(ct: list[Instance], client: Client, frames: str) -> None:
    assert client.get(f"{where(ct[0])}/frames/{frames}", VIEWER).status in (400, 404, 431)


def test_compressed_frames_are_given_uncompressed_when_asked(rle: Instance, client: Client) -> None:
    one = rle
    stored = client.get(f"{where(one)}/frames/1", VIEWER)
    assert stored.parts[0].content_type == f"image/dicom-rle; transfer-syntax={RLE}"
    for accept in (OCTETS, f"{OCTETS}; transfer-syntax={EXPLICIT}"):
        (part,) = client.get(f"{where(one)}/frames/1", accept).parts
        assert part.content_type == f"application/octet-stream; transfer-syntax={EXPLICIT}"
        whole = client.get(where(one), "application/dicom")
        assert read(whole.body).PixelData.startswith(part.body)
    by_name = client.get(f"{where(one)}/frames/1", 'multipart/related; type="image/dicom-rle"')
    assert by_name.parts == stored.parts
    assert client.get(f"{where(one)}/frames/1", 'multipart/related; type="image/jpeg"').status == 406


def test_frames_are_given_compressed_when_asked(archive: Archive, client: Client) -> None:
    one = example("MR_small.dcm")
    archive.store(one)
    path = f"{where(one)}/frames/1"
    for accept, kind in (
        (f"{OCTETS}; transfer-syntax={J2K}", "image/jp2"), ('multipart/related; type="image/jp2"', "image/jp2"),
        (f'multipart/related; type="image/dicom-rle"; transfer-syntax={RLE}', "image/dicom-rle"),
    ):  # fmt: skip
        (part,) = client.get(path, accept).parts
        assert part.content_type.startswith(f"{kind}; transfer-syntax=1.2.840.10008.1.2.")
    whole = read(client.get(where(one), f"application/dicom; transfer-syntax={RLE}").body)
    (frame,) = generate_frames(whole.PixelData, number_of_frames=1)
    assert frame == part.body


def test_frames_of_bits_begin_with_a_byte(archive: Archive, client: Client) -> None:
    """PS3.5 8.1.1: in the object they follow each other within a byte."""
    cells = [[secrets.randbelow(2) for _ in range(15)] for _ in range(3)]

    def packed(bits: list[int]) -> bytes:
        number = sum(bit << at for at, bit in enumerate(bits))
        return number.to_bytes((len(bits) + 7) // 8, "little")

    pixels = packed([bit for frame in cells for bit in frame])
    one = image(
        generate_uid(), generate_uid(), 1, Rows=3, Columns=5, NumberOfFrames=3, BitsAllocated=1, BitsStored=1,
        HighBit=0, PixelData=pixels + bytes(len(pixels) % 2),
    )  # fmt: skip
    archive.store(one)
    reply = client.get(f"{where(one)}/frames/1,2,3", VIEWER)
    assert [part.body for part in reply.parts] == [packed(frame) for frame in cells]
    assert client.get(f"{where(one)}/frames/2", "application/octet-stream").body == packed(cells[1])


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_frames_of_real_numbers(archive: Archive, client: Client, keyword: str, bits: int) -> None:
    frames = [secrets.token_bytes(6 * bits // 8) for _ in range(2)]
    facts: dict[str, Any] = {keyword: b"".join(frames), "PixelData": None, "BitsAllocated": bits}
    one = image(generate_uid(), generate_uid(), 1, Rows=2, Columns=3, NumberOfFrames=2, **facts)
    archive.store(one)
    reply = client.get(f"{where(one)}/frames/2,1", VIEWER)
    assert [part.body for part in reply.parts] == frames[::-1]


@pytest.mark.parametrize("how", ["basic", "extended", "none"])
def test_fragments_of_a_frame_are_joined(archive: Archive, client: Client, how: str) -> None:
    frames = [b"\xff\x4f\xff\x51" + secrets.token_bytes(996) for _ in range(3)]
    facts: dict[str, Any] = {"NumberOfFrames": 3}
    if how == "extended":
        facts["PixelData"], facts["ExtendedOffsetTable"], facts["ExtendedOffsetTableLengths"] = (
            encapsulate_extended(frames)
        )
    else:
        facts["PixelData"] = encapsulate(frames, fragments_per_frame=2, has_bot=how == "basic")
    one = encapsulated(J2K, **facts)
    archive.store(one)
    reply = client.get(f"{where(one)}/frames/1,2,3", VIEWER)
    assert [part.body for part in reply.parts] == frames
    assert {part.content_type for part in reply.parts} == {f"image/jp2; transfer-syntax={J2K}"}


def test_frames_that_cannot_be_told_apart_are_refused_and_the_object_is_not(
    archive: Archive, client: Client
) -> None:
    one = encapsulated(J2K, NumberOfFrames=3, PixelData=encapsulate([b"ab", b"cd"], has_bot=False))
    lying = image(generate_uid(), generate_uid(), 1, Rows=65535, Columns=65535, NumberOfFrames=1_000_000)
    archive.store(one, lying)
    for each in (one, lying):
        assert client.get(f"{where(each)}/frames/1", VIEWER).status == 409
        assert client.get(where(each), f"{DICOM}; transfer-syntax=*").status == 200


def encapsulated(syntax: str, **attributes: Any) -> Instance:
    """pydicom writes encapsulated Pixel Data with an undefined length only when it is told so."""
    made = image(generate_uid(), generate_uid(), 1, EXPLICIT, **(attributes | {"PixelData": None}))
    value = attributes["PixelData"]
    tail = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return replace(made, syntax=syntax, data=made.data + tail)


def test_a_deflated_objects_frames_are_inflated(archive: Archive, client: Client) -> None:
    one = next(one for one in archive.stored if one.syntax in DEFLATED)
    whole = read(client.get(where(one), "application/dicom").body)
    (part,) = client.get(f"{where(one)}/frames/1", VIEWER).parts
    assert part.content_type == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert part.body == whole.PixelData[: len(part.body)]
    assert len(part.body) == whole.Rows * whole.Columns * whole.BitsAllocated // 8


def test_an_object_without_pixels_has_no_frames(archive: Archive, client: Client) -> None:
    one = next(one for one in archive.stored if b"\xe0\x7f" not in one.data and one.syntax == EXPLICIT)
    assert client.get(f"{where(one)}/frames/1", VIEWER).status == 404


# -- bulk data --------------------------------------------------------------------------------------------------------------
def test_what_the_metadata_refer_to_is_there(archive: Archive, client: Client) -> None:
    for name in ("waveform_ecg.dcm", "rtdose_1frame.dcm", "examples_overlay.dcm", "examples_palette.dcm"):
        one = example(name)
        archive.store(one)
        told = client.get(f"{where(one)}/metadata", "application/dicom+json")
        (metadata,) = json.loads(told.body)
        references = list(bulk_uris(metadata, decode(one.data, one.syntax)))
        assert references
        for uri, value in references:
            reply = client.get(uri.partition("/dicom-web")[2], "application/octet-stream")
            assert (reply.status, reply.body) == (200, value), uri


def bulk_uris(metadata: dict[str, Any], source: Dataset) -> Iterator[tuple[str, bytes]]:
    """Each BulkDataURI with the value that pydicom has there."""
    for tag, attribute in metadata.items():
        if "BulkDataURI" in attribute:
            yield attribute["BulkDataURI"], source[tag].value
        elif attribute["vr"] == "SQ":
            for item, below in zip(attribute.get("Value", []), source[tag].value, strict=True):
                yield from bulk_uris(item, below)


@pytest.fixture(scope="module")
def nested(archive: Archive) -> tuple[Instance, bytes]:
    """A value in the second item of a sequence in a sequence, and one at the top."""
    value = secrets.token_bytes(5000)
    inner, middle = Dataset(), Dataset()
    inner.EncapsulatedDocument = value
    middle.ReferencedSeriesSequence = Sequence([Dataset(), inner])
    one = make(
        CT, EXPLICIT, ReferencedStudySequence=Sequence([middle]), EncapsulatedDocument=b"%PDF-1.4" + value
    )
    archive.store(one)
    return one, value


def test_a_value_inside_sequences_is_found_by_its_path(
    nested: tuple[Instance, bytes], client: Client
) -> None:
    one, value = nested
    path = f"{where(one)}/bulkdata/00081110/0/00081115/1/00420011"
    for accept in (None, "*/*", "application/octet-stream"):
        assert client.get(path, accept).body == value
    for wrong in ("00081110/1/00081115/1/00420011", "00081110/0/00081115/0/00420011", "00081110", "00081110/0/00081115",
                  "00420012", "xyz", "00081110/x/00420011"):  # fmt: skip
        assert client.get(f"{where(one)}/bulkdata/{wrong}").status == 404, wrong


def test_bulk_data_comes_in_ranges(nested: tuple[Instance, bytes], client: Client) -> None:
    one, rest = nested
    value = b"%PDF-1.4" + rest
    path = f"{where(one)}/bulkdata/00420011"
    whole = client.get(path)
    etag = whole.headers["etag"]
    assert (whole.status, whole.body, whole.headers["accept-ranges"]) == (200, value, "bytes")
    for asked, first, behind in (
        ("bytes=0-9", 0, 10), ("bytes=100-", 100, len(value)), ("bytes=-7", len(value) - 7, len(value)),
        ("bytes=5000-999999", 5000, len(value)), ("bytes=-999999", 0, len(value)),
    ):  # fmt: skip
        part = client.get(path, range=asked)
        assert (part.status, part.body) == (206, value[first:behind]), asked
        assert part.headers["content-range"] == f"bytes {first}-{behind - 1}/{len(value)}"
        assert part.headers["content-length"] == str(behind - first)
    for asked in ("bytes=999999-", "bytes=-0"):
        assert client.get(path, range=asked).status == 416
    for ignored in ("bytes=3-1", "bytes=0-1,5-6", "lines=1-2", "bytes=x"):
        assert client.get(path, range=ignored).body == value, ignored
    assert client.get(path, range="bytes=0-9", if_range=etag).status == 206
    assert client.get(path, range="bytes=0-9", if_range='"other"').status == 200
    known = client.get(path, if_none_match=f'"other", {etag}')
    assert (known.status, known.body) == (304, b"")


def test_a_document_is_given_as_what_it_is_to_who_asks(
    nested: tuple[Instance, bytes], client: Client
) -> None:
    reply = client.get(f"{where(nested[0])}/bulkdata/00420011", "application/pdf")
    assert (reply.content_type, reply.body[:8]) == ("application/pdf", b"%PDF-1.4")
    (part,) = client.get(f"{where(nested[0])}/bulkdata/00420011", OCTETS).parts
    assert (part.content_type, part.body) == ("application/octet-stream", reply.body)


def test_pixels_as_bulk_data_are_the_frames(archive: Archive, ct: list[Instance], client: Client) -> None:
    assert client.get(f"{where(ct[0])}/bulkdata/7FE00010").body == expected_frames(ct[0])[0]
    one = example("SC_rgb_rle_2frame.dcm")
    archive.store(one)
    assert len(expected_frames(one)) == 2
    reply = client.get(f"{where(one)}/bulkdata/7FE00010", VIEWER)
    assert [part.body.rstrip(b"\0") for part in reply.parts] == [
        frame.rstrip(b"\0") for frame in expected_frames(one)
    ]


# -- studies and series -----------------------------------------------------------------------------------------------------
def test_a_series_and_a_study_come_whole(ct: list[Instance], client: Client) -> None:
    for path in (path_of(ct[0].study, ct[0].series), path_of(ct[0].study)):
        reply = client.get(path, f"{DICOM}; transfer-syntax=*")
        assert reply.status == 200
        assert reply.headers["content-length"] == str(len(reply.body))
        assert [data_set_of(part.body) for part in reply.parts] == [one.data for one in ct], (
            "by instance number"
        )
        assert {part.content_type for part in reply.parts} == {
            f"application/dicom; transfer-syntax={EXPLICIT}"
        }


def test_a_study_is_converted_as_it_is_sent(archive: Archive, client: Client) -> None:
    study, series = generate_uid(), generate_uid()
    made = [image(study, series, number, IMPLICIT if number % 2 else EXPLICIT) for number in range(1, 5)]
    archive.store(*made)
    reply = client.get(path_of(study), DICOM)
    assert reply.status == 200
    for one, part in zip(made, reply.parts, strict=True):
        again = read(part.body)
        assert again.file_meta.TransferSyntaxUID == EXPLICIT
        assert again.PixelData == decode(one.data, one.syntax).PixelData
    assert client.get(path_of(study), f"{DICOM}; transfer-syntax={MPEG}").status == 406


def test_a_zip_holds_every_file_under_its_uids(ct: list[Instance], client: Client) -> None:
    for path, name in (
        (path_of(ct[0].study), ct[0].study),
        (path_of(ct[0].study, ct[0].series), ct[0].series),
    ):
        reply = client.get(path, "application/zip")
        assert (reply.status, reply.content_type) == (200, "application/zip")
        assert reply.headers["content-length"] == str(len(reply.body))
        assert reply.headers["content-disposition"] == f'attachment; filename="{name}.zip"'
        with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [f"{one.study}/{one.series}/{one.uid}.dcm" for one in ct]
            for one, info in zip(ct, archive.infolist(), strict=True):
                assert info.compress_type == zipfile.ZIP_STORED
                part10 = archive.read(info)
                assert part10[:132] == bytes(128) + b"DICM"
                assert data_set_of(part10) == one.data


def test_an_unknown_study_or_series_is_404(ct: list[Instance], client: Client) -> None:
    for path in (
        path_of(generate_uid()),
        path_of(ct[0].study, generate_uid()),
        path_of("x"),
        path_of("..", ".."),
    ):
        for accept in (DICOM, "application/zip"):
            assert client.get(path, accept).status == 404


# -- WADO-URI ---------------------------------------------------------------------------------------------------------------
def uri(one: Instance, **more: str) -> dict[str, str]:
    return {
        "requestType": "WADO",
        "studyUID": one.study,
        "seriesUID": one.series,
        "objectUID": one.uid,
        **more,
    }


def test_wado_uri_gives_a_file(rle: Instance, client: Client) -> None:
    one = rle
    plain = client.get("/wado", query=uri(one, contentType="application/dicom"))
    assert plain.content_type == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert read(plain.body).SOPInstanceUID == one.uid
    stored = client.get("/wado", VIEWER, query=uri(one, contentType="application/dicom", transferSyntax="*"))
    assert stored.content_type == f"application/dicom; transfer-syntax={RLE}"
    assert data_set_of(stored.body) == one.data


def test_wado_uri_says_what_it_does_not_do(ct: list[Instance], client: Client) -> None:
    def status(**query: str) -> int:
        return client.get("/wado", query=query).status

    good = uri(ct[0], contentType="application/dicom")
    assert status(**good) == 200
    assert status(**good | {"objectUID": generate_uid()}) == 404
    assert status(**good | {"requestType": "WADA"}) == 400
    assert status(**good | {"studyUID": "a b"}) == 400
    assert status(**good | {"frameNumber": "1"}) == 400
    assert status(**good | {"transferSyntax": MPEG}) == 406
    reply = client.get("/wado", query=good | {"anonymize": "yes"})
    assert reply.status == 400
    assert b"anonymize" in reply.body


# -- clients that we did not write ------------------------------------------------------------------------------------------
@pytest.fixture
def dicomweb(archive: Archive) -> DICOMwebClient:
    session = create_session()
    session.headers["Authorization"] = f"Bearer {archive.server.token}"
    return DICOMwebClient(f"{archive.server.url}/dicom-web", session=session)


def test_dicomweb_client_retrieves(archive: Archive, ct: list[Instance], dicomweb: DICOMwebClient) -> None:
    one = ct[2]
    uids = (one.study, one.series, one.uid)
    pixels = decode(one.data).PixelData
    assert dicomweb.retrieve_instance(*uids).PixelData == pixels
    assert dicomweb.retrieve_instance(*uids, media_types=(("application/dicom", "*"),)).PixelData == pixels
    assert {each.SOPInstanceUID for each in dicomweb.retrieve_series(*uids[:2])} == {each.uid for each in ct}
    study = dicomweb.retrieve_study(one.study, media_types=(("application/dicom", "*"),))
    assert [each.InstanceNumber for each in study] == [1, 2, 3, 4, 5]
    assert dicomweb.retrieve_instance_frames(*uids, [1]) == [pixels]
    octets = (("application/octet-stream", "*"),)
    assert dicomweb.retrieve_instance_frames(*uids, [1], media_types=octets) == [pixels]
    compressed = next(one for one in archive.stored if one.syntax == J2K and len(expected_frames(one)) == 1)
    (frame,) = dicomweb.retrieve_instance_frames(
        compressed.study, compressed.series, compressed.uid, [1], media_types=(("image/jp2", J2K),)
    )
    assert frame.rstrip(b"\0") == expected_frames(compressed)[0].rstrip(b"\0")


def test_dicomweb_client_retrieves_bulk_data(
    nested: tuple[Instance, bytes], archive: Archive, dicomweb: DICOMwebClient
) -> None:
    one, value = nested
    url = f"{archive.server.url}/dicom-web{where(one)}/bulkdata/00081110/0/00081115/1/00420011"
    octets = (("application/octet-stream", "*"),)
    assert dicomweb.retrieve_bulkdata(url, media_types=octets) == [value]


def test_what_the_viewer_asked_for_is_answered(archive: Archive, ct: list[Instance], client: Client) -> None:
    trace = SHARED / "ohif_requests.json"
    if not trace.exists():
        pytest.skip("the trace of the viewer's requests is not here")
    one, seen = ct[0], 0
    for asked in json.loads(trace.read_text()):
        path = asked["path"]
        if path != "/wado" and not path.endswith(("/frames/{n}", "/instances/{sop}")):
            continue
        for name, value in (("study", one.study), ("series", one.series), ("sop", one.uid), ("n", "1")):
            path = path.replace(f"{{{name}}}", value)
        query = dict(pair.split("=", 1) for pair in asked["query"].split("&") if pair)
        if asked["path"] == "/wado":
            query |= uri(one)
        reply = client.get(path, asked["accept"], query=query)
        assert reply.status == 200, asked
        assert not reply.content_type.endswith('"*"')
        seen += 1
    assert seen >= 4


# -- who may ----------------------------------------------------------------------------------------------------------------
ROUTES = ("", "/frames/1", "/pixeldata", "/bulkdata/7FE00010")


def person(archive: Archive, actions: list[str], scope: dict[str, Any]) -> str:
    """A user with a role of their own; the access token."""
    server, name = archive.server, f"user{secrets.token_hex(4)}"
    role = {"name": name, "description": "", "actions": actions, "scope": scope}
    user = {"username": name, "password": "correct horse battery", "roles": [name]}
    for path, body in (("/api/v1/roles", role), ("/api/v1/users", user)):
        status, answer = server.ask("POST", path, body, token=server.token)
        assert status in (200, 201), answer
    return server.login(name, "correct horse battery")


def test_strangers_get_nothing(archive: Archive, ct: list[Instance]) -> None:
    with archive.client(token="") as stranger:
        for path in (
            *(where(ct[0]) + route for route in ROUTES),
            path_of(ct[0].study),
            path_of(ct[0].study, ct[0].series),
        ):
            assert stranger.get(path).status == 401
        assert stranger.get("/wado", query=uri(ct[0], contentType="application/dicom")).status == 401


def test_a_study_outside_of_the_scope_is_not_there(archive: Archive, ct: list[Instance]) -> None:
    other = image(generate_uid(), generate_uid(), 1)
    archive.store(other)
    scope = {"everything": False, "rules": [{"studies": [other.study]}]}
    with archive.client(person(archive, ["study.view", "study.download"], scope)) as client:
        for one, status in ((other, 200), (ct[0], 404)):
            for route in ROUTES:
                assert client.get(where(one) + route).status == status, route
            for path in (path_of(one.study), path_of(one.study, one.series)):
                assert client.get(path, DICOM).status == status
                assert client.get(path, "application/zip").status == status
            assert client.get("/wado", query=uri(one, contentType="application/dicom")).status == status


def test_who_may_look_may_have_instances_and_no_studies(archive: Archive, ct: list[Instance]) -> None:
    everything = {"everything": True, "rules": []}
    with archive.client(person(archive, ["study.view"], everything)) as client:
        for route in ROUTES:
            assert client.get(where(ct[0]) + route).status == 200
        for path in (path_of(ct[0].study), path_of(ct[0].study, ct[0].series)):
            assert client.get(path).status == 403


def test_looking_is_audited_once_a_study_and_each_download(archive: Archive) -> None:
    study, series = generate_uid(), generate_uid()
    made = [image(study, series, number, PatientID="AUDITED") for number in (1, 2, 3)]
    archive.store(*made)
    with archive.client() as client:
        for _ in range(4):
            for one in made:
                assert client.get(f"{where(one)}/frames/1", VIEWER).status == 200
                assert client.get(where(one)).status == 200
        for accept in (DICOM, "application/zip"):
            assert client.get(path_of(study), accept).status == 200

    def told() -> list[str]:
        return archive.server.sql(
            f"SELECT event, count(*), min(who), min(patient_id) FROM audit_events WHERE '{study}' = ANY (uids) "
            "AND event IN ('viewed', 'downloaded') GROUP BY 1 ORDER BY 1"
        )

    workers = archive.server.workers
    wait(lambda: len(told()) == 2, "the audit of views and downloads")
    downloaded, viewed = told()
    assert downloaded == "downloaded|2|admin|AUDITED"
    event, count, who, patient = viewed.split("|")
    assert (event, who, patient) == ("viewed", "admin", "AUDITED")
    assert 1 <= int(count) <= workers


# -- clients that leave -----------------------------------------------------------------------------------------------------
def test_a_hundred_who_leave_in_the_middle_cost_nothing(archive: Archive) -> None:
    """A viewer breaks off frames freely: nothing is logged, no descriptor stays open, memory does not grow."""
    server = archive.server
    big = image(generate_uid(), generate_uid(), 1, Rows=2048, Columns=2048, PixelData=bytes(8 * 1024 * 1024))
    archive.store(big)
    with archive.client() as client:
        assert len(client.get(f"{where(big)}/frames/1", VIEWER).body) > 8 * 1024 * 1024
    pids = server.worker_pids()
    request = (
        f"GET /dicom-web{where(big)}/frames/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {VIEWER}\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    ).encode()

    def leave(count: int) -> None:
        sockets = [socket.create_connection(("127.0.0.1", server.web_port)) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            each.sendall(request)
        for each in sockets:
            assert each.recv(1000).startswith(b"HTTP/1.1 200")
        for each in sockets:
            each.close()

    grown = []
    for _ in range(5):
        before = resident_bytes(pids)
        leave(100)
        wait(lambda: open_objects(pids) == 0, "all objects closed")
        grown.append(resident_bytes(pids) - before)
    # What is leaked is leaked each time; what a young worker takes it takes once.
    assert sorted(grown)[2] < 16 * 1024 * 1024, grown
    assert not server.logged("request_crashed")
    assert not server.logged("http_connection_crashed")
    with archive.client() as client:
        assert client.get(f"{where(big)}/frames/1", VIEWER).status == 200


def open_objects(pids: list[int]) -> int:
    count = 0
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(entry.readlink()).endswith((".dcm", "/segment")):
                    flags = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0]
                    count += int(flags, 8) & os.O_ACCMODE == os.O_RDONLY  # not the segment that is written
            except FileNotFoundError:
                continue
    return count


def resident_bytes(pids: list[int]) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


MEDIA_TYPES = {
    RLE: "image/dicom-rle",
    J2K: "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
}
