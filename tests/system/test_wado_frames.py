"""Frames by WADO-RS of a running server: as they are stored, or converted, whatever they are made of."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import UID, generate_uid

from protocols.dataset.transfer_syntax import DEFLATED
from tests.system.dicomweb import Client
from tests.system.peers import (
    EXPLICIT,
    IMPLICIT,
    Instance,
    decode,
    example,
)
from tests.system.wado import (
    BIG_ENDIAN,
    DICOM,
    J2K,
    OCTETS,
    RLE,
    VIEWER,
    Archive,
    expected_frames,
    image,
    read,
    where,
)

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
