"""What a compressed frame says about itself, read before a decoder may allocate by it.

JPEG and JPEG-LS: ISO/IEC 10918-1 annex B, 14495-1 annex C. JPEG 2000: 15444-1 annex A.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from msgspec import Struct

from pacs_actors.archive.transcoding.messages import CannotTranscode

_SOI: Final = b"\xff\xd8\xff"
_SOF: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_MAX_SEGMENTS: Final = 1000
# Boxes of a JP2 file stand before its codestream.
_MAX_BOXES_BYTES: Final = 1024 * 1024


class Codestream(Struct, frozen=True):
    """precision: bits of a sample; signed: JPEG 2000 only; process: the JPEG marker's low byte, 0 otherwise.

    colour_transform: of Adobe's APP14: 0 none, 1 YCbCr; None without it
    subsampled:       chroma has fewer samples than luma
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    process: int = 0
    colour_transform: int | None = None
    subsampled: bool = False


def read_jpeg(frame: bytes | memoryview) -> Codestream:
    """raises: CannotTranscode if no frame header is found"""
    if bytes(frame[:3]) != _SOI:
        raise CannotTranscode("a frame is no JPEG")
    at, transform = 2, None
    for _ in range(_MAX_SEGMENTS):
        while at + 1 < len(frame) and frame[at] == 0xFF and frame[at + 1] == 0xFF:
            at += 1
        if at + 4 > len(frame) or frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker in _STANDALONE:
            at += 2
            continue
        length = unpack_from(">H", frame, at + 2)[0]
        if marker in _SOF and at + 10 <= len(frame):
            return _start_of_frame(frame, at, marker, length, transform)
        if (
            marker == 0xEE
            and length >= 14
            and bytes(frame[at + 4 : at + 9]) == b"Adobe"
            and at + 16 <= len(frame)
        ):
            transform = frame[at + 15]
        at += 2 + length
    raise CannotTranscode("a JPEG frame has no header")


def _start_of_frame(
    frame: bytes | memoryview, at: int, marker: int, length: int, transform: int | None
) -> Codestream:
    precision, rows, columns, components = unpack_from(">BHHB", frame, at + 4)
    if length < 8 + 3 * components or at + 10 + 3 * components > len(frame):
        raise CannotTranscode("a JPEG frame header is cut short")
    sampling = {frame[at + 11 + 3 * component] for component in range(components)}
    return Codestream(
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        process=marker & 0x0F if marker != 0xF7 else 0,
        colour_transform=transform,
        subsampled=len(sampling) > 1,
    )


def read_jpeg_2000(frame: bytes | memoryview) -> Codestream:
    """A raw codestream, or one in the boxes of a JP2 file, which the standard forbids and some write.

    raises: CannotTranscode if no SIZ marker segment is found
    """
    head = bytes(frame[:_MAX_BOXES_BYTES])
    at = head.find(_SOC_SIZ)
    if at < 0 or at + 45 > len(head) or (at and head[4:8] != b"jP  "):
        raise CannotTranscode("a frame is no JPEG 2000")
    columns, rows, left, top = unpack_from(">IIII", head, at + 8)
    components = unpack_from(">H", head, at + 40)[0]
    end = at + 42 + 3 * components
    if not components or end > len(head):
        raise CannotTranscode("a JPEG 2000 header is cut short")
    depths = {head[at + 42 + 3 * component] for component in range(components)}
    if len(depths) > 1:
        raise CannotTranscode("the components of a JPEG 2000 frame differ in depth")
    depth = depths.pop()
    return Codestream(
        rows=rows - top,
        columns=columns - left,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
    )
