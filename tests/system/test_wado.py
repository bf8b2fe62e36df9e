"""WADO-RS and WADO-URI of a running server: what was stored comes back, as a client asks for it."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

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
    make,
)
from tests.system.wado import (
    BIG_ENDIAN,
    DICOM,
    J2K,
    MPEG,
    OCTETS,
    RLE,
    VIEWER,
    Archive,
    data_set_of,
    expected_frames,
    image,
    read,
    uri,
    where,
)


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


# -- bulk data --------------------------------------------------------------------------------------------------------------
def test_what_the_metadata_refer_to_is_there(archive: Archive, client: Client) -> None:
    for name in ("waveform_ecg.dcm", "rtdose_1frame.dcm", "examples_overlay.dcm", "examples_palette.dcm"):
        one = example(name)
        archive.store(one)
        told = client.get(f"{where(one)}/metadata", "application/dicom+json")
        (metadata,) = json.loads(told.body)
        references = list(bulk_uris(metadata, decode(one.data, one.syntax)))
        assert references
        for at, value in references:
            reply = client.get(at.partition("/dicom-web")[2], "application/octet-stream")
            assert (reply.status, reply.body) == (200, value), at


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
